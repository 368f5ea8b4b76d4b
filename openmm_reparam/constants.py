"""Constants and units of other programs in OpenMM's units: nm and kJ/mol."""

from __future__ import annotations

from scipy.constants import N_A, R, calorie, kilo, nano, physical_constants

__all__ = ["ANGSTROM", "BOHR", "BOLTZMANN", "HARTREE", "KCAL"]

HARTREE = physical_constants["Hartree energy"][0] * N_A / kilo  # kJ/mol
BOHR = physical_constants["Bohr radius"][0] / nano  # nm
ANGSTROM = 0.1  # nm
KCAL = calorie  # kJ
BOLTZMANN = R / kilo  # kJ/mol/K
