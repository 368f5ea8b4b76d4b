"""Chemistry of a structure: stereochemistry, violations, distances to another."""

from .deprecated_names import chirality, peptide_bonds, stereo_changes
from .measures import collapsed_hydrogens, radius_of_gyration, rmsd
from .stereochemistry import Stereochemistry

__all__ = [
    "Stereochemistry",
    "chirality",
    "collapsed_hydrogens",
    "peptide_bonds",
    "radius_of_gyration",
    "rmsd",
    "stereo_changes",
]
