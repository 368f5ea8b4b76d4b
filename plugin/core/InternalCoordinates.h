#pragma once

namespace openmm_reparam {

// Bond lengths, angles, dihedrals and their gradients (the rows of Wilson's B matrix), bounded wherever none exists:
// near 0 and pi, in straight chains, and where atoms coincide (Wilson, Decius, Cross, "Molecular Vibrations",
// McGraw-Hill 1955). The gradients have 3 numbers for each atom.

/// Of x_i - x_j.
double distance(const double* ij, double* gradient);

/// Of x_i - x_j and x_k - x_j, in radians.
double angle(const double* ij, const double* kj, double* gradient);

/// Of x_i - x_j, x_k - x_j and x_k - x_l, in radians with the IUPAC sign (Blondel, Karplus, J. Comput. Chem. 1996, 17,
/// 1132).
double dihedral(const double* ij, const double* kj, const double* kl, double* gradient);

} // namespace openmm_reparam
