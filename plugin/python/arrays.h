#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "SystemReader.h"

namespace openmm_reparam {

template <class T> using Array = nanobind::ndarray<nanobind::numpy, T>;

/// Numbers of a caller's, in a row.
template <class T>
using Numbers = nanobind::ndarray<const T, nanobind::c_contig, nanobind::device::cpu>;

template <class T> std::vector<T> vectorOf(const Numbers<T>& numbers) {
    return std::vector<T>(numbers.data(), numbers.data() + numbers.size());
}

/// Vectors of a box, or null.
inline const double* vectorsOf(const std::optional<Numbers<double>>& box) {
    if (!box)
        return nullptr;
    if (box->size() != 9)
        throw std::invalid_argument("a box has three vectors");
    return box->data();
}

/// Throws where an array has another number of values than it should.
template <class Array> void requireSize(const Array& array, size_t size, const char* name) {
    if (array.size() != size)
        throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.size()) + " values and not " +
                                    std::to_string(size));
}

/// Makes a numpy array that owns the numbers.
template <class T> Array<T> arrayOf(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nanobind::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return Array<T>(owned->data(), shape, owner);
}

template <class T> Array<T> arrayOf(Table<T>&& table) {
    const size_t rows = table.columns == 0 ? 0 : table.values.size() / table.columns;
    return arrayOf(std::move(table.values), {rows, table.columns});
}

} // namespace openmm_reparam
