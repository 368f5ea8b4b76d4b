"""A trained network in a file: its weights, its size, and what it was trained on."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from openmm import app

from ...version import __version__
from .network import NetworkSettings, PaiNN

__all__ = ["TrainedOn", "load_model", "reference_energies", "save_model"]

FORMAT = "openmm-reparam GOLF model"
VERSION = 1


@dataclass(frozen=True)
class TrainedOn:
    """What a network was trained on.

    Attributes
    ----------
    genuine : str
        The oracle that it stands in for.
    surrogate : str
        The oracle that it is added to: "mmff", "gfnff", ...; empty where it predicts the whole
        energy.
    elements : tuple of int
        Atomic numbers.
    charges : tuple of int
        Total charges of molecules.
    references : dict of int to float
        Energies of atoms in kJ/mol, by atomic number, that the network's come on top of.
    molecules, labels : int
        Different molecules, and genuine evaluations.
    force_error : float or None
        RMS error of a force on molecules that it was not trained on, in kJ/mol/nm, if measured:
        sqrt(sum |dF|^2 / N).
    version : str
        Of this package.
    """

    genuine: str
    surrogate: str
    elements: tuple[int, ...]
    charges: tuple[int, ...]
    references: Mapping[int, float] = field(default_factory=dict)
    molecules: int = 0
    labels: int = 0
    force_error: float | None = None
    version: str = __version__

    def outside(self, numbers: np.ndarray, charge: int) -> list[str]:
        """Return in words what of a molecule was not in the training, (N,) numbers and charge.

        Examples
        --------
        >>> trained = TrainedOn("gfn2", "mmff", elements=(1, 6, 8), charges=(0,))
        >>> trained.outside(np.array([6, 16, 1]), -1)
        ['not trained on S', 'not trained on total charge -1']
        """
        foreign = sorted(set(np.asarray(numbers).tolist()) - set(self.elements))
        symbols = ", ".join(app.Element.getByAtomicNumber(n).symbol for n in foreign)
        found = [f"not trained on {symbols}"] if foreign else []
        if charge not in self.charges:
            found.append(f"not trained on total charge {charge:+d}")
        return found

    def reference_energy(self, numbers: np.ndarray) -> float:
        """Return the sum of the atoms' reference energies in kJ/mol; of an unknown element zero."""
        return float(sum(self.references.get(n, 0.0) for n in np.asarray(numbers).tolist()))


def reference_energies(
    numbers: Sequence[np.ndarray], energies: Sequence[float] | np.ndarray
) -> dict[int, float]:
    """Return energies of atoms that add up to those of molecules, by least squares.

    Parameters
    ----------
    numbers : sequence of (N,) int arrays
        Atomic numbers.
    energies : sequence of float
        In kJ/mol.

    Returns
    -------
    dict of int to float
        By atomic number; the smallest ones where several would do.

    Examples
    --------
    >>> found = reference_energies([np.array([8, 1, 1]), np.array([1, 1])], [-12.0, -2.0])
    >>> {number: round(energy, 6) for number, energy in found.items()}
    {1: -1.0, 8: -10.0}
    """
    elements = np.unique(np.concatenate(list(numbers)))
    counts = np.array([[(n == e).sum() for e in elements] for n in numbers], dtype=float)
    solved = np.linalg.lstsq(counts, np.asarray(energies, dtype=float), rcond=None)[0]
    return {int(element): float(energy) for element, energy in zip(elements, solved, strict=True)}


def save_model(path: str | Path, network: PaiNN, trained_on: TrainedOn) -> None:
    """Write a network to a file, which is whole or as it was before.

    Parameters
    ----------
    path : str or Path
        Its folder is made.
    network : PaiNN
    trained_on : TrainedOn

    Raises
    ------
    OSError
        It cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "format_version": VERSION,
        "settings": asdict(network.settings),
        "trained_on": {**asdict(trained_on), "references": dict(trained_on.references)},
        "weights": {name: tensor.cpu() for name, tensor in network.state_dict().items()},
    }
    partial = path.with_name(f"{path.name}.part")
    stream = io.BytesIO()  # torch's errors of a full disk do not say so
    torch.save(content, stream)
    partial.write_bytes(stream.getbuffer())
    os.replace(partial, path)


def load_model(path: str | Path) -> tuple[PaiNN, TrainedOn]:
    """Return the network of a file, on the CPU, and what it was trained on.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is another kind of file, or of a later version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no model {path}")
    content = _content(path)
    if content.get("format_version") != VERSION:
        raise ValueError(
            f"{path} has format {content.get('format_version')}, and this version reads {VERSION}: "
            "update openmm-reparam"
        )
    try:
        network = PaiNN(NetworkSettings(**content["settings"]))
        dtype = content["weights"]["scale"].dtype
        network.to(dtype).load_state_dict(content["weights"])
        facts = content["trained_on"]
        for name in ("elements", "charges"):
            facts[name] = tuple(facts[name])
        return network.requires_grad_(False), TrainedOn(**facts)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _content(path: str | Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises kinds of its own
        # torch's message advises to load what is not trusted.
        raise ValueError(f"{path} cannot be read as a model: it is damaged, or none") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no model of `openmm-reparam golf train`")
    return content
