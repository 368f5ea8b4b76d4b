#include "ContextLandscape.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "ContextAccess.h"
#include "CurvaturePairs.h"
#include "Displacements.h"
#include "OpenMM.h"
#include "Retraction.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

namespace {

// Relative rounding error of energies, and that of single precision; energies below zero count up to so many kJ/mol an
// atom, which is more than any force field's.
constexpr double ENERGY_NOISE = 1e-7, SINGLE_ENERGY_NOISE = 1e-6, LARGEST_BINDING = 500.0;
// GPUs add up forces in fixed point: none is larger than 2^31 kJ/mol/nm, and NaN is lost.
constexpr double LARGEST_FIXED = 2e9;
constexpr size_t MOST_NAMED = 5;

string named(const vector<size_t>& atoms) {
    string text;
    for (size_t k = 0; k < min(atoms.size(), MOST_NAMED); k++)
        text += (k ? ", atom " : "atom ") + to_string(atoms[k]);
    return atoms.size() > MOST_NAMED ? text + " and " + to_string(atoms.size() - MOST_NAMED) + " more" : text;
}

vector<size_t> notFinite(const vector<double>& vectors) {
    vector<size_t> bad;
    for (size_t i = 0; i < vectors.size() / 3; i++)
        if (!(isfinite(vectors[3 * i]) && isfinite(vectors[3 * i + 1]) && isfinite(vectors[3 * i + 2])))
            bad.push_back(i);
    return bad;
}

/// Two atoms on one spot, at least one of them in `bad`; nothing where there are none.
vector<size_t> coincident(const vector<double>& positions, const vector<size_t>& bad) {
    constexpr double ON_ONE_SPOT = 1e-6;
    const set<size_t> among(bad.begin(), bad.end());
    vector<size_t> found;
    forNearPairs(positions.data(), positions.size() / 3, ON_ONE_SPOT, nullptr, [&](int64_t i, int64_t j, const double*) {
        if (found.empty() && (among.empty() || among.count(i) || among.count(j)))
            found = {size_t(i), size_t(j)};
    });
    return found;
}

bool isSinglePrecision(const Context& context) {
    const Platform& platform = context.getPlatform();
    const auto& names = platform.getPropertyNames();
    return find(names.begin(), names.end(), "Precision") != names.end() &&
           platform.getPropertyValue(context, "Precision") == "single";
}

/// Pairs that are near on purpose where no NonbondedForce says which are.
vector<int64_t> bondsOf(const System& system) {
    vector<int64_t> pairs = readConstraints(system).particles.values;
    const auto add = [&](const vector<int64_t>& more) { pairs.insert(pairs.end(), more.begin(), more.end()); };
    for (int k = 0; k < system.getNumForces(); k++) {
        const Force& force = system.getForce(k);
        const auto terms = readBondedTerms(force);
        if (terms && terms->particles.columns == 2)
            add(terms->particles.values);
        if (const auto* custom = dynamic_cast<const CustomNonbondedForce*>(&force))
            add(readExclusions(*custom).values);
    }
    return pairs;
}

CollapseCheck collapseCheck(const Context& context, int groups, const vector<uint8_t>& moves) {
    const System& system = context.getSystem();
    vector<uint8_t> movable = moves;
    const auto parents = readVirtualSites(system).particles.values;
    for (size_t k = 0; k < parents.size(); k += 2)
        movable[parents[k]] |= moves[parents[k + 1]];
    optional<PairEnergies> known;
    if (auto table = nonbondedOf(context, groups))
        known.emplace(move(*table));
    const vector<int64_t> excluded = known ? known->excluded() : bondsOf(system);
    PairSet set(excluded.data(), excluded.size() / 2, moves.size());
    return CollapseCheck(move(known), move(set), moves, move(movable));
}

} // namespace

