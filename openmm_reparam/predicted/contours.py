"""Which backbone and side-chain conformations are common: contours of the Top8000 structures.

The data are of the Richardson laboratory, see ``data/README.md`` for their licence and origin.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np

__all__ = ["FAVOURED", "OUTLIER", "ramachandran_state", "rotamer_is_common"]

OUTLIER, FAVOURED = 0, 2


@cache
def _tables() -> dict[str, np.ndarray]:
    path = files(__package__) / "data" / "top8000.npz"
    with path.open("rb") as file, np.load(file) as tables:
        return dict(tables)


def ramachandran_state(kind: str, phi: float, psi: float) -> int:
    """Return how common a backbone conformation is.

    Parameters
    ----------
    kind : str
        "general", "glycine", "ile_val", "before_proline", "trans_proline" or "cis_proline".
    phi, psi : float
        In degrees.

    Returns
    -------
    int
        `OUTLIER` (0), 1 (allowed) or `FAVOURED` (2); the nearest bin of 2 degrees counts.

    Examples
    --------
    >>> ramachandran_state("general", -60.0, -45.0), ramachandran_state("general", 60.0, -90.0)
    (2, 0)
    """
    table = _tables()[f"ramachandran/{kind}"]
    bins = [int((angle + 180.0) // 2.0) % 180 for angle in (phi, psi)]
    return int(table[bins[0], bins[1]])


def rotamer_is_common(residue: str, chis: list[float]) -> bool | None:
    """Return whether a side chain's conformation is not an outlier.

    Parameters
    ----------
    residue : str
        Three-letter name.
    chis : list of float
        Torsions of the side chain from chi1, in degrees; more than are judged may be given.

    Returns
    -------
    bool or None
        None where it cannot be told: glycine, alanine, arginine and lysine, missing atoms.

    Examples
    --------
    >>> rotamer_is_common("VAL", [175.0]), rotamer_is_common("VAL", [120.0])
    (True, False)
    """
    table, periods = (_tables().get(f"{kind}/{residue}") for kind in ("rotamer", "period"))
    if table is None or periods is None or len(chis) < table.ndim:
        return None
    bins = tuple(
        int(chi % period / period * size) % size
        for chi, period, size in zip(chis, periods, table.shape, strict=False)
    )
    return bool(table[bins])
