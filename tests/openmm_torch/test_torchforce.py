"""TorchForce Systems, whichever of torch, OpenMM and this package is imported first."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_reparam import minimize_reparam
from openmm_reparam.openmm_torch.torchforce import load_torchforce

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openmmtorch") is None,
    reason="openmmtorch is not installed: pip install 'openmm-reparam[torchforce]'",
)


class Wells(torch.nn.Module):
    """Each particle in its own harmonic well."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centres", 0.2 * torch.arange(15.0).reshape(5, 3).double())

    def forward(self, positions):
        return 150.0 * torch.sum((positions.double() - self.centres) ** 2)


def system_of_wells():
    from openmmtorch import TorchForce

    system = mm.System()
    for _ in range(5):
        system.addParticle(12.0)
    force = TorchForce(torch.jit.script(Wells()))
    system.addForce(force)
    bond = mm.HarmonicBondForce()
    bond.addBond(0, 1, 0.52, 1.0)
    system.addForce(bond)
    return system


class Counting(mm.MinimizationReporter):
    """OpenMM's own minimizer fails with one: it holds the interpreter's lock."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def report(self, iteration, x, grad, args):
        self.calls += 1
        return False


@pytest.mark.parametrize("reparametrization", ["gcn", "linear", "cartesian", "spectral"])
def test_a_torchforce_minimizes_with_a_reporter(reparametrization, platform, nanometers):
    chosen = mm.Platform.getPlatformByName(platform)
    if platform not in ("Reference", "CPU") and not chosen.supportsKernels(["CalcTorchForce"]):
        pytest.skip(f"openmmtorch has no library for {platform} here that can be loaded")
    context = mm.Context(system_of_wells(), mm.VerletIntegrator(0.001), chosen)
    context.setPositions(np.random.default_rng(0).normal(size=(5, 3)))
    reporter = Counting()
    result = minimize_reparam(context, 0.1, reporter=reporter, reparametrization=reparametrization)
    assert result.converged
    assert reporter.calls == result.iterations > 0
    expected = 0.2 * np.arange(15.0).reshape(5, 3)
    assert np.allclose(nanometers(context), expected, atol=2e-3)


def test_the_plugin_is_loaded_and_loading_again_is_harmless():
    assert load_torchforce() == []
    assert load_torchforce() == []


SCRIPT = """
{imports}
import numpy as np
import openmm as mm
import torch
from openmm_reparam import minimize_reparam
from openmmtorch import TorchForce

class Bowl(torch.nn.Module):
    def forward(self, x):
        return 100.0 * torch.sum(x**2)

system = mm.System()
for _ in range(3):
    system.addParticle(12.0)
system.addForce(TorchForce(torch.jit.script(Bowl())))
for name in ("Reference", "CPU"):
    platform = mm.Platform.getPlatformByName(name)
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.eye(3))
    result = minimize_reparam(context, 0.1)
    assert result.converged, result
    assert result.energy < 1e-3, result
print("done")
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import openmm_reparam",
        "import openmm\nimport openmm_reparam",
        "import torch\nimport openmm\nimport openmm_reparam",
    ],
)
def test_every_order_of_imports(imports, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(imports=imports))  # TorchScript reads its source
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