ContextLandscape::ContextLandscape(Context& context)
    : context(context), size(context.getSystem().getNumParticles()),
      groups(context.getIntegrator().getIntegrationForceGroups()),
      tolerance(context.getIntegrator().getConstraintTolerance()),
      relativeNoise(isSinglePrecision(context) ? SINGLE_ENERGY_NOISE : ENERGY_NOISE) {
    const System& system = context.getSystem();
    const Particles particles = readParticles(system);
    for (size_t i = 0; i < size; i++) {
        moves.push_back(particles.masses[i] > 0 && !particles.virtualSites[i]);
        moving += moves.back();
        virtualSites = virtualSites || particles.virtualSites[i];
    }
    if (moving == 0)
        throw invalid_argument("every particle is massless or a virtual site: nothing can move");
    const string& platform = context.getPlatform().getName();
    fixedPoint = platform != "Reference" && platform != "CPU";
    if (system.usesPeriodicBoundaryConditions())
        box = boxOf(context);
    // OpenMM lets massless atoms share constraints, and leaves those alone.
    const Terms found = readConstraints(system);
    vector<double> lengths;
    for (size_t c = 0; c < found.parameters.values.size(); c++) {
        const int64_t i = found.particles.values[2 * c], j = found.particles.values[2 * c + 1];
        if (!moves[i] && !moves[j])
            continue;
        constrainedPairs.insert(constrainedPairs.end(), {i, j});
        lengths.push_back(found.parameters.values[c]);
    }
    if (!lengths.empty())
        constraints.emplace(constrainedPairs.data(), lengths.data(), lengths.size(), size);
    collapse.emplace(collapseCheck(context, groups, moves));
    preconditioner.emplace(context, moves);
    turning = MoleculeFrames(preconditioner->molecules(), moves);
}

ContextLandscape::~ContextLandscape() = default;

const ContextLandscape::Point& ContextLandscape::pointOf(const Place& place) {
    return *static_cast<const Point*>(place.point.get());
}

Place ContextLandscape::at(const vector<double>& positions) {
    return at(positions, turning.laboratory());
}

Place ContextLandscape::at(const vector<double>& positions, MoleculeFrames::Frames frames) {
    const vector<size_t> bad = notFinite(positions);
    if (!bad.empty())
        throw NonFinite("the positions of " + named(bad) + " are NaN or infinite. Set finite positions first.");
    auto point = make_shared<Point>();
    point->positions = positions;
    if (constraints) {
        Retracted found = retract(context, *constraints, positions.data(), tolerance, virtualSites);
        if (!(found.error <= tolerance)) {
            const int64_t* pair = &constrainedPairs[2 * found.worst];
            throw NonFinite("OpenMM could not satisfy the constraint between atom " + to_string(pair[0]) +
                            " and atom " + to_string(pair[1]) + ": they are too far from where it wants them.");
        }
        point->positions = move(found.positions);
    }
    Place place;
    place.energy = evaluateAt(point->positions, point->forces);
    if (virtualSites && !constraints)
        point->positions = positionsOf(context);
    if (constraints)
        constraints->project(point->positions.data(), point->forces.data());
    point->frames = move(frames);
    point->turnedForces = point->forces;
    turning.enter(point->frames, point->turnedForces.data());
    place.forces = shared_ptr<const double>(point, point->turnedForces.data());
    place.point = point;
    return place;
}

double ContextLandscape::evaluateAt(const vector<double>& positions, vector<double>& forces) {
    const auto evaluated = [&](Context& where) {
        evaluations++;
        double energy;
        try {
            energy = evaluate(where, positions.data(), groups, virtualSites, forces);
        } catch (const OpenMMException& error) {
            throw NonFinite(string("the energy could not be evaluated: ") + error.what());
        }
        for (size_t i = 0; i < size; i++)
            if (!moves[i])
                fill_n(&forces[3 * i], 3, 0.0);
        return energy;
    };
    double energy = evaluated(context);
    const auto fits = [](double force) { return abs(force) < LARGEST_FIXED; };
    if (fixedPoint && !(isfinite(energy) && all_of(forces.begin(), forces.end(), fits)))
        energy = evaluated(onTheCpu());
    requireFinite(positions, energy, forces);
    return energy;
}

