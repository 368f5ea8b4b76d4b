"""Fixtures of the forces that a latent System may have."""

import types

import openmm as mm
import pytest
import torch

from openmm_reparam.openmm_torch import latent_forces


class StandIn(mm.PythonForce):
    """PythonTorchForce as its documentation has it, for openmmtorch 1.5, which has none."""

    def __init__(self, function):
        def compute(state):
            positions = torch.tensor(state.getPositions(asNumpy=True)._value, requires_grad=True)
            energy, forces = function(state, positions)
            assert energy.shape == ()
            assert forces.dtype == positions.dtype
            assert forces.is_contiguous()
            return energy.item(), forces.numpy()

        super().__init__(compute)


@pytest.fixture(params=["torchforce", "python"])
def force(request):
    """Return the name of each force that can run here."""
    if request.param == "torchforce":
        pytest.importorskip("openmmtorch")
    return request.param


@pytest.fixture
def newer_openmmtorch(monkeypatch):
    """Put a stand-in for an openmmtorch with PythonTorchForce in place of the installed one."""
    stand_in = types.SimpleNamespace(PythonTorchForce=StandIn)
    monkeypatch.setattr(latent_forces, "openmmtorch_module", lambda: stand_in)
