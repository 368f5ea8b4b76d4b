#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace openmm_reparam {

/// Inverses of many small positive definite matrices of one size.
class SmallInverses {
  public:
    /// Inverts each of `count` (width x width) matrices + shift I; nothing if one is not positive definite.
    static std::optional<SmallInverses> invert(const double* matrices, size_t count, size_t width, double shift);

    /// Multiplies the inverse of one matrix with `width` numbers.
    void solve(size_t matrix, const double* vector, double* solution) const;

    size_t size() const {
        return count * width;
    }

  private:
    size_t count, width;
    std::vector<double> inverses; ///< lower triangles, row by row
};

} // namespace openmm_reparam
