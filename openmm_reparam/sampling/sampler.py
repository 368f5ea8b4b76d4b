"""Sampling a molecule's Boltzmann distribution, in one call."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import mdtraj
import numpy as np
import openmm as mm
import torch
from tqdm import tqdm

from ..random_states import global_random_states_kept
from ..units import whole_number
from .bias import CEILING, bias_force
from .checkpoint import fingerprint, read_checkpoint, write_checkpoint
from .ensemble import WeightedEnsemble
from .free_energy_profiles import FreeEnergySurface
from .importance import BLOCKS, ForwardCheck, forward_check, log_weights
from .method import BroadSamplingMethod, SamplingMethod
from .observables import Measure, Observable, observable
from .target import Target, boltzmann_target

__all__ = ["METHODS", "BoltzmannSampler", "boltzmann_sampler"]

#: Methods by name: where each is made from a target and a random number generator.
METHODS = {
    "conditional": "conditional_sampler.ConditionalSampler",
    "latent": "latent.LatentSampler",
    "minima": "minima_mixture.MinimaMixture",
}
MethodFactory: TypeAlias = Callable[[Target, torch.Generator], SamplingMethod]
Draw: TypeAlias = Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]

# Evaluations that a training gets by default: minutes for some twenty atoms.
EVALUATIONS, EVALUATIONS_OF_MINIMA = 450_000, 30_000
SAMPLES = 20_000
# Of fewer structures drawn, weights do not tell much.
JUDGED = 1000
# Structures drawn at once, and evaluated at once: Ctrl-C loses no more than these.
CHUNK, EVALUATED = 1000, 128
LARGEST_SEED = 2**63 - 1
# Between two writings of a checkpoint.
SECONDS = 60.0


def boltzmann_sampler(
    simulation: Any,
    temperature: Any = 300.0,
    *,
    latents: str | Iterable[Measure] = "auto",
    method: str | MethodFactory = "conditional",
    max_force_evaluations: int | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> BoltzmannSampler:
    """Train a sampler of what a Simulation holds, from its energies alone.

    Ctrl-C ends the training and keeps what is trained. While structures are drawn, it keeps those
    that are.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        One molecule in vacuum or implicit solvent, its positions set. It is not changed.
    temperature : float or Quantity
        In K.
    latents : "auto" or sequence of str
        Torsions that rotate freely, such as ``("phi", "psi")`` (see `observables.observable`); by
        default those about all acyclic single bonds. Rotors such as methyl groups come by
        themselves.
    method : {"conditional", "minima", "latent"} or callable
        Or one of your own: (target, torch.Generator) -> `SamplingMethod`.
    max_force_evaluations : int, optional
        Of the training, 450 000 by default, for "minima" 30 000; each structure that is drawn takes
        one more.
    seed : int
        Of every random choice. Global random states are left alone.
    checkpoint : str or Path, optional
        Written every minute and at the end. A file that exists is gone on with, up to
        ``max_force_evaluations`` in all.
    progress : bool
        Show a progress bar.

    Returns
    -------
    BoltzmannSampler

    Raises
    ------
    UnsupportedSystemError
        The Simulation does not hold one free molecule; see `boltzmann_target`.
    ValueError, TypeError
        An argument is none of the above, or the checkpoint is of another training.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020).
    """
    if max_force_evaluations is None:
        max_force_evaluations = EVALUATIONS_OF_MINIMA if method == "minima" else EVALUATIONS
    limit = whole_number(max_force_evaluations, "max_force_evaluations", 0)
    generator = torch.Generator().manual_seed(whole_number(seed, "seed", 0, LARGEST_SEED))
    name = _method_name(method)
    path = None if checkpoint is None else Path(checkpoint)
    stored = None if path is None else read_checkpoint(path)
    reference = None if stored is None else stored["reference"].numpy()
    target = boltzmann_target(simulation, temperature, latents, reference)
    if stored is not None and stored["fingerprint"] != fingerprint(target, name):
        raise ValueError(
            f"{path} is the checkpoint of another System, temperature, method or choice of "
            "latents: name another file, or remove it"
        )
    with global_random_states_kept():
        # Networks draw their first weights from it; torch.manual_seed seeds GPUs, too.
        torch.default_generator.manual_seed(int(seed))
        made = _factory(method)(target, generator)
    sampler = BoltzmannSampler(target, made, generator, name, path)
    if stored is not None:
        sampler.restore(stored)
    sampler.train(limit - target.energy.evaluations, progress=progress)
    return sampler


class BoltzmannSampler:
    """Draws independent structures of a molecule, with weights; see `boltzmann_sampler`.

    Attributes
    ----------
    target : Target
    method : SamplingMethod
    interrupted : bool
        Whether Ctrl-C ended a training or a drawing.
    """

    def __init__(
        self,
        target: Target,
        method: SamplingMethod,
        generator: torch.Generator,
        name: str,
        checkpoint: Path | None = None,
    ) -> None:
        self.target, self.method = target, method
        self.interrupted = False
        self._generator, self._name, self._checkpoint = generator, name, checkpoint
        self._drawn: WeightedEnsemble | None = None

    @property
    def evaluations(self) -> int:
        """Force evaluations so far: training, structures drawn, configurations checked."""
        return self.target.energy.evaluations

    def __repr__(self) -> str:
        zmatrix = self.target.internal.zmatrix
        label = self.target.potential.label
        free = [f"{label(j)} - {label(k)}" for _, j, k, _ in zmatrix.torsions[zmatrix.free]]
        stiff = int((zmatrix.classes == "stiff").sum())
        return (
            f"<{type(self).__name__} {self._name!r} at {self.target.temperature:g} K, "
            f"{self.evaluations} force evaluations; rotates: {'; '.join(free) or 'nothing'}, and "
            f"{len(zmatrix.rotors)} rotors; {stiff} torsions of rings, double and peptide bonds "
            "stay as in the reference, and so does chirality>"
        )

    def train(self, evaluations: int, *, progress: bool = True) -> None:
        """Train with at most so many more force evaluations.

        Parameters
        ----------
        evaluations : int
            None are spent if it is not above zero.
        progress : bool
        """
        if whole_number(evaluations, "evaluations", -sys.maxsize) <= 0:
            return
        before, written = self.evaluations, time.monotonic()
        self._drawn = None
        try:
            with tqdm(total=evaluations, unit="eval", disable=_hidden(progress)) as bar:
                for step in self.method.training_steps(evaluations):
                    bar.set_description_str(step.stage, refresh=False)
                    if np.isfinite(step.effective_sample_size):
                        bar.set_postfix_str(f"ESS {step.effective_sample_size:.0%}", refresh=False)
                    bar.update(self.evaluations - before - bar.n)
                    if time.monotonic() - written > SECONDS:
                        self.save()
                        written = time.monotonic()
        except KeyboardInterrupt:
            self.interrupted = True
            warnings.warn(
                f"training was interrupted after {self.evaluations} force evaluations; what is "
                "trained is kept",
                stacklevel=2,
            )
        self.save()

    def save(self, path: str | Path | None = None) -> None:
        """Write a checkpoint, by default where the training writes its own, if anywhere."""
        path = self._checkpoint if path is None else Path(path)
        if path is None:
            return
        content = {
            "fingerprint": fingerprint(self.target, self._name),
            "reference": torch.as_tensor(self.target.reference),
            "evaluations": self.evaluations,
            "generator": self._generator.get_state(),
            "method": self.method.state_dict(),
        }
        write_checkpoint(path, content)

    def restore(self, stored: dict[str, Any]) -> None:
        """Go on from the content of a checkpoint; its evaluations count.

        Raises
        ------
        ValueError
            It is of another version of the method.
        """
        try:
            self.method.load_state_dict(stored["method"])
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"{self._checkpoint or 'the checkpoint'} is of another version of the method "
                f"{self._name!r}: name another file, or remove it ({error})"
            ) from error
        self._generator.set_state(stored["generator"])
        self.target.energy.evaluations = stored["evaluations"]

    def sample(
        self,
        count: int = SAMPLES,
        *,
        broad: bool = False,
        configurations: Any = None,
        progress: bool = True,
    ) -> WeightedEnsemble:
        """Draw independent structures with their weights.

        Parameters
        ----------
        count : int
            Each takes one force evaluation.
        broad : bool
            Draw more in rare basins and on barriers of the torsions: free energies there are
            better, the effective sample size is smaller. Of methods that know how.
        configurations : mdtraj.Trajectory, (m, N, 3) array or Quantity, optional
            Of the molecule at the same temperature, from dynamics: see `check`.
        progress : bool

        Returns
        -------
        WeightedEnsemble
            After Ctrl-C of the structures drawn until then.

        Warns
        -----
        UserWarning
            Averages over many structures could not be relied on, see `WeightedEnsemble.doubts`.
        """
        whole_number(count, "count", 1)
        if configurations is not None:  # refused before structures are drawn
            configurations = _as_positions(configurations, len(self.target.reference))
        draw = self.method.sample
        if broad:
            if not isinstance(self.method, BroadSamplingMethod):
                raise ValueError(f"method {self._name!r} cannot draw broadly: leave broad=True out")
            draw = self.method.sample_broadly
        bar = tqdm(total=count, unit="structure", desc="drawing", disable=_hidden(progress))
        x, log_q, energy = self._evaluated(draw, count, bar)
        target = self.target
        self._drawn = WeightedEnsemble(
            target.potential.topology,
            x,
            log_weights(energy, log_q, target.beta),
            energy,
            target.temperature,
            self.evaluations,
        )
        if self._drawn.doubts and len(self._drawn) >= JUDGED:
            drawn = self._drawn
            warnings.warn(
                f"averages and free energies of these {len(drawn)} structures cannot be relied on, "
                f"and neither can their errors (effective sample size "
                f"{drawn.effective_sample_size:.2%}, Pareto k {drawn.pareto_k:.2f}: "
                f"{drawn.doubts}). Train with more force evaluations; molecules of more than some "
                "fifty atoms or ten torsions that rotate may be out of reach",
                stacklevel=2,
            )
        if configurations is not None:
            checked = self._drawn.checked(self.check(configurations))
            self._drawn = dataclasses.replace(checked, evaluations=self.evaluations)
        return self._drawn

    def _evaluated(self, draw: Draw, count: int, bar: tqdm) -> tuple[np.ndarray, ...]:
        """Return positions, log densities and energies of structures: all, or up to Ctrl-C."""
        drawn: list[tuple[np.ndarray, ...]] = []
        try:
            with torch.no_grad(), bar:
                for first in range(0, count, CHUNK):
                    positions, log_density = draw(min(CHUNK, count - first), self._generator)
                    parts = positions.split(EVALUATED), log_density.split(EVALUATED)
                    for x, log_q in zip(*parts, strict=True):
                        energies, _ = self.target.energy(x)
                        drawn.append((x.numpy(), log_q.numpy(), energies.numpy()))
                        bar.update(len(x))
        except KeyboardInterrupt:
            if not drawn:
                raise
            self.interrupted = True
            done = sum(len(x) for x, *_ in drawn)
            warnings.warn(
                f"drawing was interrupted: {done} of {count} structures are kept", stacklevel=3
            )
        return tuple(map(np.concatenate, zip(*drawn, strict=True)))

    def check(self, configurations: Any) -> ForwardCheck:
        """Compare the sampler with configurations that it has not seen.

        Parameters
        ----------
        configurations : mdtraj.Trajectory, (m, N, 3) array or Quantity
            In nm, of the molecule in equilibrium at the sampler's temperature, in their order in
            time. Each takes one force evaluation.

        Returns
        -------
        ForwardCheck
        """
        positions = _as_positions(configurations, len(self.target.reference))
        energies, _ = self.target.energy(positions)
        if not np.isfinite(energies).all():
            raise ValueError("configurations have energies that are not finite: are they in nm?")
        with torch.no_grad():
            chunks = torch.from_numpy(positions).split(CHUNK)
            log_density = torch.cat([self.method.log_density(chunk) for chunk in chunks]).numpy()
        # Where the model has no density, the weight is infinite.
        return forward_check(
            self._ensemble().log_weights, -self.target.beta * energies - log_density
        )

    def free_energy(
        self, *measures: Measure, bins: int | Sequence[np.ndarray] | None = None
    ) -> FreeEnergySurface:
        """Return the free energy along one or two observables, from the latest structures drawn.

        Where none are, 20 000 are drawn, broadly if the method knows how.

        Parameters
        ----------
        *measures : str, callable or Observable
            Such as ``"phi", "psi"``; by default one or two free torsions.
        bins : int or sequence of arrays, optional
            See `free_energy_surface`.
        """
        return self._ensemble().free_energy(*measures or self._torsions(), bins=bins)

    def bias_force(self, *measures: Measure, ceiling: float = CEILING) -> mm.Force:
        """Return minus the free energy of torsions as an OpenMM force; see `bias.bias_force`."""
        return bias_force(self.free_energy(*measures), ceiling)

    def _ensemble(self) -> WeightedEnsemble:
        if self._drawn is None:
            broad = isinstance(self.method, BroadSamplingMethod)
            return self.sample(broad=broad, progress=False)
        return self._drawn

    def _torsions(self) -> list[Observable]:
        internal, topology = self.target.internal, self.target.potential.topology
        free = internal.zmatrix.torsions[internal.zmatrix.free]
        if not 0 < len(free) <= 2:
            raise ValueError(
                f'there are {len(free)} torsions that rotate: name one or two, such as "phi", "psi"'
            )
        return [observable(f"torsion {' '.join(map(str, atoms))}", topology) for atoms in free]


def _hidden(progress: bool) -> bool | None:
    """Return tqdm's ``disable``: None shows a bar on terminals only."""
    return None if progress else True


def _method_name(method: str | MethodFactory) -> str:
    if callable(method):
        return getattr(method, "__qualname__", type(method).__name__)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method is {method!r}: choose one of {', '.join(METHODS)}, or pass a function "
            "(target, torch.Generator) -> SamplingMethod"
        )
    return method


def _factory(method: str | MethodFactory) -> MethodFactory:
    if callable(method):
        return method
    module, _, name = METHODS[method].rpartition(".")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def _as_positions(configurations: Any, num_atoms: int) -> np.ndarray:
    """Return (m, N, 3) float64 positions in nm."""
    if isinstance(configurations, mdtraj.Trajectory):
        configurations = configurations.xyz
    if mm.unit.is_quantity(configurations):
        configurations = configurations.value_in_unit(mm.unit.nanometer)
    positions = np.array(configurations, dtype=np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (num_atoms, 3) or not len(positions):
        raise ValueError(
            f"configurations have shape {positions.shape}; they need (m, {num_atoms}, 3), in nm"
        )
    if len(positions) < BLOCKS or not np.isfinite(positions).all():
        raise ValueError(
            f"{len(positions)} configurations are too few, or not finite: pass {BLOCKS} or more"
        )
    return positions
