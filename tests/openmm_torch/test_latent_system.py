"""Latent Systems: ordinary OpenMM objects that hold a reparametrized molecule."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_reparam import Potential, UnsupportedSystemError
from openmm_reparam.openmm_torch.latent_system import latent_system
from openmm_reparam.prepare.peptides import peptide


class Shifts(torch.nn.Module):
    """A user's module, with a parameter of its own name and one that does not train."""

    def __init__(self, positions):
        super().__init__()
        self.start = torch.nn.Parameter(torch.tensor(positions), requires_grad=False)
        self.shift = torch.nn.Parameter(torch.zeros(len(positions), 2, dtype=torch.float64))
        self.mix = torch.nn.Parameter(torch.tensor([[0.3, -0.1, 0.2], [0.0, 0.4, -0.3]]).double())

    def forward(self):
        return self.start + torch.tanh(self.shift @ self.mix)


MODELS = {
    "linear": {"count": 10},
    "gcn": {"hidden": (16,), "dtype": torch.float64},
    "spectral": {},
    "cartesian": {},
    "yours": {},
}


def molecule(platform="Reference", solvent="vacuum"):
    return peptide("AAA", constraints=None, solvent=solvent).simulation(platform)


def latent_of(simulation, name, **more):
    x = Potential(simulation.context).positions()
    return latent_system(simulation, Shifts(x) if name == "yours" else name, **MODELS[name], **more)


def context_of(latent, integrator=None, platform="Reference"):
    integrator = integrator or mm.VerletIntegrator(0.001)
    context = mm.Context(latent.system, integrator, mm.Platform.getPlatformByName(platform))
    context.setPositions(latent.positions)
    return context


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", [False, True])
def test_it_starts_where_the_molecule_stands(name, weights, platform, force):
    simulation = molecule(platform)
    potential = Potential(simulation.context)
    latent = latent_of(simulation, name, weights=weights, force=force)
    assert np.allclose(latent.decode(latent.positions), potential.positions(), atol=1e-6)
    energy = context_of(latent).getState(energy=True).getPotentialEnergy()._value
    expected = potential.evaluate(potential.positions())[0]
    assert energy == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", [False, True])
def test_forces_are_the_slopes_of_the_energy(name, weights, force):
    latent = latent_of(molecule(), name, weights=weights, force=force)
    context = context_of(latent)
    z = np.array(latent.positions._value)
    rng = np.random.default_rng(0)
    z += rng.normal(0, 1e-3, z.shape)
    context.setPositions(z)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    for _ in range(3):
        direction = rng.normal(size=z.shape)
        energies = []
        for sign in (1, -1):
            context.setPositions(z + sign * 1e-6 * direction)
            energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        slope = (energies[0] - energies[1]) / 2e-6
        assert slope == pytest.approx(-np.vdot(forces, direction), rel=1e-4)


@pytest.mark.parametrize("solvent", ["vacuum", "gbn2"])
def test_openmms_minimizer_works_on_it_and_the_molecule_gets_the_result(
    solvent, energy_and_forces, force
):
    simulation = molecule("Reference", solvent)
    latent = latent_of(simulation, "spectral", force=force)
    context = context_of(latent)
    # In units of the latents, whose forces are far smaller than those of atoms.
    mm.LocalEnergyMinimizer.minimize(context, 0.01)
    lowest = context.getState(energy=True).getPotentialEnergy()._value
    latent.write_back(context)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(lowest, abs=0.01)
    direct = molecule("Reference", solvent)
    direct.minimizeEnergy(tolerance=1)
    assert lowest == pytest.approx(energy_and_forces(direct.context)[0], abs=0.1)


@pytest.mark.parametrize("masses", [5.0, "metric"])
def test_langevin_annealing_with_ordinary_reporters(masses, tmp_path, force):
    latent = latent_of(molecule(), "linear", masses=masses, force=force)
    integrator = mm.LangevinMiddleIntegrator(600, 1, 0.0005)
    integrator.setRandomNumberSeed(1)
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(latent.topology, latent.system, integrator, platform)
    simulation.context.setPositions(latent.positions)
    simulation.context.setVelocitiesToTemperature(600, 1)
    text = StringIO()
    reporter = app.StateDataReporter(text, 5, potentialEnergy=True, temperature=True, separator=" ")
    simulation.reporters.append(reporter)
    checkpoint = tmp_path / "latent.chk"
    for temperature in (600, 300, 0):
        integrator.setTemperature(temperature * unit.kelvin)
        simulation.step(10)
    simulation.saveCheckpoint(str(checkpoint))
    rows = np.array([line.split() for line in text.getvalue().splitlines()[1:]], dtype=float)
    assert rows.shape == (6, 2)
    assert np.isfinite(rows).all()
    saved = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    simulation.step(5)
    simulation.loadCheckpoint(str(checkpoint))
    loaded = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    assert np.array_equal(saved, loaded)


