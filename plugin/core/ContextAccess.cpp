#include "ContextAccess.h"

#include <cstring>

#include "OpenMM.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

static_assert(sizeof(Vec3) == 3 * sizeof(double), "Vec3 is copied as three doubles");

namespace {

vector<double> numbersOf(const vector<Vec3>& vectors) {
    vector<double> numbers(3 * vectors.size());
    if (!vectors.empty())
        memcpy(numbers.data(), vectors.data(), numbers.size() * sizeof(double));
    return numbers;
}

} // namespace

void setPositions(Context& context, const double* positions, bool virtualSites) {
    vector<Vec3> vectors(context.getSystem().getNumParticles());
    if (!vectors.empty())
        memcpy(static_cast<void*>(vectors.data()), positions, vectors.size() * sizeof(Vec3));
    context.setPositions(vectors);
    if (virtualSites)
        context.computeVirtualSites();
}

vector<double> positionsOf(const Context& context) {
    return numbersOf(context.getState(State::Positions, false).getPositions());
}

double evaluate(Context& context, const double* positions, int groups, bool virtualSites, vector<double>& forces) {
    setPositions(context, positions, virtualSites);
    const State state = context.getState(State::Energy | State::Forces, false, groups);
    forces = numbersOf(state.getForces());
    return state.getPotentialEnergy();
}

vector<double> constrained(Context& context, const double* positions, double tolerance, bool virtualSites) {
    setPositions(context, positions, false);
    context.applyConstraints(tolerance);
    if (virtualSites)
        context.computeVirtualSites();
    return positionsOf(context);
}

} // namespace openmm_reparam
