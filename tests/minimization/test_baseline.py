"""OpenMM's own minimizer, recorded and judged as this package judges itself."""

import json

import numpy as np
import pytest

from openmm_reparam import Potential
from openmm_reparam.minimization.baseline import run_baseline
from openmm_reparam.plotting import plot_history
from openmm_reparam.prepare.peptides import peptide


def test_a_constrained_system_is_judged_by_projected_forces():
    molecule = peptide("AAA", constraints="HBonds")
    baseline = run_baseline(molecule.simulation("Reference"), 10.0)
    simulation = molecule.simulation("Reference")
    simulation.minimizeEnergy(10.0)
    potential = Potential(simulation.context)
    energy, forces = potential.evaluate(potential.positions())
    assert baseline.energy == pytest.approx(energy, abs=1e-3)
    # Forces along the constraints, which no motion can follow, do not count.
    assert baseline.rms_force < 12 < np.sqrt((forces**2).sum() / len(forces))
    assert baseline.history["rms_force"][-1] < 20


def test_energies_off_the_constraints_do_not_count(tmp_path):
    molecule = peptide("GG", constraints="HBonds")
    baseline = run_baseline(molecule.simulation("CPU"), 1.0)
    known = baseline.history["energy"][np.isfinite(baseline.history["energy"])]
    assert len(known) < len(baseline.history)
    assert baseline.history["energy"][-1] == baseline.energy
    assert baseline.iterations == len(baseline.history) - 1
    plot_history({"baseline": baseline}, tmp_path / "baseline.png")
    assert (tmp_path / "baseline.png").stat().st_size > 1000
    json.loads(json.dumps(baseline.to_dict(), allow_nan=False))


def test_iterations_at_most():
    baseline = run_baseline(peptide("GG").simulation("Reference"), 1e-3, max_iterations=3)
    assert not baseline.converged
    assert baseline.rms_force > 1e-3
    assert baseline.iterations <= 4
