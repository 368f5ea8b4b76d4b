#pragma once

#include <cstddef>
#include <vector>

namespace openmm_reparam {

/// A step s, the fall y of the forces along it, and s.y: `size` numbers each.
struct CurvaturePair {
    const double* step;
    const double* change;
    double curvature;
};

double dot(const double* a, const double* b, size_t size);

/// The first half of L-BFGS's recursion, in place of the vector; returns the pairs' weights. The newest pair is last.
std::vector<double> towardsOldest(double* vector, size_t size, const std::vector<CurvaturePair>& pairs);

/// The second half, from the oldest pair to the newest.
void towardsNewest(double* vector, size_t size, const std::vector<CurvaturePair>& pairs,
                   const std::vector<double>& weights);

} // namespace openmm_reparam
