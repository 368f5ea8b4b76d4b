#pragma once

#include <cstddef>
#include <vector>

namespace openmm_reparam {

/// A step s, the fall y of the forces along it, and s.y: `size` numbers each, in single or double precision.
template <class T> struct CurvaturePair {
    const T* step;
    const T* change;
    double curvature;
};

double dot(const double* a, const double* b, size_t size);

/// The first half of L-BFGS's recursion, in place of the vector; returns the pairs' weights. The newest pair is last.
template <class T>
std::vector<double> towardsOldest(double* vector, size_t size, const std::vector<CurvaturePair<T>>& pairs);

/// The second half, from the oldest pair to the newest.
template <class T>
void towardsNewest(double* vector, size_t size, const std::vector<CurvaturePair<T>>& pairs,
                   const std::vector<double>& weights);

} // namespace openmm_reparam
