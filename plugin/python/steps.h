#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>
#include <vector>

#include "MoleculeFrames.h"
#include "arrays.h"

namespace openmm_reparam {

/// An evaluated point of Python's, and the chart of its coordinates.
struct PythonPoint {
    nanobind::object point, chart;
    Numbers<double> positions, forces;
};

inline Numbers<double> numbersOf(const nanobind::handle& array) {
    return nanobind::cast<Numbers<double>>(array);
}

/// A pointer to a Python object's numbers, which keeps that alive; the last one may go without the lock.
template <class T> std::shared_ptr<const T> shared(T&& owned) {
    return std::shared_ptr<const T>(new T(std::move(owned)), [](const T* object) {
        nanobind::gil_scoped_acquire lock;
        delete object;
    });
}

/// The numbers of an array, as the forces of a place.
std::shared_ptr<const double> sharedNumbers(const Numbers<double>& array);

/// What the steps of a descent are, see `optimizers.coordinates.Coordinates`; all is called with the lock held.
class Steps {
  public:
    virtual ~Steps() = default;

    /// The chart at a point where a descent begins.
    virtual nanobind::object begin(const nanobind::object& point) const = 0;
    /// Notes of a point what vectors there have as their shape.
    virtual void learnShape(const PythonPoint& point) = 0;
    /// Numbers of a vector; 0 before its shape is known.
    virtual size_t size() const = 0;
    /// Positions, and the chart, where a step leads.
    virtual std::pair<nanobind::object, nanobind::object> moved(const PythonPoint& from, const double* step) const = 0;
    /// Turns the step asked for into the one that was taken.
    virtual void taken(const PythonPoint& before, const PythonPoint& after, double* step) const = 0;
    virtual std::shared_ptr<const double> forces(const PythonPoint& point) const = 0;
    /// Multiplies a vector with P^-1, or projects a step, in place.
    virtual void solve(const nanobind::object& metric, const PythonPoint& chart, double* vector) const = 0;
    virtual void project(const nanobind::object& projection, const PythonPoint& place, double* step) const = 0;
    virtual double longest(const PythonPoint& place, const double* step) const = 0;
    virtual double longestWithin(const PythonPoint& place, const double* step) const = 0;
};

/// Displacements of the atoms for None, those of this core for its `TorsionCoordinates`, any of Python's else.
std::unique_ptr<Steps> stepsOf(nanobind::object coordinates, std::vector<int64_t>&& molecules,
                               MoleculeFrames&& turning);

} // namespace openmm_reparam
