#pragma once

#include <utility>
#include <vector>

#include "TorsionMotions.h"

namespace openmm_reparam {

/// Coordinates of a descent: angles of all torsions, and displacements of all atoms.
///
/// Vectors have T + 3N numbers: T angles, then displacements, each along axes that rotate with the atom's surroundings.
/// Those axes are the frames, 9 numbers an atom: how the surroundings have rotated since the start.
class TorsionCoordinates {
  public:
    explicit TorsionCoordinates(TorsionMotions motions) : motions(std::move(motions)) {}

    size_t numTorsions() const {
        return motions.count();
    }
    size_t numAtoms() const {
        return motions.numAtoms();
    }
    size_t size() const {
        return numTorsions() + 3 * numAtoms();
    }

    /// Positions, and frames, after a step from others.
    void moved(const double* frames, const double* positions, const double* step, double* newPositions,
               double* newFrames) const;

    /// Torques on torsions, and forces on atoms along the axes of their surroundings.
    void forces(const double* frames, const double* positions, const double* forces, double* found) const;

    /// Turns a vector's displacements, in place: from axes of the surroundings to those of space, and back.
    void intoSpace(const double* frames, double* vector) const;
    void outOfSpace(const double* frames, double* vector) const;

    /// How far a step moves any atom, to first order.
    double longest(const double* frames, const double* positions, const double* step) const;

  private:
    TorsionMotions motions;
};

} // namespace openmm_reparam
