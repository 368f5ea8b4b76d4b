"""Writes pages of results: one HTML file each that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .data import FolderRow, ReportData

__all__ = ["write_folder_report", "write_report"]


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page of one structure.

    Parameters
    ----------
    path : str or Path
        Replaced in one step if it exists.
    data : ReportData

    Raises
    ------
    FileNotFoundError
        Its folder does not exist.
    """
    raise NotImplementedError


def write_folder_report(
    path: str | Path,
    rows: Iterable[FolderRow],
    *,
    title: str,
    facts: Mapping[str, Any] | None = None,
    histograms: tuple[str, ...] = ("seconds", "violations after"),
    notes: tuple[str, ...] = (),
) -> None:
    """Write the page of many structures: a row each, summary numbers and histograms.

    Parameters
    ----------
    path : str or Path
        Replaced in one step if it exists.
    rows : iterable of FolderRow
    title : str
        The folder's name.
    facts : dict of str to object, optional
        The head of the page, see `ReportData.facts`.
    histograms : tuple of str
        Headings of the columns to draw; those that no row has are left out.
    notes : tuple of str

    Raises
    ------
    FileNotFoundError
        Its folder does not exist.
    """
    raise NotImplementedError
