"""Molecules to sample."""

import pytest

from openmm_reparam.prepare.peptides import peptide


@pytest.fixture(scope="session")
def dipeptide():
    """ACE-ALA-NME in ff96 and OBC2, nothing constrained."""
    return peptide("A", capped=True, forcefield="amber96.xml", solvent="obc2", constraints=None)
