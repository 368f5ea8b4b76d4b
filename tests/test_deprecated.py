"""Old names: each one is today's object, with a warning that says where it is."""

import importlib

import pytest

from openmm_reparam import minimize_reparam
from openmm_reparam.deprecated import MOVED
from openmm_reparam.prepare.peptides import peptide

RENAMED = {
    "cli.modes": {
        "backbone_modes": "modes.analysis.coupling_graph_modes",
        "collectivity": "modes.analysis.collectivity",
        "displacement": "modes.analysis.mode_displacements",
    },
    "modes.low_frequency_modes": {
        "lowest_modes": "modes.low_frequency_modes.lobpcg_modes",
        "nonrigid_modes": "modes.low_frequency_modes.low_frequency_modes",
    },
    "modes.slow_modes": {
        "backbone": "modes.coupling_graph.coupling_graph",
        "molecular_backbone": "modes.coupling_graph.molecular_coupling_graph",
        "perturbed_configurations": "modes.coupling_graph.perturbed_configurations",
    },
}


def module_of(name):
    return importlib.import_module(f"openmm_reparam.{name}")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [(module, *names) for module, renamed in RENAMED.items() for names in renamed.items()],
)
def test_a_renamed_object_is_the_one_of_today(module, old, new):
    home, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{old} is openmm_reparam.{new} now"):
        found = getattr(module_of(module), old)
    assert found is getattr(module_of(home), name)


@pytest.mark.parametrize("module", RENAMED)
def test_a_name_that_never_was_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module_of(module).no_such_name


@pytest.mark.parametrize("old", MOVED)
def test_every_moved_module_has_a_new_place(old):
    assert importlib.util.find_spec(f"openmm_reparam.{MOVED[old]}") is not None


def test_a_name_of_a_module_moved_and_renamed_is_found():
    with pytest.warns(DeprecationWarning, match=r"modes\.nonrigid_modes is openmm_reparam"):
        from openmm_reparam.modes import nonrigid_modes as old
    with pytest.warns(DeprecationWarning, match="nonrigid_modes is"):
        found = old.nonrigid_modes
    assert found is module_of("modes.low_frequency_modes").low_frequency_modes


def test_modes_of_the_backbone_are_those_of_the_coupling_graph():
    results = []
    for name in ("coupling-graph", "backbone"):
        simulation = peptide("GA").simulation("Reference")
        settings = {"reparametrization": "linear", "latent_iterations": 3, "modes_of": name}
        if name == "backbone":
            with pytest.warns(DeprecationWarning, match="coupling-graph"):
                results.append(minimize_reparam(simulation, 10, **settings))
        else:
            results.append(minimize_reparam(simulation, 10, **settings))
    assert results[0].energy == results[1].energy


@pytest.mark.parametrize("module", ["structure", "structure.stereochemistry"])
def test_one_call_functions_of_stereochemistry_are_its_methods(module):
    molecule = peptide("GAP")
    x, mirrored = molecule.positions, molecule.positions * [-1.0, 1.0, 1.0]
    methods = module_of("structure.stereochemistry").Stereochemistry(molecule.topology)
    for old, new, positions in (
        ("chirality", methods.chirality, (x,)),
        ("peptide_bonds", methods.peptide_bonds, (x,)),
        ("stereo_changes", methods.changes, (x, mirrored)),
    ):
        with pytest.warns(DeprecationWarning, match=rf"{old}\(topology, ...\) is Stereochem"):
            got = getattr(module_of(module), old)(molecule.topology, *positions)
        assert got
        assert got == new(*positions)
