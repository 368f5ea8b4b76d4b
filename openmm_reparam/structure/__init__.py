"""Chemistry of a structure: stereochemistry, violations, distances to another."""

from .measures import collapsed_hydrogens, rmsd
from .stereochemistry import Stereochemistry, chirality, peptide_bonds, stereo_changes

__all__ = [
    "Stereochemistry",
    "chirality",
    "collapsed_hydrogens",
    "peptide_bonds",
    "rmsd",
    "stereo_changes",
]
