"""From topologies to Systems: solvents, force fields, constraints, and what is refused."""

import random

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_reparam.prepare import system_builder
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.system_builder import (
    SOLVENTS,
    add_hydrogens,
    build_system,
    load_forcefield,
)
from openmm_reparam.structure.selections import is_water
from openmm_reparam.testsystems import lennard_jones_cluster


def energy(molecule, platform="Reference"):
    context = molecule.simulation(platform, openmm.VerletIntegrator(0.001)).context
    return context.getState(energy=True).getPotentialEnergy()._value


def force_names(molecule):
    return {force.getName() for force in molecule.system.getForces()}


def n_waters(topology):
    return sum(is_water(residue) for residue in topology.residues())


@pytest.mark.parametrize("solvent", SOLVENTS[:3])
def test_vacuum_and_implicit_solvent_are_free_of_box_and_constraints(molecule, solvent):
    built = build_system(molecule.topology, molecule.positions, solvent=solvent)
    assert not built.system.usesPeriodicBoundaryConditions()
    assert built.system.getNumConstraints() == 0
    assert ("CustomGBForce" in force_names(built)) == (solvent != "vacuum")
    assert np.isfinite(energy(built))


def test_water_box_is_neutral_periodic_and_constrained(solvated):
    system = solvated.system
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charge = sum(
        nonbonded.getParticleParameters(i)[0]._value for i in range(system.getNumParticles())
    )
    assert charge == pytest.approx(0.0, abs=1e-6)
    assert nonbonded.getNonbondedMethod() == openmm.NonbondedForce.PME
    assert nonbonded.getCutoffDistance()._value == 0.7
    hydrogens = sum(
        a.element is app.element.hydrogen and not is_water(a.residue)
        for a in solvated.topology.atoms()
    )
    assert system.getNumConstraints() == hydrogens + 3 * n_waters(solvated.topology)


def test_constraints_by_name_constant_or_none(molecule):
    def count(constraints):
        built = build_system(molecule.topology, molecule.positions, constraints=constraints)
        return built.system.getNumConstraints()

    hydrogens = sum(a.element is app.element.hydrogen for a in molecule.topology.atoms())
    assert count("auto") == count(None) == count("none") == 0
    assert count("HBonds") == count("hbonds") == count(app.HBonds) == hydrogens
    assert count("AllBonds") == molecule.topology.getNumBonds()
    with pytest.raises(ValueError, match="HBonds"):
        count("bonds")


def test_water_box_can_be_flexible(solvated):
    flexible = build_system(
        solvated.topology,
        solvated.positions,
        solvent="tip3p",
        constraints=None,
        rigid_water=False,
        cutoff=0.7,
    )
    assert flexible.system.getNumConstraints() == 0


def test_box_full_of_water_gets_no_more(solvated):
    again = build_system(solvated.topology, solvated.positions, solvent="tip3p", cutoff=0.7)
    assert again.topology.getNumAtoms() == solvated.topology.getNumAtoms()
    box = solvated.topology.getPeriodicBoxVectors()
    assert again.topology.getPeriodicBoxVectors() == box
    assert np.array_equal(again.positions._value, solvated.positions._value)


def test_vacuum_drops_water_and_ions_and_leaves_the_input_alone(solvated, molecule):
    n_before = solvated.topology.getNumAtoms()
    dry = build_system(solvated.topology, solvated.positions)
    assert dry.topology.getNumAtoms() == molecule.topology.getNumAtoms()
    assert dry.topology.getPeriodicBoxVectors() is None
    assert f"removed {n_waters(solvated.topology)} HOH" in dry.repairs
    assert solvated.topology.getNumAtoms() == n_before
    assert solvated.topology.getPeriodicBoxVectors() is not None
    assert energy(dry) == pytest.approx(energy(molecule), rel=1e-6)


def test_solvation_is_reproducible_and_leaves_random_alone(molecule):
    random.seed(3)
    state = random.getstate()
    boxes = [
        build_system(
            molecule.topology, molecule.positions, solvent="tip3p", padding=0.6, cutoff=0.5
        )
        for _ in range(2)
    ]
    assert random.getstate() == state
    assert np.array_equal(boxes[0].positions._value, boxes[1].positions._value)


