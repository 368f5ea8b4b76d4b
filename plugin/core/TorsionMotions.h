#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace openmm_reparam {

/// Rotatable bonds, and which atoms each of them moves.
struct TorsionTree {
    std::vector<int64_t> axes;      ///< atoms of each bond, the fixed one first
    std::vector<int64_t> parents;   ///< the last torsion, of lower index, that moves each axis; -1 where none does
    std::vector<int64_t> order;     ///< atoms, so that those that a torsion moves are consecutive
    std::vector<int64_t> ranges;    ///< first and last (exclusive) place of each torsion's atoms in `order`
    std::vector<int64_t> innermost; ///< the last torsion that moves each atom; -1 where none does
};

/// Positions and velocities of atoms as functions of torsion angles, in nm and radians.
///
/// Angles and torques are numbers of all T torsions, positions, displacements and forces 3 of each of the N atoms.
class TorsionMotions {
  public:
    /// Throws `std::invalid_argument` where the tree has torsions or atoms that do not exist.
    explicit TorsionMotions(TorsionTree tree);

    size_t count() const {
        return tree.parents.size();
    }
    size_t numAtoms() const {
        return tree.innermost.size();
    }

    /// The last torsion, of lower index, that moves a torsion's axis; -1 where none does.
    int64_t parent(size_t torsion) const {
        return tree.parents[torsion];
    }
    /// The last torsion that moves an atom; -1 where none does.
    int64_t innermost(size_t atom) const {
        return tree.innermost[atom];
    }

    /// The axes at some positions: of each torsion its unit vector a, and o x a, of where the axis ends, o.
    std::vector<double> axes(const double* positions) const;

    /// Displacements by rotations of all torsions, to first order.
    void firstOrder(const double* positions, const double* angles, double* displacements) const;

    /// Torques of forces on all atoms.
    void torques(const double* positions, const double* forces, double* torques) const;

    /// Positions after a rotation of all torsions, and, unless null, how the surroundings of each atom have rotated: 9
    /// numbers an atom.
    void rotate(const double* positions, const double* angles, double* rotated, double* frames) const;

    /// Calls `found(atom, derivative)` with 3 numbers for each atom that a torsion moves.
    template <class Found>
    void forMoved(const std::vector<double>& axes, const double* positions, size_t torsion, const Found& found) const {
        const double *a = &axes[6 * torsion], *shift = a + 3;
        for (int64_t place = tree.ranges[2 * torsion]; place < tree.ranges[2 * torsion + 1]; place++) {
            const double* x = positions + 3 * tree.order[place];
            const double moved[3] = {a[1] * x[2] - a[2] * x[1] + shift[0], a[2] * x[0] - a[0] * x[2] + shift[1],
                                     a[0] * x[1] - a[1] * x[0] + shift[2]};
            found(tree.order[place], moved);
        }
    }

  private:
    TorsionTree tree;
};

} // namespace openmm_reparam
