#include "Lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace std;

namespace openmm_reparam {

namespace {

// A metric whose curvature along a step is wrong by more than this factor is stale.
constexpr double STALE = 3.0;
// Nor does a pair tell anything of what follows whose curvature P underrates by this factor, unless so many in a row do.
constexpr double CLASH = 1e-3;
constexpr int PASSING = 2;
// Steps in a row that were refused at first, until there is no going on.
constexpr int BLOCKED = 20;

} // namespace

Lbfgs::Lbfgs(const LbfgsOptions& options, const Place& start, size_t size)
    : options(options), size(size), place(start), chart(start), pairs(options.memory),
      bound(options.maxStep, options.largestStep) {}

void Lbfgs::step(Landscape& landscape) {
    while (true) {
        const Direction way = direction(landscape);
        const auto [first, held] = firstLength(landscape, way.vector);
        const double noise = coarse * landscape.noise(place.energy);
        LineSearchResult result = searchAlong(landscape, place, way, first, noise, failures > 0);
        if (blocked > BLOCKED)
            throw LineSearchError(result.why());
        if (result.trial) {
            blocked = result.refused ? blocked + 1 : 0;
            const double promised = -result.trial->length * way.slope;
            const bool atOnce = result.trial->length == first;
            return accept(landscape, move(*result.trial), promised, atOnce, held);
        }
        beginAnew(landscape, result.why());
    }
}

Direction Lbfgs::direction(Landscape& landscape) {
    const double* forces = place.forces.get();
    Direction way{{forces, forces + size}, 0};
    pairs.multiply(way.vector, solver(landscape), ratio);
    landscape.project(place, way.vector.data());
    way.slope = -dot(forces, way.vector.data(), way.vector.size());
    if (way.slope < 0 && failures <= 2)
        return way;
    // Not a descent direction (indefinite pairs, stale metric), or a failed restart: the plain forces always are one.
    pairs.clear();
    way.vector.assign(forces, forces + size);
    way.slope = -dot(forces, forces, way.vector.size());
    if (way.slope == 0)
        throw LineSearchError("the forces are exactly zero");
    return way;
}

StepBound::Length Lbfgs::firstLength(Landscape& landscape, const vector<double>& vector) const {
    const double longest = landscape.longest(place, vector.data());
    StepBound::Length first =
        bound.length(longest, [&] { return landscape.longestWithin(place, vector.data()); });
    // Of plain forces the length means nothing.
    if ((!landscape.hasMetric() && pairs.count() == 0) || failures > 2)
        first.length = min(first.length, timid / max(longest, numeric_limits<double>::min()));
    return first;
}

void Lbfgs::beginAnew(Landscape& landscape, const string& why) {
    failures++;
    coarse = 10;
    timid = FIRST_STEP;
    bound.reset();
    pairs.clear();
    if (failures > (landscape.hasMetric() ? 3 : 1))
        throw LineSearchError(why);
    // Steepest descent in the metric; in a stiffer one; along the plain forces.
    if (landscape.hasMetric() && failures == 1)
        update(landscape);
    else if (landscape.hasMetric() && failures == 2)
        landscape.raiseShift();
}

void Lbfgs::accept(Landscape& landscape, Trial&& trial, double promised, bool atOnce, bool held) {
    failures = 0;
    timid *= 2;
    if (!trial.place.forces)
        trial.place.forces = landscape.forces(trial.place);
    landscape.stepTaken(place, trial.place, trial.step.data());
    CurvaturePair pair{move(trial.step), vector<double>(size), 0};
    for (size_t i = 0; i < size; i++)
        pair.change[i] = place.forces.get()[i] - trial.place.forces.get()[i];
    const double *s = pair.step.data(), *y = pair.change.data();
    pair.curvature = dot(s, y, size);
    bound.after({trial.length, atOnce, held, place.energy - trial.place.energy, promised, pair.curvature});
    if (pair.curvature > 1e-10 * sqrt(dot(s, s, size) * dot(y, y, size)))
        keep(landscape, pair);
    place = move(trial.place);
    age++;
    const bool stale = age >= options.fewestBetweenUpdates && !(1 / STALE < ratio && ratio < STALE);
    if (landscape.hasMetric() && (stale || age >= options.mostBetweenUpdates)) {
        update(landscape);
        if (pairs.count() > 0)
            ratio = curvatureRatio(pairs.pair(pairs.count() - 1), solver(landscape));
    }
}

/// Keeps a pair, unless it tells of a clash that the step has left behind: P finds that far too stiff, and kept, it
/// would hold everything still.
void Lbfgs::keep(Landscape& landscape, const CurvaturePair& pair) {
    const double found = curvatureRatio(pair, solver(landscape));
    const bool known = landscape.hasMetric() && landscape.metricIsComplete();
    const bool passing = known && found <= CLASH && dropped < PASSING;
    dropped = passing ? dropped + 1 : 0;
    if (passing)
        return;
    pairs.add(pair);
    ratio = found;
}

void Lbfgs::update(Landscape& landscape) {
    age = 0;
    // A displaced configuration may be non-finite where the place itself is not.
    if (landscape.updateMetric(place))
        chart = place;
}

CurvaturePairs::Solver Lbfgs::solver(Landscape& landscape) const {
    return [&](double* vector) { landscape.solve(chart, vector); };
}

} // namespace openmm_reparam
