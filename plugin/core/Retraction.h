#pragma once

#include <vector>

#include "Constraints.h"

namespace OpenMM {
class Context;
}

namespace openmm_reparam {

/// Positions near others, and how far they are from satisfying the constraints.
struct Retracted {
    std::vector<double> positions;
    double error; ///< the largest relative one
    size_t worst; ///< the constraint it belongs to
};

/// Satisfies constraints up to a relative tolerance by OpenMM's own solver, by Newton's method where that gives up.
Retracted retract(OpenMM::Context& context, Constraints& constraints, const double* positions, double tolerance,
                  bool virtualSites);

} // namespace openmm_reparam