def test_masses_of_the_metric_are_those_of_the_atoms_in_cartesian_latents(force):
    simulation = molecule()
    latent = latent_of(simulation, "cartesian", masses="metric", force=force)
    got = [latent.system.getParticleMass(i)._value for i in range(latent.system.getNumParticles())]
    # The output's scale is the only thing between the two.
    ratio = np.array(got) / Potential(simulation.context).masses
    assert np.allclose(ratio, ratio[0], rtol=1e-9)


FRESH = """
{imports}
import sys
import openmm as mm
system = mm.XmlSerializer.deserialize(open({system!r}).read())
context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference"))
context.setState(mm.XmlSerializer.deserialize(open({state!r}).read()))
print(repr(context.getState(energy=True).getPotentialEnergy()._value))
print("openmm_reparam" in sys.modules)
"""
NVRTC = """
import ctypes, glob, importlib.util
for folder in importlib.util.find_spec("nvidia").submodule_search_locations:
    for library in glob.glob(folder + "/cuda_nvrtc/lib/libnvrtc.so.12"):
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
import torch
"""
ROOT = str(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize("name", [pytest.param("linear", marks=pytest.mark.slow), "gcn"])
def test_a_fresh_process_reads_it(name, tmp_path, force):
    latent = latent_of(molecule(), name, force=force)
    context = context_of(latent)
    context.setPositions(np.array(latent.positions._value) + 1e-3)
    expected = context.getState(energy=True).getPotentialEnergy()._value
    files = {"system": tmp_path / "system.xml", "state": tmp_path / "state.xml"}
    files["system"].write_text(mm.XmlSerializer.serialize(latent.system))
    state = context.getState(positions=True, velocities=True)
    files["state"].write_text(mm.XmlSerializer.serialize(state))
    # A TorchForce needs torch before OpenMM, but not this package; pickle imports that by itself.
    script = FRESH.format(
        imports=NVRTC if force == "torchforce" else "",
        **{key: str(path) for key, path in files.items()},
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "" if force == "torchforce" else ROOT},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    energy, imported = done.stdout.split()
    assert float(energy) == pytest.approx(expected, rel=1e-12)
    assert imported == str(force == "python")


def test_periodic_molecules_keep_their_box(force):
    simulation = peptide(
        "AA", solvent="tip3p", padding=0.3, cutoff=0.5, constraints=None, rigid_water=False
    ).simulation("Reference")
    box = 1.1 * simulation.context.getState().getPeriodicBoxVectors(asNumpy=True)
    simulation.context.setPeriodicBoxVectors(*box)
    expected = simulation.context.getState(energy=True).getPotentialEnergy()._value
    latent = latent_system(simulation, "linear", count=12, force=force)
    energy = context_of(latent).getState(energy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(expected, rel=1e-9)


def test_fixed_atoms_keep_their_bits(nanometers, force):
    built = peptide("AAA", constraints=None)
    system = built.system
    system.setParticleMass(4, 0.0)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(built.positions)
    before = nanometers(context)
    latent = latent_system(context, "linear", count=10, force=force)
    inner = context_of(latent)
    inner.setPositions(np.array(latent.positions._value) + 0.01)
    latent.write_back(inner)
    after = nanometers(context)
    assert np.array_equal(after[4], before[4])
    assert not np.allclose(after, before)


def test_constraints_are_refused_in_words(force):
    simulation = peptide("AAA", constraints=app.HBonds).simulation("Reference")
    with pytest.raises(UnsupportedSystemError, match="constraints=None"):
        latent_system(simulation, "linear", count=10, force=force)


@pytest.mark.parametrize("masses", [0.0, -1.0, "heavy", np.inf])
def test_wrong_masses_are_refused(masses):
    with pytest.raises(ValueError, match="masses"):
        latent_of(molecule(), "linear", masses=masses, force="python")


def test_latents_that_are_not_finite_are_not_written_back(nanometers, force):
    simulation = molecule()
    before = nanometers(simulation.context)
    latent = latent_of(simulation, "linear", force=force)
    context = context_of(latent)
    context.setPositions(np.full((latent.system.getNumParticles(), 3), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        latent.write_back(context)
    assert np.array_equal(nanometers(simulation.context), before)
