"""The compiled motions of torsions against a small dense reference in numpy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.torsion_kinematics import TorsionKinematics, TorsionRotation
from openmm_reparam.search.torsions import TorsionTopology


@pytest.fixture(scope="module")
def kinematics_and_positions():
    potential = Potential(peptide("AFYS", "random-coil", seed=1).simulation("Reference").context)
    kinematics = TorsionKinematics(TorsionTopology(potential, bond_graph(potential)))
    return kinematics, potential.positions()


def dense_jacobian(topology, positions):
    """Derivatives of all atoms by all torsions, (N, 3, T)."""
    found = np.zeros((*positions.shape, len(topology.axes)))
    for torsion, (i, j) in enumerate(topology.axes):
        axis = (positions[j] - positions[i]) / np.linalg.norm(positions[j] - positions[i])
        atoms = topology.movers[torsion]
        found[atoms, :, torsion] = np.cross(axis, positions[atoms] - positions[j])
    return found


def turned_one_by_one(topology, positions, angles):
    """Positions and frames after one rotation after the other, from the chains' ends inwards."""
    positions, frames = positions.copy(), np.tile(np.eye(3), (len(positions), 1, 1))
    for torsion in reversed(range(len(angles))):
        i, j = topology.axes[torsion]
        axis = (positions[j] - positions[i]) / np.linalg.norm(positions[j] - positions[i])
        matrix = Rotation.from_rotvec(angles[torsion] * axis).as_matrix()
        atoms = topology.movers[torsion]
        positions[atoms] = (positions[atoms] - positions[j]) @ matrix.T + positions[j]
        frames[[*atoms, j]] = matrix @ frames[[*atoms, j]]
    return positions, frames


def test_derivatives_are_those_of_the_dense_reference(kinematics_and_positions):
    kinematics, x = kinematics_and_positions
    topology, rng = kinematics.topology, np.random.default_rng(0)
    dense = dense_jacobian(topology, x)
    chosen = np.array([3, 0, 7])
    found = kinematics.jacobian(x, chosen)
    assert found == pytest.approx(dense[topology.atoms][:, :, chosen], abs=1e-14)
    angles, forces = rng.standard_normal(dense.shape[2]), rng.standard_normal(x.shape)
    assert kinematics.first_order(x, angles) == pytest.approx(dense @ angles, abs=1e-12)
    torques = np.einsum("ndt,nd->t", dense, forces)
    assert kinematics.torques(x, forces) == pytest.approx(torques, abs=1e-12)


def test_rotations_at_once_are_those_one_after_the_other(kinematics_and_positions):
    kinematics, x = kinematics_and_positions
    topology, rng = kinematics.topology, np.random.default_rng(1)
    angles = rng.uniform(-np.pi, np.pi, len(topology.axes))
    positions, frames = turned_one_by_one(topology, x, angles)
    found, found_frames = kinematics.rotated_frames(x, angles)
    assert found == pytest.approx(positions, abs=1e-12)
    assert found_frames == pytest.approx(frames, abs=1e-12)
    some = np.array([1, 4])
    few = np.zeros(len(angles))
    few[some] = angles[some]
    positions, _ = turned_one_by_one(topology, x, few)
    assert kinematics.rotated(x, TorsionRotation(some, angles[some])) == pytest.approx(
        positions, abs=1e-12
    )
    # What no rotation moves stays bit-identical.
    assert np.array_equal(kinematics.rotated_frames(x, np.zeros(len(angles)))[0], x)


def test_arrays_of_other_molecules_are_refused(kinematics_and_positions):
    kinematics, x = kinematics_and_positions
    with pytest.raises(ValueError, match="positions"):
        kinematics.rotated_frames(x[1:], np.zeros(len(kinematics.topology.axes)))
    with pytest.raises(ValueError, match="angles"):
        kinematics.first_order(x, np.zeros(1))
    with pytest.raises(ValueError, match="torsion"):
        kinematics.jacobian(x, np.array([len(kinematics.topology.axes)]))
