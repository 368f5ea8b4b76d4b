"""Plots of minimizations, slow modes and free energies; matplotlib's global backend stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["plot_free_energy", "plot_history", "plot_modes", "plot_search"]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
CURVE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REFERENCE_COLOUR = "#666666"
# Share of the energies, the highest, that may leave the top of the plot: starts clash.
CLIPPED_SHARE = 0.02
# Free energies above this (kJ/mol) have one colour: they are of a few structures.
HIGHEST = 40.0
# Ticks of torsions.
DEGREES = (-180, -90, 0, 90, 180)
# Residue names fit under the axis up to this many.
NAMED_RESIDUES = 60


def plot_history(results: Any, path: str | Path, *, title: str = "") -> None:
    """Plot energy and RMS force against force evaluations.

    Parameters
    ----------
    results : MinimizationResult, or sequence or dict of them
        The keys of a dict are the legend's labels. In place of a result its ``history`` does, a
        structured array with ``force_evaluations``, ``energy`` and ``rms_force``.
    path : str or Path
        Ending in .png, .pdf or .svg.
    title : str

    Raises
    ------
    ValueError
        No result is given.

    Examples
    --------
    >>> import tempfile
    >>> from openmm_reparam import minimize_reparam
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> result = minimize_reparam(peptide("GA").simulation("CPU"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_history(result, f"{folder}/energy.png")
    """
    labelled = _labelled(results, "plot_history")
    figure = Figure(figsize=(7.0, 6.0), dpi=150, layout="constrained")
    energy_axes, force_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    energies, starts = [], []
    for number, (label, result) in enumerate(labelled.items()):
        history = getattr(result, "history", result)
        evaluations, energy = history["force_evaluations"], history["energy"]
        # The first result is drawn over the others.
        style = {
            "color": CURVE_COLOURS[number % len(CURVE_COLOURS)],
            "zorder": 3 - number / len(labelled),
        }
        end = getattr(result, "energy", energy[-1] if len(energy) else None)
        energy_axes.plot(evaluations, energy, linewidth=1.4, label=_legend(label, end), **style)
        energy_axes.plot(evaluations[-1:], energy[-1:], "o", markersize=5, **style)
        force_axes.plot(evaluations, history["rms_force"], linewidth=0.8, **style)
        _mark_stages(force_axes, result, history)
        energies.append(energy)
        starts.append(getattr(result, "initial_energy", np.inf))
    _set_energy_range(energy_axes, np.concatenate(energies), min(starts))
    tolerances = {result.tolerance for result in labelled.values() if hasattr(result, "tolerance")}
    for tolerance in tolerances:
        force_axes.axhline(tolerance, color=REFERENCE_COLOUR, linewidth=1, linestyle="--")
        force_axes.annotate(
            f"tolerance {tolerance:g}",
            (0, tolerance),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            color=REFERENCE_COLOUR,
            fontsize=8,
        )
    force_axes.set_yscale("log")
    energy_axes.set_ylabel("energy (kJ/mol)")
    force_axes.set_ylabel("RMS force (kJ/mol/nm)")
    force_axes.set_xlabel("force evaluations")
    energy_axes.legend(frameon=False)
    _finish(figure, (energy_axes, force_axes), title, path)


def plot_search(results: Any, path: str | Path, *, title: str = "") -> None:
    """Plot the best energy of searches, and every distinct minimum, against force evaluations.

    Parameters
    ----------
    results : MinimizationResult, or sequence or dict of them
        Of ``minimize_reparam(..., search=...)``; the keys of a dict are the legend's labels.
    path : str or Path
        Ending in .png, .pdf or .svg.
    title : str

    Raises
    ------
    ValueError
        No result is given, or one that is not of a search.

    Examples
    --------
    >>> import tempfile
    >>> from openmm_reparam import minimize_reparam
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("GA").simulation("CPU")
    >>> result = minimize_reparam(simulation, search="auto", max_force_evaluations=600)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_search(result, f"{folder}/search.png")
    """
    labelled = _labelled(results, "plot_search")
    figure = Figure(figsize=(7.0, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    shown = []
    for number, (label, result) in enumerate(labelled.items()):
        if getattr(result, "minima", None) is None:
            which = repr(label) if label else "this"
            raise ValueError(f"{which} is not the result of a search: it has no minima")
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        found = [(m.force_evaluations, m.energy) for m in result.minima]
        axes.plot(*zip(*found, strict=True), ".", color=colour, alpha=0.4, markersize=4)
        # A search may begin in a minimum that nothing it goes through matches.
        energies = np.append(result.initial_energy, result.history["energy"])
        axes.step(
            np.append(1, result.history["force_evaluations"]),
            np.minimum.accumulate(energies),
            where="post",
            color=colour,
            label=_legend(label, result.energy),
        )
        high = float(np.quantile([energy for _, energy in found], 0.9))
        shown += [result.energy, high, result.minima[-1].energy]
        shown[-1] = min(shown[-1], 2 * shown[-2] - shown[-3])
    margin = 0.05 * (max(shown) - min(shown)) or 1.0
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_xlabel("force evaluations")
    axes.set_ylabel("energy (kJ/mol): best, and minima found")
    axes.legend(frameon=False)
    _finish(figure, (axes,), title, path)


def plot_modes(
    eigenvalues: np.ndarray,
    amplitudes: np.ndarray,
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    units: str = "kJ/mol/nm^2",
    title: str = "",
    shown: int = 3,
) -> None:
    """Plot an eigenvalue spectrum and where the slowest modes move.

    Parameters
    ----------
    eigenvalues : (k,) array
    amplitudes : (k, n) array
        RMS amplitude of each residue (or atom) in each mode.
    path : str or Path
        Ending in .png, .pdf or .svg.
    labels : sequence of str, optional
        Names of the n residues; numbers where there are many or none are given.
    units : str
        Of the eigenvalues.
    title : str
    shown : int
        How many of the slowest modes to draw over the residues.
    """
    figure = Figure(figsize=(7.0, 6.0), dpi=150, layout="constrained")
    spectrum, motion = figure.subplots(2, 1, height_ratios=(2, 3))
    numbers = np.arange(1, len(eigenvalues) + 1)
    spectrum.plot(numbers, eigenvalues, "o-", color=REFERENCE_COLOUR, markersize=4, linewidth=0.8)
    if (np.asarray(eigenvalues) > 0).all():
        spectrum.set_yscale("log")
    else:
        spectrum.axhline(0, color=REFERENCE_COLOUR, linewidth=0.8)
    places = np.arange(1, amplitudes.shape[1] + 1)
    for k in range(min(shown, len(eigenvalues), len(CURVE_COLOURS))):
        marker = "o" if len(places) <= NAMED_RESIDUES else ""
        motion.plot(
            places,
            amplitudes[k],
            marker=marker,
            markersize=3,
            linewidth=1.4,
            color=CURVE_COLOURS[k],
            label=f"mode {k + 1} ({eigenvalues[k]:.3g})",
        )
        spectrum.plot(numbers[k], eigenvalues[k], "o", color=CURVE_COLOURS[k], markersize=6)
    spectrum.xaxis.set_major_locator(MaxNLocator(integer=True))
    spectrum.set_xlabel("mode")
    spectrum.set_ylabel("eigenvalue\n" + units.replace("^2", "\N{SUPERSCRIPT TWO}"))
    if labels is not None and len(labels) <= NAMED_RESIDUES:
        size = 8 if len(labels) <= 40 else 6
        motion.set_xticks(places, labels, rotation=90 if len(labels) > 8 else 0, fontsize=size)
    else:
        motion.set_xlabel("residue")
    motion.set_ylabel("amplitude in a unit mode")
    motion.set_ylim(bottom=0)
    motion.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=shown)
    _finish(figure, (spectrum, motion), title, path)


def _labelled(results: Any, caller: str) -> dict[str, Any]:
    """Return results by the labels of a legend; a single one has an empty label.

    Raises
    ------
    ValueError
        There is none.
    TypeError
        Something is neither a result nor a history.
    """
    if isinstance(results, Mapping):
        labelled = dict(results)
    elif _has_history(results):
        labelled = {"": results}
    elif isinstance(results, Sequence) and not isinstance(results, str):
        labelled = {f"run {number}": result for number, result in enumerate(results, start=1)}
    else:
        labelled = {"": results}
    if not labelled:
        raise ValueError(f"{caller}() needs at least one result")
    for result in labelled.values():
        if not _has_history(result):
            raise TypeError(
                f"{caller}() got a {type(result).__name__}: pass a result of minimize_reparam(), "
                'a list of them, or a dict such as {"label": result}'
            )
    return labelled


def _has_history(result: Any) -> bool:
    """Tell a result, or its history, from a sequence of them."""
    history = getattr(result, "history", result)
    return isinstance(history, np.ndarray) and history.dtype.names is not None


def _legend(label: str, energy: float | None) -> str:
    """Return a label and the energy that was reached, whichever there are."""
    end = "" if energy is None else f"{energy:.1f} kJ/mol"
    return ": ".join(part for part in (label, end) if part)


def _set_energy_range(axes: Axes, energies: np.ndarray, start: float) -> None:
    """Show the start where it does not dwarf the rest, and cut off the highest energies."""
    energies = energies[np.isfinite(energies)]
    if not len(energies):
        return
    low, high = energies.min(), np.quantile(energies, 1 - CLIPPED_SHARE)
    if high < start < high + (high - low):
        high = start
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)


def _mark_stages(axes: Axes, result: Any, history: np.ndarray) -> None:
    """Say where one stage of a run gave way to the next."""
    stages = getattr(result, "stages", ())
    for number in range(1, len(stages)):
        rows = np.flatnonzero(history["stage"] == number)
        if not len(rows):
            continue
        where = history["force_evaluations"][rows[0]]
        axes.axvline(where, color=REFERENCE_COLOUR, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{stages[number].name} \N{RIGHTWARDS ARROW}",
            (where, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
            color=REFERENCE_COLOUR,
            fontsize=8,
        )


def plot_free_energy(surface: Any, path: str | Path, *, title: str = "") -> None:
    """Plot a free energy along one observable, with its errors, or along two, as a map.

    Parameters
    ----------
    surface : FreeEnergySurface
        Of ``ensemble.free_energy("phi", "psi")``, say. Torsions are shown in degrees.
    path : str or Path
        Ending in .png, .pdf or .svg.
    title : str

    Examples
    --------
    >>> import tempfile
    >>> from openmm_reparam.sampling.free_energy_profiles import free_energy_surface
    >>> from openmm_reparam.sampling.observables import Observable
    >>> torsion = Observable("phi", lambda x: x[:, 0, 0], (0, 1, 2, 3), periodic=True)
    >>> angles = np.random.default_rng(0).vonmises(0.0, 2.0, 5000)
    >>> surface = free_energy_surface([torsion], [angles], np.zeros(5000), 300.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_free_energy(surface, f"{folder}/profile.png")
    """
    figure = Figure(figsize=(5.6, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    edges, labels = zip(*map(_shown, surface.observables, surface.edges), strict=True)
    axes.set_xlabel(labels[0])
    if len(edges) == 1:
        middles = (edges[0][1:] + edges[0][:-1]) / 2
        axes.fill_between(
            middles,
            surface.values - surface.errors,
            surface.values + surface.errors,
            color=CURVE_COLOURS[0],
            alpha=0.25,
            linewidth=0,
        )
        axes.plot(middles, surface.values, color=CURVE_COLOURS[0], linewidth=1.4)
        axes.set_ylabel("free energy (kJ/mol)")
    else:
        shown = np.where(np.isfinite(surface.values), surface.values, np.nan)
        top = min(HIGHEST, np.nanmax(shown, initial=1.0))
        image = axes.pcolormesh(*edges, shown.T, cmap="viridis", vmin=0, vmax=top, rasterized=True)
        figure.colorbar(image, label="free energy (kJ/mol)")
        axes.set_ylabel(labels[1])
    if surface.observables[0].periodic:
        axes.set_xticks(DEGREES)
    if len(edges) == 2 and surface.observables[1].periodic:
        axes.set_yticks(DEGREES)
    _finish(figure, (axes,), title or f"{surface.temperature:g} K", path)


def _shown(observable: Any, edges: np.ndarray) -> tuple[np.ndarray, str]:
    """Return edges of bins as they are shown, and a label."""
    if observable.unit == "rad":
        return np.degrees(edges), f"{observable.name} (degrees)"
    unit = f" ({observable.unit})" if observable.unit else ""
    return edges, f"{observable.name}{unit}"


def _finish(figure: Figure, all_axes: Sequence[Axes], title: str, path: str | Path) -> None:
    for axes in all_axes:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        all_axes[0].set_title(title, loc="left")
    figure.savefig(path)
