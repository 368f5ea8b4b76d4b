#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace openmm_reparam {

/// Unordered pairs of particles, looked up by either.
class PairSet {
  public:
    /// `pairs` holds 2 x count particles below `size`.
    PairSet(const int64_t* pairs, size_t count, size_t size);

    bool contains(int64_t i, int64_t j) const {
        return find(i, j) >= 0;
    }

    /// Place of a pair among those given, -1 where it is none of them.
    int64_t find(int64_t i, int64_t j) const;

  private:
    std::vector<size_t> starts;
    std::vector<int64_t> larger, places;
};

/// i < j, and x_i - x_j.
using PairVisitor = std::function<void(int64_t, int64_t, const double*)>;

/// Visits pairs nearer than a cutoff, each periodic image of a pair by itself, in an order that is always the same.
///
/// `positions` holds 3 x size coordinates; `box` three vectors in OpenMM's reduced form, row by row, or is null.
/// Throws std::invalid_argument where a position is not finite.
void forNearPairs(const double* positions, size_t size, double cutoff, const double* box, const PairVisitor& visit);

} // namespace openmm_reparam
