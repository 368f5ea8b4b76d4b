"""Read a latent System that latent_annealing.py saved, without importing openmm_reparam.

OpenMM loads the C++ plugin by itself. What openmmtorch needs of anyone who uses it stands first:
torch before openmm, and NVRTC, which its plugin links to, on machines without a GPU too. A System
saved with --force python needs neither, but this package must be installed. Run it (a few
seconds):

    python examples/latent_annealing.py
    python examples/load_latent.py latent_annealing/
"""

import argparse
import ctypes
import glob
import importlib.util
from pathlib import Path

import torch  # noqa: F401 - before openmm

spec = importlib.util.find_spec("nvidia")
for folder in spec.submodule_search_locations if spec else ():
    for library in glob.glob(f"{folder}/cuda_nvrtc/lib/libnvrtc.so.12"):
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)

import openmm as mm  # noqa: E402
from openmm import unit  # noqa: E402

parser = argparse.ArgumentParser(description="Read a latent System and minimize it.")
parser.add_argument("folder", type=Path)
arguments = parser.parse_args()
system = mm.XmlSerializer.deserialize((arguments.folder / "system.xml").read_text())
state = mm.XmlSerializer.deserialize((arguments.folder / "state.xml").read_text())
context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference"))
context.setState(state)


def energy():
    """Potential energy in kJ/mol."""
    found = context.getState(energy=True).getPotentialEnergy()
    return found.value_in_unit(unit.kilojoule_per_mole)


print(f"{system.getNumParticles()} latent particles, read at {energy():.3f} kJ/mol")
mm.LocalEnergyMinimizer.minimize(context, 0.001, 200)
print(f"minimized in the latents: {energy():.3f} kJ/mol")