@pytest.mark.parametrize(
    ("file", "water"),
    [
        ("amber14-all.xml", "amber14/tip3p.xml"),
        ("amber14/protein.ff14SB.xml", "amber14/tip3p.xml"),
        ("amber19-all.xml", "amber19/tip3p.xml"),
        ("charmm36.xml", "charmm36/water.xml"),
        ("charmm36_2024.xml", "charmm36_2024/water.xml"),
        ("amber99sb.xml", "tip3p.xml"),
    ],
)
def test_each_family_has_its_water(file, water):
    assert system_builder._tip3p_file(file) == water
    app.ForceField(water)


def test_own_force_field_file_and_own_water_file(tmp_path):
    path = tmp_path / "mine.xml"
    path.write_text('<ForceField><Include file="amber14-all.xml"/></ForceField>')
    assert energy(peptide("AG", forcefield=str(path))) == energy(peptide("AG"))
    wet = peptide(
        "AG", forcefield=[str(path), "amber14/spce.xml"], solvent="tip3p", padding=0.6, cutoff=0.5
    )
    assert n_waters(wet.topology) > 0
    with pytest.raises(ValueError, match=r"mine\.xml"):
        peptide("AG", forcefield=str(path), solvent="tip3p")


def test_bad_choices_are_refused(molecule):
    def build(**options):
        return build_system(molecule.topology, molecule.positions, **options)

    with pytest.raises(ValueError, match="vacuum, gbn2, obc2, tip3p"):
        build(solvent="water")
    with pytest.raises(ValueError, match=r"nowhere\.xml"):
        build(forcefield="nowhere.xml")
    with pytest.raises(ValueError, match="no file"):
        build(forcefield=[])
    with pytest.raises(TypeError, match="padding"):
        build(padding=1 * unit.kelvin)
    with pytest.raises(ValueError, match="cutoff"):
        build(cutoff=-1.0)
    with pytest.raises(ValueError, match="positions"):
        build_system(molecule.topology, np.zeros((3, 3)))


def test_missing_template_names_residue_and_remedy(molecule):
    modeller = app.Modeller(molecule.topology, molecule.positions)
    modeller.delete([a for a in molecule.topology.atoms() if a.element is app.element.hydrogen])
    with pytest.raises(ValueError, match=r"chain A, ALA 1.*prepare_file"):
        build_system(modeller.topology, modeller.positions)
    cluster = lennard_jones_cluster(3)
    with pytest.raises(ValueError, match="only water and ions"):
        build_system(cluster.topology, cluster.positions)


def test_added_hydrogens_do_not_turn_the_chirality():
    """An oxygen stands where HA belongs: Modeller's minimization puts HA on the other side."""
    molecule = peptide("AK")
    lysine = {a.name: a.index for a in molecule.topology.atoms() if a.residue.name == "LYS"}
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x[lysine["OXT"]] = x[lysine["HA"]]
    modeller = app.Modeller(molecule.topology, x * unit.nanometer)
    modeller.delete([a for a in molecule.topology.atoms() if a.element.symbol == "H"])
    add_hydrogens(modeller, load_forcefield("amber14-all.xml"))
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    lysine = {a.name: a.index for a in modeller.topology.atoms() if a.residue.name == "LYS"}
    arms = x[[lysine[name] for name in ("N", "C", "CB", "HA")]] - x[lysine["CA"]]
    assert arms[3] @ arms[:3].sum(axis=0) < 0


def test_hydrogens_that_are_there_keep_their_side():
    molecule = peptide("AK")
    atoms = list(molecule.topology.atoms())
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    (alpha,) = (a.index for a in atoms if a.name == "CA" and a.residue.name == "ALA")
    (hydrogen,) = (a.index for a in atoms if a.name == "HA" and a.residue.name == "ALA")
    x[hydrogen] = 2 * x[alpha] - x[hydrogen]
    modeller = app.Modeller(molecule.topology, x * unit.nanometer)
    modeller.delete([a for a in atoms if a.element.symbol == "H" and a.residue.name == "LYS"])
    add_hydrogens(modeller, load_forcefield("amber14-all.xml"))
    x_after = np.array(modeller.positions.value_in_unit(unit.nanometer))
    (kept,) = (
        a.index for a in modeller.topology.atoms() if a.name == "HA" and a.residue.name == "ALA"
    )
    assert np.allclose(x_after[kept], x[hydrogen])
