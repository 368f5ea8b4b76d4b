"""What importing this package brings along, and when."""

import importlib.util
import subprocess
import sys

import pytest

import openmm_reparam


def run_python(code):
    """Return what a new interpreter prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy_modules_after(code):
    """Return which slow imports a new interpreter holds after some code."""
    heavy = ("matplotlib", "mdtraj", "openmm", "pdbfixer", "scipy", "torch")
    printed = run_python(f"{code}\nimport sys\nprint(*[m for m in {heavy} if m in sys.modules])")
    return printed.splitlines()[-1].split()


def test_the_package_alone_imports_nothing_slow():
    assert heavy_modules_after("import openmm_reparam") == []


def test_help_imports_nothing_slow():
    code = "from openmm_reparam.cli.app import main\nassert main(['--help']) == 0"
    assert heavy_modules_after(code) == []


def test_evaluating_and_building_need_no_torch():
    code = "from openmm_reparam import Potential\nimport openmm_reparam.prepare.peptides"
    assert "torch" not in heavy_modules_after(code)


def test_a_minimization_needs_no_torch():
    code = (
        "from openmm_reparam import minimize_reparam\n"
        "from openmm_reparam.prepare.peptides import peptide\n"
        "assert minimize_reparam(peptide('AG').simulation('Reference')).converged"
    )
    assert "torch" not in heavy_modules_after(code)


def test_a_search_along_slow_modes_needs_no_torch():
    code = (
        "import warnings\n"
        "from openmm_reparam import minimize_reparam\n"
        "from openmm_reparam.prepare.peptides import peptide\n"
        "warnings.simplefilter('ignore')\n"
        "simulation = peptide('AG').simulation('Reference')\n"
        "result = minimize_reparam(\n"
        "    simulation, search='slow-modes', max_force_evaluations=400\n"
        ")\n"
        "assert result.search_record.tried > 1"
    )
    assert "torch" not in heavy_modules_after(code)


def test_every_public_name_is_there():
    assert set(openmm_reparam.__all__) <= set(dir(openmm_reparam))
    for name in openmm_reparam.__all__:
        assert getattr(openmm_reparam, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = openmm_reparam.no_such_name


def test_names_and_their_modules_are_listed_once():
    listed = [*openmm_reparam._DEFINED_IN, "__version__"]
    assert sorted(listed) == sorted(openmm_reparam.__all__)


@pytest.mark.skipif(
    importlib.util.find_spec("openmmtorch") is None, reason="openmmtorch is not installed"
)
def test_a_torchforce_works_before_any_name_of_this_package_is_used():
    printed = run_python(
        "import openmm_reparam\n"
        "import openmm\n"
        "from openmmtorch import TorchForce\n"
        "import torch\n"
        "class Square(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return (x**2).sum()\n"
        "system = openmm.System()\n"
        "system.addParticle(1.0)\n"
        "model = torch.jit.trace(Square(), torch.ones(1, 3))\n"
        "system.addForce(TorchForce(model))\n"
        "platform = openmm.Platform.getPlatformByName('Reference')\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)\n"
        "context.setPositions([[1, 2, 3]])\n"
        "print(context.getState(energy=True).getPotentialEnergy()._value)\n"
    )
    assert float(printed.splitlines()[-1]) == pytest.approx(14.0)
