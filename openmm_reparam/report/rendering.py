"""Renders a template into one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import openmm as mm
from markupsafe import Markup

from ..version import __version__

__all__ = ["VIEWER_SCRIPT", "write_page"]

ASSETS = resources.files(__package__) / "assets"
VIEWER_SCRIPT, VIEWER_VERSION = "3Dmol-min.js", "2.5.5"


def write_page(
    path: Path,
    template: str,
    scripts: tuple[str, ...],
    data: dict[str, Any],
    facts: Mapping[str, Any],
    **values: Any,
) -> None:
    """Render a template, and put the page into its place in one step.

    Parameters
    ----------
    path : Path
    template : str
    scripts : tuple of str
        Files of ``assets``, in this order.
    data : dict
        What the scripts are given, as plain Python values.
    facts : dict of str to object
        What was done how; empty values are left out.
    **values
        What the template is given beside these.

    Raises
    ------
    FileNotFoundError
        The folder of the path does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent} to write the report {path.name} to: make it first"
        )
    texts = _scripts(scripts)
    page = (
        _environment()
        .get_template(template)
        .render(
            data=data,
            facts={name: value for name, value in facts.items() if value not in (None, "")},
            date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            versions={
                "openmm-reparam": __version__,
                "OpenMM": mm.__version__,
                "Python": platform.python_version(),
            },
            viewer_version=VIEWER_VERSION,
            style=Markup(_asset("style.css")),
            scripts=[Markup(text) for text in texts],
            # Only these scripts run, and nothing is asked from the network.
            hashes=Markup(" ".join(f"'sha256-{_sha256(text)}'" for text in texts)),
            **values,
        )
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # File names need not be valid Unicode.
        partial.write_bytes(page.encode("utf-8", "backslashreplace"))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _scripts(names: tuple[str, ...]) -> list[str]:
    """Return 3Dmol.js, if it is among them, and all of our own as one script in strict mode."""
    others = [_asset(name) for name in names if name == VIEWER_SCRIPT]
    own = [_asset(name) for name in names if name != VIEWER_SCRIPT]
    return [*others, "\n".join(['"use strict";', *own])]


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=_formatted, leading=_leading_number)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _formatted(value: Any) -> str:
    """Return a number with the digits that a reader needs, anything else as it is."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, (float, np.floating)):
        size = abs(value)
        if size >= 1e7 or 0 < size < 1e-3:
            return f"{value:.2e}"
        return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"
    return str(value)


def _leading_number(text: str) -> str:
    """Return what a text such as ``"0.142 nm"`` is sorted by."""
    first = text.split(" ")[0]
    return first if first.replace(".", "").replace("-", "").isdigit() else text
