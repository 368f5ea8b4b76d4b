#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace openmm_reparam {

/// The largest length of `size` vectors of 3 numbers.
double longestVector(const double* vectors, size_t size);

/// Those relative to the mean of their molecule, whose labels count from 0; all are of one where there are none.
double longestWithinMolecules(const double* vectors, size_t size, const std::vector<int64_t>& molecules);

/// The largest absolute value of `size` numbers; infinite where one is not finite.
double largestNumber(const double* numbers, size_t size);

} // namespace openmm_reparam
