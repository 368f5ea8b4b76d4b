"""Hydrogen peroxide on harmonic springs: nothing else depends on its torsion."""

import numpy as np
import openmm as mm
from openmm import app, unit

from openmm_reparam.prepare.molecular_system import MolecularSystem

# Equilibria (nm, radians) and force constants.
BOND, ANGLE = (0.1, 2e4), (1.8, 300.0)
BARRIER = 15.0  # kJ/mol, half of the whole


def harmonic_peroxide():
    """Hydrogen peroxide on harmonic springs, with a torsion."""
    topology = app.Topology()
    residue = topology.addResidue("PER", topology.addChain())
    elements = [app.element.oxygen] * 2 + [app.element.hydrogen] * 2
    atoms = [topology.addAtom(f"{e.symbol}{k}", e, residue) for k, e in enumerate(elements)]
    system = mm.System()
    bonds, angles, torsions = (
        mm.HarmonicBondForce(),
        mm.HarmonicAngleForce(),
        mm.PeriodicTorsionForce(),
    )
    for element in elements:
        system.addParticle(element.mass)
    for i, j, length in ((0, 1, 0.145), (0, 2, 0.1), (1, 3, 0.1)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, length, BOND[1])
    for i, j, k in ((2, 0, 1), (0, 1, 3)):
        angles.addAngle(i, j, k, *ANGLE)
    torsions.addTorsion(2, 0, 1, 3, 1, 0.0, BARRIER)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    positions = [[0, 0, 0], [0.145, 0, 0], [-0.02, 0.097, 0], [0.165, -0.09, 0.04]]
    return MolecularSystem("peroxide", topology, system, np.array(positions) * unit.nanometer)
