#pragma once

#include <vector>

#include "MoleculeStiffness.h"
#include "TorsionMotions.h"

namespace openmm_reparam {

/// The stiffness M^T K M of torsions, and its inverse: K is one of the atoms, M their motions by torsions.
class TorsionMetric {
  public:
    /// Stiffness that all motions by torsions have at least, kJ/mol/nm^2 of each atom's.
    static constexpr double MIN_STIFFNESS = 1e3;
    /// Share of the largest stiffness that is added to that of every torsion: one that moves no atom must not rotate
    /// without end.
    static constexpr double RELATIVE_RIDGE = 1e-6;

    explicit TorsionMetric(TorsionMotions motions);

    /// Whether a positive definite metric was found at the positions; if not, the factors before stay in use.
    bool update(const double* positions, const MoleculeStiffness::Blocks& blocks);

    /// Makes torsions stiffer tenfold, until the next update; whether there is still such a metric.
    bool raiseShift();

    /// Multiplies T torques with the inverse, in place; there must have been an update.
    void solve(double* torques) const;

    bool isFactorized() const {
        return !factor.empty();
    }
    size_t count() const {
        return motions.count();
    }
    size_t numAtoms() const {
        return motions.numAtoms();
    }
    /// M^T K M of the last update, (T, T) in kJ/mol/radian^2.
    const std::vector<double>& stiffness() const {
        return torsionStiffness;
    }

  private:
    void updateStiffness(const std::vector<double>& axes, const std::vector<double>& x,
                         const MoleculeStiffness::Blocks& blocks);
    void updateInertia(const std::vector<double>& axes, const std::vector<double>& x);
    bool factorize();

    TorsionMotions motions;
    std::vector<double> torsionStiffness, inertia;
    std::vector<double> factor; ///< lower triangle of the Cholesky factor, column by column
    double shift = MIN_STIFFNESS;
};

} // namespace openmm_reparam
