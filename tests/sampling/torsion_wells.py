"""Hydrogen peroxide on springs whose torsion has two wells: everything about it is known."""

import math

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.sampling.target import boltzmann_target

TEMPERATURE = 300.0
KT = BOLTZMANN * TEMPERATURE
OO, OH, ANGLE = 0.145, 0.1, 1.8
BOND_SPRING, ANGLE_SPRING = 2e4, 300.0
TILT = 1.5  # kJ/mol, between the wells at 0 and pi: the latter is deeper


def two_wells(barrier):
    """A torsion of energy barrier (1 - cos 2 t) + TILT (1 + cos t)."""
    topology = app.Topology()
    residue = topology.addResidue("PER", topology.addChain())
    elements = [app.element.oxygen] * 2 + [app.element.hydrogen] * 2
    atoms = [topology.addAtom(f"{e.symbol}{k}", e, residue) for k, e in enumerate(elements)]
    system = mm.System()
    for element in elements:
        system.addParticle(element.mass)
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    for i, j, length in ((0, 1, OO), (0, 2, OH), (1, 3, OH)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, length, BOND_SPRING)
    for i, j, k in ((2, 0, 1), (0, 1, 3)):
        angles.addAngle(i, j, k, ANGLE, ANGLE_SPRING)
    torsions = mm.PeriodicTorsionForce()
    torsions.addTorsion(2, 0, 1, 3, 2, math.pi, barrier)
    torsions.addTorsion(2, 0, 1, 3, 1, 0.0, TILT)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    positions = [[0, 0, 0], [OO, 0, 0], [-0.02, 0.097, 0], [0.165, -0.097, 0.01]]
    return MolecularSystem("peroxide", topology, system, np.array(positions) * unit.nanometer)


def target_of(barrier):
    return boltzmann_target(two_wells(barrier).simulation("Reference"), TEMPERATURE)


def density_of_torsion(barrier, count=3600):
    """Angles on a grid, and exp(-E / kT) there."""
    t = np.linspace(-np.pi, np.pi, count, endpoint=False)
    return t, np.exp(-(barrier * (1 - np.cos(2 * t)) + TILT * (1 + np.cos(t))) / KT)


def exact_log_z(barrier):
    """Integral of exp(-E / kT) prod b^2 prod sin a, in closed form but for the torsion."""
    t, density = density_of_torsion(barrier)
    bond_width, angle_width = KT / BOND_SPRING, KT / ANGLE_SPRING
    bonds = [math.sqrt(2 * math.pi * bond_width) * (b**2 + bond_width) for b in (OO, OH, OH)]
    angle = math.sqrt(2 * math.pi * angle_width) * math.exp(-angle_width / 2) * math.sin(ANGLE)
    return float(np.log(bonds).sum() + 2 * np.log(angle) + np.log(density.mean() * 2 * np.pi))


def exact_difference(barrier):
    """Free energy of the well at 0 over that at pi, in kJ/mol."""
    t, density = density_of_torsion(barrier)
    near = np.abs(t) < np.pi / 2
    return float(-KT * np.log(density[near].sum() / density[~near].sum()))


def exact_configurations(target, barrier, count, seed=0):
    """Structures from equilibrium, (count, 4, 3) in nm."""
    rng = np.random.default_rng(seed)
    t, density = density_of_torsion(barrier)
    q = np.empty((20 * count, 6))
    internal = target.internal
    atoms = [frozenset(pair) for pair in internal.zmatrix.bonds.tolist()]
    lengths = [OO if pair == frozenset((0, 1)) else OH for pair in atoms]
    q[:, :3] = rng.normal(lengths, math.sqrt(KT / BOND_SPRING), (len(q), 3))
    q[:, 3:5] = rng.normal(ANGLE, math.sqrt(KT / ANGLE_SPRING), (len(q), 2))
    q[:, 5] = rng.choice(t, len(q), p=density / density.sum())
    weights = (q[:, :3] ** 2).prod(1) * np.sin(q[:, 3:5]).prod(1)
    chosen = rng.choice(len(q), count, p=weights / weights.sum())
    return internal.positions(torch.as_tensor(q[chosen]))[0].numpy()


def torsions_of(target, positions):
    """The torsion of each structure, (n,), from -pi to pi."""
    return target.internal.coordinates(torch.as_tensor(positions))[0][:, 5].numpy()
