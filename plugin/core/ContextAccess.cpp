#include "ContextAccess.h"

#include "OpenMM.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

static_assert(sizeof(Vec3) == 3 * sizeof(double), "Vec3 is copied as three doubles");

namespace {

vector<double> numbersOf(const vector<Vec3>& vectors) {
    const auto* first = reinterpret_cast<const double*>(vectors.data());
    return vector<double>(first, first + 3 * vectors.size());
}

// The Reference platform's PME misplaces charges a rounding error below zero: x / L - floor(x / L) is one there.
constexpr double BELOW_ZERO = -1e-14;

void raiseToZero(const System& system, vector<Vec3>& positions) {
    for (size_t i = 0; i < positions.size(); i++)
        for (int axis = 0; axis < 3; axis++) {
            double& x = positions[i][axis];
            if (x < 0 && x > BELOW_ZERO && system.getParticleMass(i) > 0)
                x = 0;
        }
}

} // namespace

void setPositions(Context& context, const double* positions, bool virtualSites) {
    const auto* first = reinterpret_cast<const Vec3*>(positions);
    vector<Vec3> vectors(first, first + context.getSystem().getNumParticles());
    raiseToZero(context.getSystem(), vectors);
    context.setPositions(vectors);
    if (virtualSites)
        context.computeVirtualSites();
}

vector<double> positionsOf(const Context& context) {
    return numbersOf(context.getState(State::Positions, false).getPositions());
}

vector<double> boxOf(const Context& context) {
    vector<Vec3> vectors(3);
    context.getState(0).getPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
    return numbersOf(vectors);
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
