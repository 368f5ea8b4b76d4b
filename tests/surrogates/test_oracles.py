"""Potentials of other programs: forces, energies of the programs themselves, OpenMM's view."""

import pickle

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_reparam.constants import BOHR, HARTREE
from openmm_reparam.structure.molecule_topology import molecule_topology
from openmm_reparam.surrogates.oracles import (
    POTENTIALS,
    molecule_simulation,
    python_force,
    xtb_force,
)
from openmm_reparam.surrogates.programs import (
    ANI,
    GFNFF,
    MMFF94,
    XTB,
    atomic_numbers,
    required,
)

Chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
AllChem = pytest.importorskip("rdkit.Chem.AllChem", reason="rdkit is not installed")

PROGRAMS = {
    **{"gfn2": "tblite.interface", "gfn1": "tblite.interface"},
    **{"ani1ccx": "torchani", "ani1x": "torchani"},
    **{"mmff": "rdkit", "gfnff": "gfnff"},
}


def needs(module):
    """Skip where an optional program is not installed."""
    try:
        return required(module)
    except ImportError as error:
        pytest.skip(str(error))


def embedded(smiles):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=1) == 0
    return molecule


@pytest.fixture(scope="module")
def glycine():
    return embedded("NCC(=O)O")


@pytest.fixture(scope="module")
def place(glycine):
    """Return glycine's positions in nm, a little off its symmetry."""
    noise = np.random.default_rng(0).normal(size=(glycine.GetNumAtoms(), 3))
    return glycine.GetConformer().GetPositions() * 0.1 + 0.001 * noise


def oracle_of(name, molecule, place):
    """Return an oracle as `molecule_simulation` makes it."""
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    makers = {
        "gfn2": lambda: XTB(numbers),
        "gfn1": lambda: XTB(numbers, method="GFN1-xTB"),
        "ani1ccx": lambda: ANI(numbers),
        "ani1x": lambda: ANI(numbers, "ANI1x"),
        "mmff": lambda: MMFF94(molecule),
        "gfnff": lambda: GFNFF(numbers, place),
    }
    return makers[name]()


@pytest.fixture(scope="module", params=POTENTIALS)
def name(request):
    needs(PROGRAMS[request.param])
    return request.param


@pytest.fixture(scope="module")
def oracle(name, glycine, place):
    """Return glycine's oracle; that of ANI takes seconds to read."""
    return oracle_of(name, glycine, place)


def test_forces_are_minus_the_gradient_of_the_energy(oracle, place):
    _, forces = oracle(place)
    step = 1e-5
    for atom, axis in ((0, 0), (1, 2), (4, 1), (9, 0)):
        shift = np.zeros_like(place)
        shift[atom, axis] = step
        slope = (oracle(place + shift)[0] - oracle(place - shift)[0]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=0.2), (atom, axis)


def test_energies_do_not_change_with_place_and_orientation(oracle, place):
    energy, forces = oracle(place)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    moved, turned = oracle(place @ turn.T + [1.0, -2.0, 3.0])
    assert moved == pytest.approx(energy, abs=1e-4)
    np.testing.assert_allclose(turned, forces @ turn.T, atol=0.1)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=0.1)


def test_a_simulation_has_the_energy_and_the_forces_of_the_oracle(name, oracle, glycine, place):
    simulation = molecule_simulation(glycine, name, place * unit.nanometer)
    state = simulation.context.getState(energy=True, forces=True)
    energy, forces = oracle(place)
    assert state.getPotentialEnergy()._value == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(state.getForces(asNumpy=True)._value, forces, atol=1e-3)


def test_equal_positions_give_equal_numbers_whatever_was_evaluated_before(oracle, place):
    energy, forces = oracle(place)
    oracle(place * 1.02)
    again, same = oracle(place)
    assert again == energy
    np.testing.assert_array_equal(same, forces)


def test_a_pickled_oracle_is_the_same(oracle, place):
    before = oracle(place)[0]
    assert pickle.loads(pickle.dumps(oracle))(place)[0] == before


