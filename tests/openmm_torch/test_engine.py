"""engine="openmm-torch": the latent stage through a TorchForce, step for step as the Python one."""

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app

from openmm_reparam import ReparamMinimizer, UnsupportedSystemError
from openmm_reparam.prepare.peptides import peptide

pytest.importorskip("openmmtorch")
pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def history(engine, reparametrization, optimizer="adam", fixed=None, **settings):
    molecule = peptide("AGS", constraints=None)
    system = mm.XmlSerializer.clone(molecule.system)
    if fixed is not None:
        system.setParticleMass(fixed, 0.0)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(molecule.positions)
    minimizer = ReparamMinimizer(
        context,
        reparametrization,
        engine=engine,
        optimizer=optimizer,
        latent_iterations=25,
        fine_stage=False,
        **settings,
    )
    result = minimizer.minimize(0.01)
    after = context.getState(positions=True).getPositions(asNumpy=True)._value
    return result, np.array(after)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("reparametrization", "settings"),
    [
        ("gcn", {"hidden": (8, 8), "count": 6, "dtype": torch.float64}),
        ("linear", {"count": 8}),
        ("cartesian", {}),
    ],
)
def test_both_engines_take_the_same_steps(reparametrization, settings, optimizer):
    one, x = history("python", reparametrization, optimizer, **settings)
    other, y = history("openmm-torch", reparametrization, optimizer, **settings)
    assert len(one.history) == len(other.history) == 25
    assert np.allclose(one.history["energy"], other.history["energy"], rtol=1e-7, atol=1e-6)
    assert np.allclose(one.history["rms_force"], other.history["rms_force"], rtol=1e-5)
    assert np.allclose(x, y, atol=1e-7)
    # The start is evaluated once more, and that is counted.
    assert 0 <= other.force_evaluations - one.force_evaluations <= 1


def test_single_precision_weights_are_the_same_to_their_rounding():
    settings = {"hidden": (8,), "count": 6}
    one, _ = history("python", "gcn", **settings)
    other, _ = history("openmm-torch", "gcn", **settings)
    assert np.allclose(one.history["energy"], other.history["energy"], rtol=1e-3)


def test_fixed_atoms_stay_where_they_are():
    start = np.array(peptide("AGS").positions._value)
    one, _ = history("python", "linear", count=8, fixed=3)
    other, after = history("openmm-torch", "linear", count=8, fixed=3)
    assert np.allclose(one.history["energy"], other.history["energy"], rtol=1e-7)
    assert np.array_equal(after[3], start[3])


def test_the_fine_stage_follows():
    simulation = peptide("AGS", constraints=None).simulation("CPU")
    minimizer = ReparamMinimizer(
        simulation, "linear", count=8, engine="openmm-torch", latent_iterations=10
    )
    result = minimizer.minimize(1)
    assert result.converged
    assert [stage.name for stage in result.stages] == ["linear", "preconditioned L-BFGS"]


def test_steps_to_infinity_are_taken_back():
    simulation = peptide("AGS", constraints=None).simulation("Reference")
    minimizer = ReparamMinimizer(
        simulation,
        "cartesian",
        engine="openmm-torch",
        learning_rate=1e160,
        latent_iterations=5,
        fine_stage=False,
    )
    result = minimizer.minimize(1)
    assert np.isfinite(result.energy)
    assert result.energy <= result.initial_energy


def test_wrong_engines_are_refused():
    simulation = peptide("AAA", constraints=app.HBonds).simulation("Reference")
    with pytest.raises(ValueError, match="openmm-torch"):
        ReparamMinimizer(simulation, engine="jax")
    with pytest.raises(ValueError, match="latent stage"):
        ReparamMinimizer(simulation, "spectral", engine="openmm-torch")
    with pytest.raises(UnsupportedSystemError, match="constraints=None"):
        ReparamMinimizer(simulation, "linear", count=8, engine="openmm-torch").minimize()
