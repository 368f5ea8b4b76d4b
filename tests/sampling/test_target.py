"""What is sampled and what is refused, in words."""

import copy

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.errors import UnsupportedSystemError
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.observables import observable
from openmm_reparam.sampling.target import boltzmann_target


def changed(molecule, change):
    """A Simulation of a copy of a molecule's System, changed."""
    system = mm.XmlSerializer.clone(molecule.system)
    change(system)
    other = MolecularSystem("changed", molecule.topology, system, molecule.positions)
    return other.simulation("Reference")


def restrain(system):
    force = mm.CustomExternalForce("100*x^2")
    force.addParticle(0)
    system.addForce(force)


def make_periodic(system):
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)


def make_virtual(system):
    system.setParticleMass(0, 0.0)
    system.setVirtualSite(0, mm.TwoParticleAverageSite(1, 4, 0.5, 0.5))


def test_density_is_that_of_the_context(dipeptide):
    simulation = dipeptide.simulation("Reference")
    target = boltzmann_target(simulation, 330 * unit.kelvin)
    energy = simulation.context.getState(energy=True).getPotentialEnergy()._value
    log_density, energies = target.log_density(torch.as_tensor(target.reference)[None])
    assert energies.item() == pytest.approx(energy)
    assert log_density.item() == pytest.approx(-energy / (BOLTZMANN * 330))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (restrain, "tied|ties it to a place"),
        (make_periodic, "NoCutoff"),
        (make_virtual, "virtual sites"),
        (lambda system: system.setParticleMass(3, 0), "fixed"),
        (lambda system: system.addConstraint(0, 5, 0.25), "constraints=None"),
    ],
)
def test_what_cannot_be_sampled_is_refused(dipeptide, change, words):
    with pytest.raises(UnsupportedSystemError, match=words):
        boltzmann_target(changed(dipeptide, change), 300)


def test_molecules_without_bonds_or_neighbours_are_refused(dipeptide):
    bare = app.Topology()
    chain = bare.addChain()
    residue = bare.addResidue("UNK", chain)
    for _ in range(2):
        bare.addAtom("C", app.element.carbon, residue)
    system = mm.System()
    for _ in range(2):
        system.addParticle(12.0)
    positions = np.eye(3)[:2] * unit.nanometer
    with pytest.raises(UnsupportedSystemError, match="no bonds"):
        boltzmann_target(
            MolecularSystem("C2", bare, system, positions).simulation("Reference"), 300
        )


def test_a_topology_that_lacks_a_bond_is_refused(dipeptide):
    simulation = dipeptide.simulation("Reference")
    simulation.topology = copy.deepcopy(dipeptide.topology)
    bonds = simulation.topology._bonds
    bonds.remove(next(bond for bond in bonds if bond[0].residue is not bond[1].residue))
    with pytest.raises(UnsupportedSystemError, match="2 molecules"):
        boltzmann_target(simulation, 300)


def test_positions_that_were_never_set_are_refused(dipeptide):
    simulation = dipeptide.simulation("Reference")
    simulation.context.reinitialize()
    simulation.context.setPositions(np.zeros((22, 3)))
    with pytest.raises(UnsupportedSystemError, match="set the Context's positions"):
        boltzmann_target(simulation, 300)


def test_constrained_bonds_keep_their_lengths():
    molecule = peptide("A", capped=True, constraints="HBonds")
    target = boltzmann_target(molecule.simulation("Reference"), 300)
    assert target.internal.num_coordinates == 60 - molecule.system.getNumConstraints() == 48


@pytest.mark.parametrize("temperature", [0, -1, "hot", 300 * unit.nanometer])
def test_temperatures_that_are_none_are_refused(dipeptide, temperature):
    with pytest.raises((ValueError, TypeError), match="temperature"):
        boltzmann_target(dipeptide.simulation("Reference"), temperature)


def test_latents_are_the_torsions_that_are_named(dipeptide):
    simulation = dipeptide.simulation("Reference")
    target = boltzmann_target(simulation, 300, latents=("phi", "omega 1"))
    names = {
        frozenset(observable(name, dipeptide.topology).atoms[1:3]) for name in ("phi", "omega 1")
    }
    torsions = target.internal.zmatrix.torsions[target.internal.free]
    assert {frozenset(atoms[1:3].tolist()) for atoms in torsions} == names
    assert len(target.internal.rotors) == 3
    for latents, words in (
        ("phi", "auto"),
        (("rg",), "torsion"),
        (("torsion 0 1 2 3",), "no coordinate turns"),
    ):
        with pytest.raises(ValueError, match=words):
            boltzmann_target(simulation, 300, latents=latents)
