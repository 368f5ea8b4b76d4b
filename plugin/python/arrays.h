#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

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
