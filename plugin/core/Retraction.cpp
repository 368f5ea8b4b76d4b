#include "Retraction.h"

#include <algorithm>
#include <cmath>

#include "ContextAccess.h"

using namespace std;

namespace openmm_reparam {

namespace {

// Newton's iterations after OpenMM has given up.
constexpr int MAX_NEWTON = 20;

void measure(const Constraints& constraints, Retracted& found) {
    vector<double> errors(constraints.count());
    constraints.errors(found.positions.data(), errors.data());
    const auto worst = max_element(errors.begin(), errors.end());
    found.error = *worst;
    found.worst = size_t(worst - errors.begin());
}

} // namespace

Retracted retract(OpenMM::Context& context, Constraints& constraints, const double* positions, double tolerance,
                  bool virtualSites) {
    Retracted found{constrained(context, positions, tolerance, virtualSites), 0, 0};
    measure(constraints, found);
    if (found.error <= tolerance)
        return found;
    // OpenMM's solver diverges on redundant constraints, and on some long steps.
    found.positions.assign(positions, positions + 3 * constraints.size());
    measure(constraints, found);
    for (int n = 0; n < MAX_NEWTON && found.error > tolerance && isfinite(found.error); n++) {
        constraints.approach(found.positions.data());
        measure(constraints, found);
    }
    return found;
}

} // namespace openmm_reparam
