#include "TorsionMotions.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

using namespace std;

namespace openmm_reparam {

namespace {

void cross(const double* a, const double* b, double* product) {
    product[0] = a[1] * b[2] - a[2] * b[1];
    product[1] = a[2] * b[0] - a[0] * b[2];
    product[2] = a[0] * b[1] - a[1] * b[0];
}

double dot3(const double* a, const double* b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/// A rotation R and a shift: x -> R x + shift.
struct Motion {
    double rotation[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, shift[3] = {0, 0, 0};

    void apply(const double* x, double* moved) const {
        for (int d = 0; d < 3; d++)
            moved[d] = dot3(rotation + 3 * d, x) + shift[d];
    }
};

/// Rotates by an angle about an axis that goes through a point.
Motion rotationAbout(const double* axis, const double* through, double angle) {
    Motion made;
    const double c = cos(angle), s = sin(angle);
    const double sines[9] = {0, -s * axis[2], s * axis[1], s * axis[2], 0, -s * axis[0], -s * axis[1], s * axis[0], 0};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            made.rotation[3 * i + j] = (i == j ? c : 0) + (1 - c) * axis[i] * axis[j] + sines[3 * i + j];
    for (int d = 0; d < 3; d++)
        made.shift[d] = through[d] - dot3(made.rotation + 3 * d, through);
    return made;
}

/// The outer motion after the inner one.
Motion composed(const Motion& outer, const Motion& inner) {
    Motion made;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            made.rotation[3 * i + j] = outer.rotation[3 * i] * inner.rotation[j] +
                                       outer.rotation[3 * i + 1] * inner.rotation[3 + j] +
                                       outer.rotation[3 * i + 2] * inner.rotation[6 + j];
    outer.apply(inner.shift, made.shift);
    return made;
}

void requireBelow(const vector<int64_t>& indices, int64_t smallest, size_t end) {
    for (const int64_t index : indices)
        if (index < smallest || index >= int64_t(end))
            throw invalid_argument("a torsion or an atom does not exist");
}

void unitAxis(const double* from, const double* to, double* axis) {
    for (int d = 0; d < 3; d++)
        axis[d] = to[d] - from[d];
    const double length = sqrt(dot3(axis, axis));
    for (int d = 0; d < 3; d++)
        axis[d] /= length;
}

} // namespace

TorsionMotions::TorsionMotions(TorsionTree given) : tree(move(given)) {
    if (tree.axes.size() != 2 * count() || tree.ranges.size() != 2 * count())
        throw invalid_argument("arrays of torsions have different lengths");
    requireBelow(tree.axes, 0, numAtoms());
    requireBelow(tree.order, 0, numAtoms());
    requireBelow(tree.innermost, -1, count());
    requireBelow(tree.ranges, 0, tree.order.size() + 1);
    for (size_t t = 0; t < count(); t++)
        if (tree.parents[t] < -1 || tree.parents[t] >= int64_t(t))
            throw invalid_argument("a torsion comes before the one that moves it");
}

vector<double> TorsionMotions::axes(const double* positions) const {
    vector<double> found(6 * count());
    for (size_t t = 0; t < count(); t++) {
        const double* end = positions + 3 * tree.axes[2 * t + 1];
        unitAxis(positions + 3 * tree.axes[2 * t], end, &found[6 * t]);
        cross(end, &found[6 * t], &found[6 * t + 3]);
    }
    return found;
}

void TorsionMotions::firstOrder(const double* positions, const double* angles, double* displacements) const {
    const vector<double> lines = axes(positions);
    // What a torsion moves is consecutive: a running sum adds up all that moves an atom.
    vector<double> changes(6 * (tree.order.size() + 1));
    for (size_t t = 0; t < count(); t++)
        for (int d = 0; d < 6; d++) {
            const double change = angles[t] * lines[6 * t + d];
            changes[6 * tree.ranges[2 * t] + d] += change;
            changes[6 * tree.ranges[2 * t + 1] + d] -= change;
        }
    fill_n(displacements, 3 * numAtoms(), 0.0);
    double sum[6] = {0, 0, 0, 0, 0, 0};
    for (size_t place = 0; place < tree.order.size(); place++) {
        const int64_t atom = tree.order[place];
        for (int d = 0; d < 6; d++)
            sum[d] += changes[6 * place + d];
        cross(sum, positions + 3 * atom, displacements + 3 * atom);
        for (int d = 0; d < 3; d++)
            displacements[3 * atom + d] += sum[3 + d];
    }
}

void TorsionMotions::torques(const double* positions, const double* forces, double* torques) const {
    const vector<double> lines = axes(positions);
    vector<double> sums(6 * (tree.order.size() + 1));
    for (size_t place = 0; place < tree.order.size(); place++) {
        const int64_t atom = tree.order[place];
        const double *before = &sums[6 * place], *force = forces + 3 * atom;
        double* after = &sums[6 * place + 6];
        cross(positions + 3 * atom, force, after);
        for (int d = 0; d < 3; d++) {
            after[d] += before[d];
            after[3 + d] = before[3 + d] + force[d];
        }
    }
    for (size_t t = 0; t < count(); t++) {
        const double *first = &sums[6 * tree.ranges[2 * t]], *last = &sums[6 * tree.ranges[2 * t + 1]];
        double torque = 0;
        for (int d = 0; d < 6; d++)
            torque += lines[6 * t + d] * (last[d] - first[d]);
        torques[t] = torque;
    }
}

void TorsionMotions::rotate(const double* positions, const double* angles, double* rotated, double* frames) const {
    vector<Motion> motions(count());
    // Further in comes first: what rotates an axis rotates all that the axis moves.
    for (size_t t = 0; t < count(); t++) {
        if (angles[t] != 0) {
            const double* end = positions + 3 * tree.axes[2 * t + 1];
            double axis[3];
            unitAxis(positions + 3 * tree.axes[2 * t], end, axis);
            motions[t] = rotationAbout(axis, end, angles[t]);
        }
        if (tree.parents[t] >= 0)
            motions[t] = composed(motions[tree.parents[t]], motions[t]);
    }
    const Motion none;
    for (size_t i = 0; i < numAtoms(); i++) {
        const Motion& motion = tree.innermost[i] < 0 ? none : motions[tree.innermost[i]];
        motion.apply(positions + 3 * i, rotated + 3 * i);
        if (frames != nullptr)
            copy_n(motion.rotation, 9, frames + 9 * i);
    }
    if (frames == nullptr)
        return;
    // An axis' far end does not move, but what is bonded to it there rotates.
    for (size_t t = 0; t < count(); t++)
        copy_n(motions[t].rotation, 9, frames + 9 * tree.axes[2 * t + 1]);
}

} // namespace openmm_reparam
