#pragma once

#include <optional>
#include <string>
#include <vector>

#include "Landscape.h"

namespace openmm_reparam {

/// Where a line search goes: a step of length 1, and the derivative of the energy by the length.
struct Direction {
    std::vector<double> vector;
    double slope;
};

/// A step tried: `length` times the direction.
struct Trial {
    double length;
    std::vector<double> step;
    Place place;
};

struct LineSearchResult {
    std::optional<Trial> trial; ///< the step to take, if there is one
    bool refused = false;       ///< whether a step that lowers the energy was
    std::string failed;         ///< why the last energy that could not be used was not finite

    /// Why no step is left.
    std::string why() const;
};

/// Backtracks along a direction until the energy has fallen enough.
///
/// The first trial has the given length. Up to `noise` (kJ/mol) the slope decides (Hager and Zhang's approximate Wolfe
/// condition). Where `content`, the lowest point will do that lies lower at all: at a singular geometry (a torsion of
/// atoms in line) the slope promises what no step can keep.
LineSearchResult searchAlong(Landscape& landscape, const Place& from, const Direction& way, double length,
                             double noise, bool content);

} // namespace openmm_reparam
