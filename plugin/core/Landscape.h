#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>

namespace openmm_reparam {

/// An energy, a force or a position is not finite: as a trial, a step too long.
class NonFinite : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// No step along any direction tried lowers the energy: rounding has been reached.
class LineSearchError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A configuration that has been evaluated, as a landscape knows it.
struct Place {
    double energy = 0;                   ///< kJ/mol
    std::shared_ptr<const void> point;   ///< what the landscape made of it
    std::shared_ptr<const double> forces; ///< along the coordinates; null until they are asked for
};

/// What a descent descends on: an energy in coordinates of some kind, and an initial inverse Hessian.
///
/// Vectors, steps and forces, are numbers along whatever coordinates; `chart` is the place at which the
/// metric was updated last. No method changes anything but the metric.
class Landscape {
  public:
    virtual ~Landscape() = default;

    /// The place that a step leads to. Throws `NonFinite` where that has no energy.
    virtual Place moved(const Place& from, const double* step) = 0;

    /// Minus the derivatives of the energy by steps from a place.
    virtual std::shared_ptr<const double> forces(const Place& place) = 0;

    /// Turns the step asked for into the one that was taken: constraints are retracted.
    virtual void stepTaken(const Place& before, const Place& after, double* step) = 0;

    /// Whether a step that lowers the energy, and promised such a fall, leads where none should.
    virtual bool refuses(const Place& before, const Place& after, double promised) = 0;

    /// The rounding error of an energy.
    virtual double noise(double energy) = 0;

    /// Takes from a step what violates constraints, to first order.
    virtual void project(const Place& place, double* step) = 0;

    /// How far a step moves any atom, and any atom relative to its molecule, in nm.
    virtual double longest(const Place& place, const double* step) = 0;
    virtual double longestWithin(const Place& place, const double* step) = 0;

    virtual bool hasMetric() const = 0;
    /// Whether the metric holds all that is stiff: what it finds far too stiff then is a clash.
    virtual bool metricIsComplete() const = 0;
    /// Whether the metric could be updated; if not, the one before stays in use.
    virtual bool updateMetric(const Place& place) = 0;
    /// Makes the metric stiffer along soft directions, until the next update.
    virtual void raiseShift() = 0;
    /// Multiplies with the initial inverse Hessian; does nothing without a metric.
    virtual void solve(const Place& chart, double* vector) = 0;
};

} // namespace openmm_reparam