def test_positions_that_are_not_finite_are_refused(oracle, place):
    broken = np.array(place)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        oracle(broken)


def test_xtb_is_that_of_tblite(glycine, place):
    tblite = needs("tblite.interface")
    numbers = np.array([atom.GetAtomicNum() for atom in glycine.GetAtoms()])
    for method in ("GFN2-xTB", "GFN1-xTB"):
        direct = tblite.Calculator(method, numbers, place / BOHR)
        direct.set("verbosity", 0)
        direct.set("accuracy", 0.1)
        energy = XTB(numbers, method=method)(place)[0]
        assert energy == pytest.approx(direct.singlepoint().get("energy") * HARTREE, abs=1e-6)


def test_xtb_of_an_ion_and_of_a_triplet():
    tblite = needs("tblite.interface")
    water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    direct = tblite.Calculator("GFN2-xTB", np.array([8, 1, 1]), water / BOHR, charge=1.0, uhf=1)
    direct.set("verbosity", 0)
    energy = direct.singlepoint().get("energy") * HARTREE
    assert XTB("OHH", charge=1, unpaired=1)(water)[0] == pytest.approx(energy, abs=1e-3)
    far = np.array([[0, 0, 0], [0, 0, 2.0]])
    atom = XTB("H", unpaired=1)(far[:1])[0]
    assert XTB("HH", unpaired=2)(far)[0] == pytest.approx(2 * atom, abs=0.01)


def test_a_field_that_does_not_converge_is_an_openmm_exception(glycine, place):
    needs("tblite.interface")
    simulation = molecule_simulation(glycine, "gfn2", place)
    simulation.context.setPositions(8 * place)
    with pytest.raises(mm.OpenMMException, match="SCF not converged"):
        simulation.context.getState(energy=True)
    simulation.context.setPositions(place)
    energy = simulation.context.getState(energy=True).getPotentialEnergy()._value
    assert energy == XTB([a.GetAtomicNum() for a in glycine.GetAtoms()])(place)[0]


def test_mmff_is_that_of_rdkit(glycine, place):
    moved = Chem.Mol(glycine)
    for atom, xyz in enumerate(place):
        moved.GetConformer().SetAtomPosition(atom, (10 * xyz).tolist())
    typed = AllChem.MMFFGetMoleculeProperties(moved)
    energy = AllChem.MMFFGetMoleculeForceField(moved, typed).CalcEnergy()
    # Made from other positions: parameters do not depend on them.
    assert MMFF94(glycine)(place)[0] == pytest.approx(4.184 * energy, abs=1e-9)


def test_mmff_minimum_has_no_forces():
    molecule = embedded("CCO")
    AllChem.MMFFOptimizeMolecule(molecule, maxIters=10_000)
    _, forces = MMFF94(molecule)(molecule.GetConformer().GetPositions() * 0.1)
    assert np.abs(forces).max() < 1.0


def test_ions_apart_feel_each_other_in_mmff():
    molecule = embedded("[Na+].[Cl-]")
    pair = MMFF94(molecule)
    near, far = (np.array([[0, 0, 0], [0, 0, r]]) for r in (0.5, 1.0))
    assert pair(near)[0] < pair(far)[0] - 100


def test_gfnff_is_that_of_the_package(glycine, place):
    gfnff = needs("gfnff")
    numbers = np.array([atom.GetAtomicNum() for atom in glycine.GetAtoms()])
    direct = gfnff.GFNFFCalculator(numbers, place / BOHR).singlepoint(numbers, place / BOHR)[0]
    assert GFNFF(numbers, place)(place)[0] == pytest.approx(direct * HARTREE, abs=1e-6)


def test_gfnff_takes_the_bonds_that_are_given():
    needs("gfnff")
    hydrogen = np.array([[0, 0, 0], [0, 0, 0.15]])
    bound = GFNFF("HH", hydrogen, bonds=[(0, 1)])
    free = GFNFF("HH", hydrogen, bonds=[])
    assert bound(hydrogen)[0] < free(hydrogen)[0] - 100


