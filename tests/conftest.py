"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pdb_folder() -> Path:
    """Return the folder of Protein Data Bank entries, or skip where it is missing."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "pdb"
    folder = Path(os.environ.get("OPENMM_REPARAM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no PDB files: {folder} is missing (set OPENMM_REPARAM_DATA to their folder)")
    return folder
