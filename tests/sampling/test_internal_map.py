"""Internal coordinates: round trips, exact Jacobians, chirality, symmetric groups."""

import mdtraj
import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from openmm_reparam.errors import UnsupportedSystemError
from openmm_reparam.geometry.superposition import superposed
from openmm_reparam.sampling.internal_map import InternalMap
from openmm_reparam.sampling.zmatrix import build_zmatrix

DIPEPTIDE = "CC(=O)N[C@@H](C)C(=O)NC"
IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"
ALKYNES = "OCC#CC#CC(C)C#N"
CELECOXIB = "Cc1ccc(cc1)c1cc(nn1c1ccc(cc1)S(N)(=O)=O)C(F)(F)F"


def molecule(smiles):
    """Atomic numbers, bonds and positions (nm) of a molecule."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()])
    return numbers, bonds, mol.GetConformer().GetPositions() / 10


def mapped(smiles, **lengths):
    numbers, bonds, x = molecule(smiles)
    return InternalMap(build_zmatrix(numbers, bonds, x), x, **lengths), x


def disturbed(x, count, scale, seed=0):
    noise = np.random.default_rng(seed).normal(0, scale, (count, *x.shape))
    return torch.as_tensor(x + noise)


@pytest.mark.parametrize(
    "smiles", ["O", DIPEPTIDE, IBUPROFEN, CELECOXIB, "C1CCCC1C1CC1", "OO", ALKYNES]
)
def test_positions_come_back_up_to_rigid_motion(smiles):
    internal, x = mapped(smiles)
    batch = disturbed(x, 4, 0.003)
    coordinates, there = internal.coordinates(batch)
    back, here = internal.positions(coordinates)
    assert coordinates.shape == (4, 3 * len(x) - 6)
    assert torch.allclose(there, here, atol=1e-9)
    for before, after in zip(batch.numpy(), back.numpy(), strict=True):
        # The mirror image has the same distances, but no superposition.
        assert np.abs(superposed(after, before) - before).max() < 1e-9
    again, _ = internal.coordinates(back)
    assert torch.allclose(again, coordinates, atol=1e-8)


@pytest.mark.parametrize("smiles", [DIPEPTIDE, IBUPROFEN, ALKYNES])
def test_log_jacobian_is_that_of_the_whole_change_of_variables(smiles):
    internal, x = mapped(smiles)
    q, log_jacobian = internal.coordinates(disturbed(x, 1, 0.003))

    def with_rigid_motion(all_of_them):
        rotation, shift, q = all_of_them[:3], all_of_them[3:6], all_of_them[6:]
        x = internal.positions(q[None])[0][0]
        # To first order about no rotation, where the measure of rotations is that of the vector.
        return (x + torch.linalg.cross(rotation.expand_as(x), x, dim=1) + shift).ravel()

    whole = torch.cat([torch.zeros(6, dtype=torch.float64), q[0]])
    jacobian = torch.autograd.functional.jacobian(with_rigid_motion, whole)
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], log_jacobian[0], atol=1e-8)


def test_gradients_of_positions_agree_with_finite_differences():
    internal, x = mapped("CCO")
    q = internal.coordinates(disturbed(x, 2, 0.003))[0].requires_grad_()
    assert torch.autograd.gradcheck(internal.positions, q, fast_mode=True)


def test_torsions_are_those_of_other_programs():
    internal, x = mapped(CELECOXIB)
    lead = np.flatnonzero(internal.zmatrix.classes != "rotor")
    trajectory = mdtraj.Trajectory(x, None)
    theirs = mdtraj.compute_dihedrals(trajectory, internal.zmatrix.torsions[lead])
    (_, _, ours), _ = internal.to_internal(torch.as_tensor(x)[None])
    turns = (ours[:, lead].numpy() - theirs) / (2 * np.pi)
    assert np.abs(turns - np.round(turns)).max() < 1e-5


@pytest.mark.parametrize(
    ("smiles", "free", "folds"),
    [(DIPEPTIDE, 2, [3, 3, 3]), (IBUPROFEN, 4, [2, 3, 3, 3]), ("CC(C)(C)O", 1, [3, 3, 3])],
)
def test_torsions_are_classed(smiles, free, folds):
    internal, _ = mapped(smiles)
    assert len(internal.free) == free
    assert sorted(internal.folds.tolist()) == folds


def test_amide_and_ring_torsions_are_stiff():
    numbers, bonds, x = molecule(DIPEPTIDE)
    zmatrix = build_zmatrix(numbers, bonds, x)
    stiff = zmatrix.torsions[zmatrix.classes == "stiff"][:, 1:3]
    assert {frozenset(numbers[pair].tolist()) for pair in stiff} == {frozenset((6, 7))}
    assert len(stiff) == 2
    all_stiff = frozenset(map(frozenset, bonds.tolist()))
    assert not len(build_zmatrix(numbers, bonds, x, planar=all_stiff).free)


def test_a_ring_is_opened_at_its_softest_bond():
    numbers, bonds, x = molecule("C1CSC=N1")
    (closure,) = build_zmatrix(numbers, bonds, x).closures
    lengths = np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)
    assert 16 in numbers[closure] or np.linalg.norm(x[closure[0]] - x[closure[1]]) > 0.15
    assert lengths.max() > 0.15


def test_phi_and_psi_are_coordinates_of_a_dipeptide():
    internal, _ = mapped(DIPEPTIDE)
    found = {frozenset(t) for t in internal.zmatrix.torsions[internal.free].tolist()}
    assert found == {frozenset((1, 3, 4, 6)), frozenset((3, 4, 6, 8))}


def test_torsions_alone_never_change_chirality():
    internal, x = mapped(DIPEPTIDE)
    q, _ = internal.coordinates(torch.as_tensor(x)[None])
    q = q.repeat(50, 1)
    columns = internal.columns["torsions"].start + torch.cat([internal.free, internal.rotors])
    generator = torch.Generator().manual_seed(0)
    q[:, columns] = torch.pi * (2 * torch.rand(50, len(columns), generator=generator).double() - 1)
    samples, _ = internal.positions(q)
    n, ca, cb, c = (samples[:, atom] for atom in (3, 4, 5, 6))
    volumes = (torch.linalg.cross(cb - ca, c - ca) * (n - ca)).sum(-1)
    assert torch.allclose(volumes, volumes[:1].expand(50))


def test_exchange_of_like_atoms_shifts_a_rotor_by_one_fold():
    internal, x = mapped(IBUPROFEN)
    batch = disturbed(x, 3, 0.005)
    for rotor, fold in zip(internal.rotors.tolist(), internal.folds.tolist(), strict=True):
        if fold != 3:
            continue
        axis = internal.zmatrix.torsions[rotor, 1:3].tolist()
        atoms = [
            atom
            for atom, *other in internal.zmatrix.bonds.tolist()
            if other == [axis[0]] and atom != axis[1]
        ]
        exchanged = batch.clone()
        exchanged[:, atoms] = batch[:, np.roll(atoms, 1)]
        (_, _, before), _ = internal.to_internal(batch)
        (_, _, after), _ = internal.to_internal(exchanged)
        shift = (after - before)[:, rotor] * fold / (2 * torch.pi)
        assert torch.allclose(shift, shift.round(), atol=1e-9)
        assert (shift.round() % fold != 0).all()


def test_coordinates_of_no_structure_have_no_density():
    internal, x = mapped("CCO")
    q, log_jacobian = internal.coordinates(torch.as_tensor(x)[None])
    assert torch.isfinite(log_jacobian).all()
    for column, value in ((0, -0.1), (internal.columns["angles"].start, 3.2)):
        wrong = q.clone()
        wrong[0, column] = value
        assert internal.positions(wrong)[1].item() == -np.inf
    turned = q.clone()
    turned[0, -1] += 2 * np.pi
    assert internal.positions(turned)[1].item() == -np.inf


def test_fixed_bonds_are_no_coordinates():
    numbers, bonds, x = molecule(DIPEPTIDE)
    fixed = {frozenset(b): 0.1 for b in bonds.tolist() if 1 in numbers[b]}
    internal = InternalMap(build_zmatrix(numbers, bonds, x), x, fixed)
    q, _ = internal.coordinates(torch.as_tensor(x)[None])
    assert q.shape[1] == internal.num_coordinates == 3 * len(x) - 6 - len(fixed)
    back, _ = internal.positions(q)
    pairs = np.array([sorted(bond) for bond in fixed])
    lengths = (back[0, pairs[:, 0]] - back[0, pairs[:, 1]]).norm(dim=-1)
    assert torch.allclose(lengths, torch.full_like(lengths, 0.1))


@pytest.mark.parametrize(
    ("smiles", "free", "folds"),
    [("CCC#N", 0, [3]), ("CC#CCO", 1, [3]), ("OCC#CC#CCO", 3, []), ("c1ccccc1C#Cc1ccccc1", 0, [2])],
)
def test_straight_chains_are_placed_from_off_their_line(smiles, free, folds):
    internal, x = mapped(smiles)
    assert len(internal.free) == free
    assert internal.folds.tolist() == folds
    q, _ = internal.coordinates(torch.as_tensor(x)[None])
    angles = q[0, internal.columns["angles"]]
    assert (angles.sin() > 0.1).all()


@pytest.mark.parametrize("smiles", ["O=C=O", "C#C", "C#N"])
def test_linear_molecules_are_refused(smiles):
    numbers, bonds, x = molecule(smiles)
    with pytest.raises(UnsupportedSystemError, match="straight"):
        build_zmatrix(numbers, bonds, x)


def test_straight_angles_among_many_neighbours_are_refused():
    x = 0.16 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    bonds = np.array([(0, k) for k in range(1, 7)])
    with pytest.raises(UnsupportedSystemError, match="is straight"):
        build_zmatrix(np.array([16] + [9] * 6), bonds, x)


def test_several_molecules_are_refused():
    numbers, bonds, x = molecule("O")
    with pytest.raises(UnsupportedSystemError, match="2 molecules"):
        build_zmatrix(np.tile(numbers, 2), np.concatenate([bonds, bonds + 3]), np.tile(x, (2, 1)))