Context& ContextLandscape::onTheCpu() {
    if (!cpuContext) {
        cpuIntegrator = make_unique<VerletIntegrator>(0.001);
        cpuContext =
            make_unique<Context>(context.getSystem(), *cpuIntegrator, Platform::getPlatform("CPU"));
        for (const auto& [name, value] : context.getParameters())
            cpuContext->setParameter(name, value);
        Vec3 vectors[3];
        context.getState(0).getPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
        cpuContext->setPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
    }
    return *cpuContext;
}

void ContextLandscape::requireFinite(const vector<double>& positions, double energy,
                                     const vector<double>& forces) const {
    const vector<size_t> bad = notFinite(forces);
    if (isfinite(energy) && bad.empty())
        return;
    const vector<size_t> pair = coincident(positions, bad);
    if (!pair.empty())
        throw NonFinite("the energy or forces are NaN or infinite, and " + named({pair[0]}) + " and " +
                        named({pair[1]}) + " stand on one spot. Move them apart before minimizing (a duplicated atom "
                        "or molecule is the usual cause).");
    const string what = bad.empty() ? "the energy is " + to_string(energy)
                                    : "the forces on " + named(bad) + " are NaN or infinite";
    throw NonFinite(what + ". Look for overlapping atoms or wrong parameters there.");
}

double ContextLandscape::rms(const Place& place) const {
    const double* f = place.forces.get();
    return sqrt(dot(f, f, 3 * size) / double(moving));
}

double ContextLandscape::constraintError(const Place& place) const {
    if (!constraints)
        return 0;
    vector<double> errors(constraints->count());
    constraints->errors(pointOf(place).positions.data(), errors.data());
    return *max_element(errors.begin(), errors.end());
}

Place ContextLandscape::moved(const Place& from, const double* step) {
    MoleculeFrames::Frames frames = pointOf(from).frames;
    const vector<double> positions = turning.moved(pointOf(from).positions, frames, step);
    return at(positions, move(frames));
}

shared_ptr<const double> ContextLandscape::forces(const Place& place) {
    return place.forces;
}

void ContextLandscape::stepTaken(const Place& before, const Place& after, double* step) {
    turning.taken(pointOf(before).positions, pointOf(after).positions, step);
}

bool ContextLandscape::refuses(const Place& before, const Place& after, double promised) {
    const Point &from = pointOf(before), &to = pointOf(after);
    return collapse->refuses({before.energy, from.positions.data(), from.forces.data()},
                             {after.energy, to.positions.data(), to.forces.data()}, promised,
                             box ? box->data() : nullptr);
}

double ContextLandscape::noise(double energy) {
    return relativeNoise * (energy > 0 ? energy : min(-energy, LARGEST_BINDING * double(size)));
}

void ContextLandscape::project(const Place& place, double* step) {
    if (!constraints)
        return;
    turning.leave(pointOf(place).frames, step);
    constraints->project(pointOf(place).positions.data(), step);
    turning.enter(pointOf(place).frames, step);
}

double ContextLandscape::longest(const Place&, const double* step) {
    return longestVector(step, size);
}

double ContextLandscape::longestWithin(const Place&, const double* step) {
    return longestWithinMolecules(step, size, preconditioner->molecules());
}

bool ContextLandscape::hasMetric() const {
    return informed;
}

bool ContextLandscape::metricIsComplete() const {
    return preconditioner->isComplete();
}

bool ContextLandscape::updateMetric(const Place& place) {
    const bool updated = preconditioner->isInformed() &&
                         preconditioner->update(pointOf(place).positions.data(), box ? box->data() : nullptr);
    // Without a first update there is no metric.
    informed = informed || updated;
    return updated;
}

void ContextLandscape::raiseShift() {
    preconditioner->raiseShift();
}

void ContextLandscape::solve(const Place& chart, double* vector) {
    if (!informed)
        return;
    turning.leave(pointOf(chart).frames, vector);
    preconditioner->solve(vector);
    turning.enter(pointOf(chart).frames, vector);
}

} // namespace openmm_reparam
