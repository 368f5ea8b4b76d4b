#include "openmm_reparam/LocalMinimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "ContextAccess.h"
#include "ContextLandscape.h"
#include "Lbfgs.h"
#include "OpenMM.h"

using namespace openmm_reparam;
using namespace std;

namespace OpenMMReparam {

namespace {

// Iterations without a lower energy or a smaller force before a run gives up. Lower is what exceeds the energy's
// rounding error, smaller what exceeds this share of the force.
constexpr int STALL = 200;
constexpr double SMALLER = 1e-3;
// No energy that has a bottom falls further below the start's, or below zero, kJ/mol an atom.
constexpr double DEEPEST = 1e6;
// Atoms that have moved so far (nm) while the RMS force is no smaller than this share of the first fly for ever.
constexpr double FURTHEST = 1e4, STILL = 0.9;
// Such a run is left with the last structure whose atoms have moved less, in nm.
constexpr double NOT_FAR = 10.0;

const string WITHOUT_BOTTOM = "the energy falls without bound; the structure from before that is kept. Something pulls "
                              "without end (a field on a charge, a force that nothing opposes): add a restraint, or "
                              "minimize without that force";

/// One run: where it is, and when it is to stop.
class Run {
  public:
    Run(ContextLandscape& landscape, double tolerance, int maxIterations, OpenMM::MinimizationReporter* reporter,
        const Place& start)
        : landscape(landscape), tolerance(tolerance), maxIterations(maxIterations), reporter(reporter), start(start),
          best(start), lowest(start.energy), smallest(numeric_limits<double>::infinity()) {}

    void descend() {
        if (reached(start)) {
            message = "the start is a minimum to within the tolerance";
            return;
        }
        LbfgsOptions options;
        options.largestStep = numeric_limits<double>::infinity();
        if (landscape.isLiquid())
            options.updateSooner();
        landscape.updateMetric(start);
        Lbfgs descent(options, start, ContextLandscape::pointOf(start).forces.size());
        while (message.empty()) {
            try {
                descent.step(landscape);
            } catch (const LineSearchError& end) {
                message = end.what();
                return;
            }
            best = descent.place;
            iterations++;
            message = ending();
        }
    }

    MinimizationResult result() {
        if (best.energy > start.energy)
            best = start;
        const double rms = landscape.rms(best);
        return {rms <= tolerance, message,    start.energy,
                best.energy,      rms,        iterations,
                landscape.numEvaluations()};
    }

    const vector<double>& positions() const {
        return ContextLandscape::pointOf(best).positions;
    }

  private:
    bool reached(const Place& place) const {
        return landscape.rms(place) <= tolerance;
    }

    /// Why the run stops here; empty where it goes on.
    string ending() {
        if (reports())
            return "stopped by the reporter";
        if (reached(best))
            return "the RMS force reached the tolerance";
        if (maxIterations > 0 && iterations >= maxIterations)
            return "maxIterations = " + to_string(maxIterations) + " reached";
        if (falls())
            return WITHOUT_BOTTOM;
        return stalls() ? "neither energy nor force has fallen in " + to_string(STALL) + " iterations" : "";
    }

    bool reports() const {
        if (reporter == nullptr)
            return false;
        const vector<double>&positions = ContextLandscape::pointOf(best).positions,
                    &forces = ContextLandscape::pointOf(best).forces;
        vector<double> gradient(forces.size());
        transform(forces.begin(), forces.end(), gradient.begin(), negate<double>());
        map<string, double> arguments{{"system energy", best.energy},
                                      {"restraint energy", 0.0},
                                      {"restraint strength", 0.0},
                                      {"max constraint error", landscape.constraintError(best)}};
        return reporter->report(iterations - 1, positions, gradient, arguments);
    }

    bool stalls() {
        const double force = landscape.rms(best);
        const bool lower = best.energy < lowest - landscape.noise(lowest);
        since = lower || force < (1 - SMALLER) * smallest ? 0 : since + 1;
        lowest = min(lowest, best.energy);
        smallest = min(smallest, force);
        return since >= STALL;
    }

    /// Whether the energy has no bottom; then the structure from before the flight is the best.
    bool falls() {
        const double far = distanceFromStart();
        if (far < NOT_FAR)
            sane = best;
        const bool deep = best.energy < min(start.energy, 0.0) - DEEPEST * double(landscape.numMoving());
        if (!deep && (far < FURTHEST || landscape.rms(best) <= STILL * landscape.rms(start)))
            return false;
        best = sane.point ? sane : start;
        return true;
    }

    double distanceFromStart() const {
        const auto &from = ContextLandscape::pointOf(start).positions, &to = positions();
        double furthest = 0;
        for (size_t i = 0; i < from.size(); i++)
            furthest = max(furthest, abs(to[i] - from[i]));
        return furthest;
    }

    ContextLandscape& landscape;
    double tolerance;
    int maxIterations;
    OpenMM::MinimizationReporter* reporter;
    Place start, best, sane;
    double lowest, smallest;
    int since = 0, iterations = 0;
    string message;
};

} // namespace

MinimizationResult LocalMinimizer::minimize(OpenMM::Context& context, double tolerance, int maxIterations,
                                            OpenMM::MinimizationReporter* reporter) {
    if (!(tolerance > 0 && isfinite(tolerance)))
        throw invalid_argument("the tolerance must be positive, in kJ/mol/nm");
    if (maxIterations < 0)
        throw invalid_argument("maxIterations must not be negative; 0 means no limit");
    const vector<double> original = positionsOf(context);
    try {
        ContextLandscape landscape(context);
        Run run(landscape, tolerance, maxIterations, reporter, landscape.at(original));
        run.descend();
        const MinimizationResult result = run.result();
        setPositions(context, run.positions().data(), true);
        return result;
    } catch (...) {
        setPositions(context, original.data(), false);
        throw;
    }
}

} // namespace OpenMMReparam
