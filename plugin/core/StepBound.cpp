#include "StepBound.h"

#include <algorithm>
#include <limits>

using namespace std;

namespace openmm_reparam {

namespace {

// So many full steps in a row that ended as promised, and the bound begins to double.
constexpr int PROVEN = 5;
// Up to this share of what a step promised, its curvature counts as none.
constexpr double NO_CURVATURE = 0.01;

constexpr double TINY = numeric_limits<double>::min();

} // namespace

void StepBound::reset() {
    current = smallest;
    kept = 0;
}

StepBound::Length StepBound::length(double longest, const function<double()>& within) const {
    double full = current / max(longest, TINY);
    const bool held = full < 1.0 || flat;
    if (current == smallest)
        return {min(1.0, full), held};
    // Where the slope does not change along a step, the length of P's step means nothing.
    full = flat ? full : min(1.0, full);
    return {min(full, smallest / max(within(), TINY)), held};
}

void StepBound::after(const Step& step) {
    flat = step.curvature <= NO_CURVATURE * step.promised;
    if (!(step.atOnce && (step.held || flat)))
        return reset();
    // Between the fall of a parabola whose minimum is one step away and that of a straight line.
    const double least = max(0.5, 1.0 - step.length / 2);
    const bool promised = 0.9 * least * step.promised < step.fall && step.fall < 1.1 * step.promised;
    kept = promised ? kept + 1 : 0;
    current = kept >= PROVEN ? min(2 * current, largest) : smallest;
}

} // namespace openmm_reparam