def test_ani_refuses_elements_that_it_does_not_know():
    needs("torchani")
    with pytest.raises(ValueError, match="does not know S, Cl"):
        ANI(["C", "Cl", "S"])


def test_ani_is_that_of_torchani(glycine, place):
    torchani = needs("torchani")
    torch = pytest.importorskip("torch")
    numbers = np.array([atom.GetAtomicNum() for atom in glycine.GetAtoms()])
    model = torchani.models.ANI1ccx(periodic_table_index=True)
    species, xyz = torch.from_numpy(numbers[None]), torch.from_numpy(place[None] * 10).float()
    direct = model((species, xyz)).energies.item() * HARTREE
    # Single precision: 7 digits of 750 000 kJ/mol.
    assert ANI(numbers)(place)[0] == pytest.approx(direct, abs=1.0)


def test_molecules_without_parameters_or_positions_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        MMFF94(embedded("[BH4-]"))
    with pytest.raises(ValueError, match="no conformer"):
        MMFF94(Chem.AddHs(Chem.MolFromSmiles("CCO")))
    with pytest.raises(ValueError, match="no conformer"):
        molecule_simulation(Chem.AddHs(Chem.MolFromSmiles("CCO")), "mmff")
    with pytest.raises(ValueError, match="no potential 'b3lyp'; there are gfn2"):
        molecule_simulation(embedded("CCO"), "b3lyp")


def test_a_force_can_act_on_a_part_of_a_system():
    system = mm.System()
    for _ in range(4):
        system.addParticle(1.0)
    system.addForce(python_force(lambda x: (float(np.sum(x)), -np.ones_like(x)), [3, 1]))
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.arange(12.0).reshape(4, 3))
    state = context.getState(energy=True, forces=True)
    assert state.getPotentialEnergy()._value == 9 + 10 + 11 + 3 + 4 + 5
    forces = state.getForces(asNumpy=True)._value
    np.testing.assert_array_equal(forces[:, 0], [0, -1, 0, -1])


def test_a_system_with_xtb_can_be_saved(place, glycine):
    needs("tblite.interface")
    system = mm.System()
    for atom in glycine.GetAtoms():
        system.addParticle(atom.GetMass())
    system.addForce(xtb_force([atom.GetAtomicNum() for atom in glycine.GetAtoms()]))
    energies = []
    for made in (system, mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))):
        platform = mm.Platform.getPlatformByName("Reference")
        context = mm.Context(made, mm.VerletIntegrator(0.001), platform)
        context.setPositions(place)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert energies[0] == energies[1]


def test_a_topology_holds_elements_bonds_and_their_orders():
    topology = molecule_topology(embedded("C#CC(=O)c1ccccc1"))
    orders = [bond.type for bond in topology.bonds()]
    assert orders.count(app.Triple) == 1
    assert orders.count(app.Double) == 1
    assert orders.count(app.Aromatic) == 6
    assert topology.getNumBonds() == topology.getNumAtoms()
    assert [atom.element.symbol for atom in topology.atoms()][:4] == ["C", "C", "C", "O"]


def test_a_topology_holds_formal_charges():
    topology = molecule_topology(embedded("C[N+](C)(C)CC(=O)[O-]"))
    charges = {atom.element.symbol: atom.formalCharge for atom in topology.atoms()}
    assert charges == {"C": 0, "N": 1, "O": -1, "H": 0}


def test_elements_in_every_form():
    topology = molecule_topology(embedded("CO"))
    expected = [6, 8, 1, 1, 1, 1]
    assert atomic_numbers(list(topology.atoms())).tolist() == expected
    assert atomic_numbers([atom.element for atom in topology.atoms()]).tolist() == expected
    assert atomic_numbers("COHHHH").tolist() == expected


def test_what_is_missing_is_said():
    with pytest.raises(ImportError, match=r"pip install tblite"):
        required_missing("tblite.interface")


def required_missing(name):
    """Ask for a module as if it were not installed."""
    import sys

    held = sys.modules.get(name)
    sys.modules[name] = None
    try:
        required(name)
    finally:
        if held is None:
            del sys.modules[name]
        else:
            sys.modules[name] = held
