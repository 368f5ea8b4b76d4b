#include "StiffTerms.h"

#include <algorithm>
#include <cmath>

#include "InternalCoordinates.h"
#include "OpenMM.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

namespace {

// A harmonic bond whose length (nm) is below this holds two atoms on one spot.
constexpr double ON_ONE_SPOT = 1e-3;

/// Second derivative of sum_n c_n cos^n(phi - pi).
double ryckaertBellemans(const double* c, double phi) {
    const double x = -cos(phi), square = sin(phi) * sin(phi);
    double total = 0;
    for (int n = 1; n < 6; n++)
        total += c[n] * (n * (n - 1) * pow(x, max(n - 2, 0)) * square - n * pow(x, n));
    return total;
}

template <class T> void addRow(Table<T>& table, const Table<T>& from, size_t row) {
    const auto begin = from.values.begin() + row * from.columns;
    table.values.insert(table.values.end(), begin, begin + from.columns);
}

} // namespace

void toNearestImage(double* v, const double* box) {
    if (box == nullptr)
        return;
    for (int k = 2; k >= 0; k--) {
        const double whole = nearbyint(v[k] / box[4 * k]);
        for (int d = 0; d <= k; d++)
            v[d] -= whole * box[3 * k + d];
    }
}

vector<StiffTerms> StiffTerms::ofForce(const Force& force) {
    Kind kind;
    const bool bonds = dynamic_cast<const HarmonicBondForce*>(&force) != nullptr;
    if (bonds)
        kind = Kind::Bond;
    else if (dynamic_cast<const HarmonicAngleForce*>(&force))
        kind = Kind::Angle;
    else if (dynamic_cast<const PeriodicTorsionForce*>(&force))
        kind = Kind::PeriodicTorsion;
    else if (dynamic_cast<const RBTorsionForce*>(&force))
        kind = Kind::RyckaertBellemans;
    else
        return {};
    Terms read = *readBondedTerms(force);
    StiffTerms terms(kind, force.usesPeriodicBoundaryConditions()), spots(Kind::OnOneSpot, false);
    for (StiffTerms* made : {&terms, &spots}) {
        made->particles.columns = read.particles.columns;
        made->parameters.columns = read.parameters.columns;
    }
    for (size_t t = 0; t < read.particles.values.size() / read.particles.columns; t++) {
        const bool onOneSpot = bonds && read.parameters.values[2 * t] < ON_ONE_SPOT;
        // k I: a row for each axis.
        for (int row = 0; row < (onOneSpot ? 3 : 1); row++) {
            addRow((onOneSpot ? spots : terms).particles, read.particles, t);
            addRow((onOneSpot ? spots : terms).parameters, read.parameters, t);
        }
    }
    vector<StiffTerms> found;
    for (StiffTerms* made : {&terms, &spots})
        if (!made->particles.values.empty())
            found.push_back(move(*made));
    return found;
}

vector<StiffTerms> StiffTerms::ofConstraints(const System& system) {
    if (system.getNumConstraints() == 0)
        return {};
    StiffTerms terms(Kind::Bond, false);
    terms.particles = readConstraints(system).particles;
    terms.parameters.columns = 2;
    for (size_t t = 0; t < terms.count(); t++)
        terms.parameters.values.insert(terms.parameters.values.end(), {0.0, CONSTRAINT_STIFFNESS});
    return {move(terms)};
}

double StiffTerms::secondDerivative(size_t term, double value) const {
    const double* p = &parameters.values[term * parameters.columns];
    switch (kind) {
    case Kind::PeriodicTorsion:
        // E = k (1 + cos(n phi - phase))
        return -p[2] * p[0] * p[0] * cos(p[0] * value - p[1]);
    case Kind::RyckaertBellemans:
        return ryckaertBellemans(p, value);
    default:
        return p[1];
    }
}

void StiffTerms::rows(const double* positions, const double* box, double* rows) const {
    const size_t width = particles.columns;
    const auto between = [&](int64_t i, int64_t j, double* v) {
        for (int d = 0; d < 3; d++)
            v[d] = positions[3 * i + d] - positions[3 * j + d];
        toNearestImage(v, periodic ? box : nullptr);
    };
    for (size_t t = 0; t < count(); t++, rows += 3 * width) {
        const int64_t* a = &particles.values[t * width];
        double ij[3], kj[3], kl[3], value = 0;
        if (kind == Kind::OnOneSpot) {
            for (int d = 0; d < 3; d++) {
                rows[d] = d == int(t % 3) ? 1 : 0;
                rows[3 + d] = -rows[d];
            }
        } else {
            between(a[0], a[1], ij);
            if (width > 2)
                between(a[2], a[1], kj);
            if (width > 3)
                between(a[2], a[3], kl);
            value = width == 2 ? distance(ij, rows) : width == 3 ? angle(ij, kj, rows) : dihedral(ij, kj, kl, rows);
        }
        const double root = sqrt(max(secondDerivative(t, value), 0.0));
        for (size_t k = 0; k < 3 * width; k++)
            rows[k] *= root;
    }
}

} // namespace openmm_reparam
