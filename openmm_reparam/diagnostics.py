"""What is installed here, whether it works, and what to do where it does not."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform as machine
import sys
from dataclasses import dataclass

import openmm as mm
import torch

from .openmm_torch.torch_potential import (
    PluginUnavailableError,
    library_path,
    load_plugin,
    torch_potential,
)
from .openmm_torch.torchforce import load_torchforce, torch_force
from .version import __version__

__all__ = ["Check", "Diagnosis", "diagnose"]

PACKAGES = ("openmm", "torch", "openmmtorch", "numpy", "scipy", "mdtraj", "pdbfixer", "qdldl")
# kJ/mol: an argon pair's energy on a platform may differ from the Reference platform's by this.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes
    ----------
    name : str
    state : {"works", "missing", "broken"}
        "missing" is no fault: something optional is not installed.
    detail : str
        A version, or what went wrong.
    advice : str
        What to do; empty where it works.
    """

    name: str
    state: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """All checks.

    Attributes
    ----------
    checks : tuple of Check
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return all(check.state != "broken" for check in self.checks)

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.name:<{width}}  {check.state:<7}  {check.detail}".rstrip())
            if check.advice:
                lines.append(f"{'':<{width}}           -> {check.advice}")
        lines.append("Nothing is broken." if self.ok else "See the lines marked 'broken'.")
        return "\n".join(lines)


def diagnose(*, quiet: bool = False) -> Diagnosis:
    """Check this installation, print what was found, and say how to mend what is broken.

    Every platform evaluates a force, the C++ plugin a molecule, and a TorchForce is written to XML
    and read back.

    Parameters
    ----------
    quiet : bool
        Print nothing.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> from openmm_reparam import diagnose
    >>> diagnosis = diagnose(quiet=True)
    >>> [check.state for check in diagnosis.checks if check.name == "Reference platform"]
    ['works']
    """
    checks = (*_versions(), *_platforms(), _plugin(), _torchforce())
    diagnosis = Diagnosis(checks)
    if not quiet:
        print(diagnosis)
    return diagnosis


def _versions() -> list[Check]:
    found = [
        Check("openmm-reparam", "works", f"{__version__}, Python {sys.version.split()[0]}"),
        Check("machine", "works", f"{machine.system()} {machine.machine()}"),
    ]
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(Check(name, "works", importlib.metadata.version(name)))
    return found


def _argon_pair() -> mm.System:
    system, force = mm.System(), mm.NonbondedForce()
    for _ in range(2):
        system.addParticle(39.95)
        force.addParticle(0.0, 0.34, 0.996)
    system.addForce(force)
    return system


def _pair_context(platform: mm.Platform) -> mm.Context:
    context = mm.Context(_argon_pair(), mm.VerletIntegrator(0.001), platform)
    context.setPositions([[0, 0, 0], [0.36, 0, 0]])
    return context


def _platforms() -> list[Check]:
    checks = []
    expected = None
    for index in range(mm.Platform.getNumPlatforms()):
        platform = mm.Platform.getPlatform(index)
        name = f"{platform.getName()} platform"
        try:
            energy = _pair_context(platform).getState(energy=True).getPotentialEnergy()._value
        except Exception as error:
            advice = "update the GPU's driver, or choose another platform"
            checks.append(Check(name, "broken", _one_line(error), advice))
            continue
        expected = energy if expected is None else expected
        if abs(energy - expected) > ROUNDING:
            detail = f"an argon pair has {energy:.6f} kJ/mol, not {expected:.6f}"
            checks.append(Check(name, "broken", detail, "reinstall openmm"))
        else:
            checks.append(Check(name, "works", f"speed {platform.getSpeed():g}"))
    if torch.cuda.is_available() and not any("CUDA" in check.name for check in checks):
        advice = "pip install 'openmm[cuda12]' (or cuda13) of the same version as openmm"
        checks.append(
            Check("CUDA platform", "missing", "torch sees a GPU, OpenMM does not", advice)
        )
    return checks


def _plugin() -> Check:
    name = "C++ plugin"
    try:
        load_plugin()
        context = _pair_context(mm.Platform.getPlatformByName("Reference"))
        x = torch.tensor([[[0.0, 0, 0], [0.36, 0, 0]]], dtype=torch.float64)
        energies, _ = torch_potential(context).evaluate(x)
    except PluginUnavailableError as error:
        state = "broken" if library_path().exists() else "missing"
        advice = (
            "without it: latent Systems need force='python'; no engine='openmm-torch' by "
            "TorchForce, no latent stage over replicas"
        )
        return Check(name, state, _one_line(error), advice)
    except Exception as error:
        return Check(name, "broken", _one_line(error), "reinstall this package: it is rebuilt")
    expected = context.getState(energy=True).getPotentialEnergy()._value
    if abs(energies.item() - expected) > 1e-12:
        return Check(name, "broken", f"evaluates {energies.item()}, not {expected}", "reinstall it")
    return Check(name, "works", str(library_path()))


class _Square(torch.nn.Module):
    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return (positions**2).sum()


def _torchforce() -> Check:
    name = "TorchForce"
    try:
        version = importlib.metadata.version("openmmtorch")
    except importlib.metadata.PackageNotFoundError:
        advice = (
            "pip install 'openmm-reparam[torchforce]', for latent Systems as TorchForces "
            "(force='python' needs none)"
        )
        return Check(name, "missing", "openmmtorch is not installed", advice)
    problems = load_torchforce()
    advice = "pip install 'openmm-reparam[torchforce]' brings an openmmtorch and a torch that match"
    if problems:
        return Check(name, "broken", _one_line(problems[0]), advice)
    try:
        system = mm.System()
        system.addParticle(1.0)
        system.addForce(torch_force(torch.jit.script(_Square())))
        energies = [_squared(system)]
        # Reading a TorchForce of openmmtorch 1.5 crashes OpenMM 8.6 without the plugin.
        with contextlib.suppress(PluginUnavailableError):
            load_plugin()
            energies.append(_squared(mm.XmlSerializer.clone(system)))
    except Exception as error:
        return Check(name, "broken", _one_line(error), advice)
    if any(abs(energy - 14.0) > 1e-5 for energy in energies):
        return Check(name, "broken", f"1 + 4 + 9 is {energies}", advice)
    return Check(name, "works", f"openmmtorch {version}")


def _squared(system: mm.System) -> float:
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), reference)
    context.setPositions([[1, 2, 3]])
    return context.getState(energy=True).getPotentialEnergy()._value


def _one_line(error) -> str:
    return " ".join(str(error).split())[:600]
