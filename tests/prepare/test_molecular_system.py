"""A molecule becomes a Simulation on the platform that was asked for."""

import numpy as np
import openmm
import pytest


@pytest.mark.parametrize("platform", ["Reference", "CPU", None])
def test_simulation_has_the_positions(molecule, platform):
    simulation = molecule.simulation(platform)
    if platform is not None:
        assert simulation.context.getPlatform().getName() == platform
    x = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    assert np.allclose(x._value, molecule.positions._value, atol=1e-6)


def test_simulation_takes_an_integrator_and_threads(molecule):
    integrator = openmm.VerletIntegrator(0.001)
    simulation = molecule.simulation("CPU", integrator, threads=1)
    platform = simulation.context.getPlatform()
    assert simulation.integrator is integrator
    assert platform.getPropertyValue(simulation.context, "Threads") == "1"


def test_unknown_platform_lists_those_there(molecule):
    with pytest.raises(ValueError, match="'GPU'.*Reference, CPU"):
        molecule.simulation("GPU")
    with pytest.raises(ValueError, match="threads"):
        molecule.simulation("Reference", threads=2)
    with pytest.raises(ValueError, match="threads"):
        molecule.simulation("CPU", threads=0)
