#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace openmm_reparam {

/// Distances that are held between pairs of particles: tangent projection, and the way back to them.
///
/// With J the gradients of the constraints, (J J^T) lambda = right is solved for each group of constraints that share
/// particles. Groups up to `LARGEST_BLOCK` are dense, larger ones sparse. Redundant constraints make J J^T singular:
/// it is inverted with `REGULARIZATION` added, and the solution refined (proximal point iterations).
class Constraints {
  public:
    static constexpr size_t LARGEST_BLOCK = 24;
    static constexpr double REGULARIZATION = 1e-7;
    /// An inverse with entries beyond this is taken for that of a singular matrix.
    static constexpr double LARGEST_INVERSE = 1e6;
    static constexpr int REFINEMENTS = 2;

    /// `pairs` holds 2 x count particles below `size`, `lengths` in nm.
    Constraints(const int64_t* pairs, const double* lengths, size_t count, size_t size);
    ~Constraints();
    Constraints(Constraints&&) noexcept;

    /// Relative errors of all constraints; infinite where they are not numbers.
    void errors(const double* positions, double* errors) const;

    /// Takes from vectors what changes a constraint at the positions, to first order.
    void project(const double* positions, double* vectors);

    /// One step of Newton's along the constraints' gradients towards their lengths.
    void approach(double* positions);

    size_t count() const {
        return lengths.size();
    }
    size_t size() const {
        return numParticles;
    }

  private:
    struct Large;

    void factorize(const double* positions);
    /// Solves group by group, where `right` tells the right side of a constraint, and subtracts lambda times the
    /// gradients from the vectors.
    template <class Right> void solveAndSubtract(const Right& right, double* vectors) const;
    /// Solves for the constraints that are factorized together.
    void solveLarge(const double* right, double* solution) const;

    size_t numParticles;
    // By groups: first those that are dense.
    std::vector<int64_t> pairs;
    std::vector<double> lengths;
    std::vector<size_t> places;      ///< of each constraint among those given
    std::vector<size_t> groups;      ///< where the dense ones begin, and where the last ends
    std::vector<size_t> inverseAt;   ///< of each dense group
    std::vector<double> inverses;
    std::vector<double> directions, distances;
    std::vector<double> factorizedAt;
    std::unique_ptr<Large> large;
};

} // namespace openmm_reparam
