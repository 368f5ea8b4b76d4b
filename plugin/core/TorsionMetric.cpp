#include "TorsionMetric.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

using namespace std;

namespace openmm_reparam {

namespace {

using Matrix = Eigen::Map<const Eigen::MatrixXd>;

/// A rotation a and a shift b move an atom at x by a x x + b = B (a, b), with B of (3, 6).
using Screw = array<double, 6>;
/// B^T K B of one atom and another, (6, 6), summed up over those of two groups.
using Coupling = array<double, 36>;

/// Adds B^T K B of a block K between atoms at x and y.
void addCoupling(const double* block, const double* x, const double* y, Coupling& sum) {
    double right[3][6]; // K B
    for (int a = 0; a < 3; a++) {
        const double* row = block + 3 * a;
        right[a][0] = y[1] * row[2] - y[2] * row[1];
        right[a][1] = y[2] * row[0] - y[0] * row[2];
        right[a][2] = y[0] * row[1] - y[1] * row[0];
        copy_n(row, 3, right[a] + 3);
    }
    for (int b = 0; b < 6; b++) {
        sum[b] += x[1] * right[2][b] - x[2] * right[1][b];
        sum[6 + b] += x[2] * right[0][b] - x[0] * right[2][b];
        sum[12 + b] += x[0] * right[1][b] - x[1] * right[0][b];
        for (int a = 0; a < 3; a++)
            sum[18 + 6 * a + b] += right[a][b];
    }
}

void add(const Coupling& part, Coupling& sum) {
    for (size_t d = 0; d < part.size(); d++)
        sum[d] += part[d];
}

void addTransposed(const Coupling& part, Coupling& sum) {
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++)
            sum[6 * a + b] += part[6 * b + a];
}

/// Adds C s.
void addProduct(const Coupling& coupling, const double* screw, double* sum) {
    for (int a = 0; a < 6; a++) {
        const double* row = &coupling[6 * a];
        sum[a] += (row[0] * screw[0] + row[1] * screw[1] + row[2] * screw[2]) +
                  (row[3] * screw[3] + row[4] * screw[4] + row[5] * screw[5]);
    }
}

double dot(const double* a, const double* b) {
    return inner_product(a, a + 6, b, 0.0);
}

/// Couplings of groups of atoms that move as one: of those with the same innermost torsion. The later group of each
/// pair comes first.
struct GroupCouplings {
    GroupCouplings(const TorsionMotions& motions, const vector<double>& x, const MoleculeStiffness::Blocks& blocks)
        : neighbours(motions.count()) {
        const size_t count = motions.count();
        vector<int32_t> places(count * count, -1);
        for (size_t k = 0; k < blocks.rows.size(); k++) {
            const int64_t i = blocks.rows[k], j = blocks.columns[k], p = motions.innermost(i), q = motions.innermost(j);
            // The matrix is symmetric: the transposes of what lies between two groups tell nothing new.
            if (q < 0 || p < q)
                continue;
            int32_t& place = places[p * count + q];
            if (place < 0) {
                place = int32_t(couplings.size());
                couplings.push_back({});
                neighbours[p].push_back({q, place});
                if (p != q)
                    neighbours[q].push_back({p, place});
            }
            addCoupling(&blocks.values[9 * k], &x[3 * i], &x[3 * j], couplings[place]);
        }
    }

    struct Neighbour {
        int64_t group;
        int32_t place;
    };
    vector<Coupling> couplings;
    vector<vector<Neighbour>> neighbours;
};

} // namespace

TorsionMetric::TorsionMetric(TorsionMotions given)
    : motions(move(given)), torsionStiffness(count() * count()), inertia(count() * count()) {}

bool TorsionMetric::update(const double* positions, const MoleculeStiffness::Blocks& blocks) {
    // About their centre: far from the origin, rotations and shifts nearly cancel.
    vector<double> x(positions, positions + 3 * numAtoms());
    for (size_t d = 0; d < 3; d++) {
        double centre = 0;
        for (size_t i = 0; i < numAtoms(); i++)
            centre += x[3 * i + d] / double(numAtoms());
        for (size_t i = 0; i < numAtoms(); i++)
            x[3 * i + d] -= centre;
    }
    const vector<double> axes = motions.axes(x.data());
    updateStiffness(axes, x, blocks);
    updateInertia(axes, x);
    shift = MIN_STIFFNESS;
    return factorize();
}

/// A torsion moves its own group and those of all torsions further out, whose indices are higher: sums over these
/// are made once, from the outermost torsion inwards.
void TorsionMetric::updateStiffness(const vector<double>& axes, const vector<double>& x,
                                    const MoleculeStiffness::Blocks& blocks) {
    const GroupCouplings groups(motions, x, blocks);
    vector<Coupling> columns(count());
    vector<uint8_t> touched(count());
    // What the groups that torsion s moves feel as torsion t <= s rotates.
    vector<Screw> felt(count() * count(), Screw{});
    for (size_t s = count(); s-- > 0;) {
        Screw* own = &felt[s * count()];
        for (const auto& [group, place] : groups.neighbours[s]) {
            if (!touched[group])
                columns[group].fill(0);
            touched[group] = 1;
            if (size_t(group) > s)
                addTransposed(groups.couplings[place], columns[group]);
            else
                add(groups.couplings[place], columns[group]);
        }
        for (size_t t = count(); t-- > 0;) {
            if (!touched[t])
                continue;
            touched[t] = 0;
            if (t <= s)
                addProduct(columns[t], &axes[6 * t], own[t].data());
            const int64_t parent = motions.parent(t);
            if (parent < 0)
                continue;
            if (!touched[parent])
                columns[parent].fill(0);
            touched[parent] = 1;
            add(columns[t], columns[parent]);
        }
        for (size_t t = 0; t <= s; t++)
            torsionStiffness[s * count() + t] = torsionStiffness[t * count() + s] =
                dot(&axes[6 * s], own[t].data());
        const int64_t parent = motions.parent(s);
        for (int64_t t = 0; t <= parent; t++)
            for (int d = 0; d < 6; d++)
                felt[parent * count() + t][d] += own[t][d];
    }
}

void TorsionMetric::updateInertia(const vector<double>& axes, const vector<double>& x) {
    const double one[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    vector<Coupling> moved(count(), Coupling{});
    for (size_t i = 0; i < numAtoms(); i++)
        if (motions.innermost(i) >= 0)
            addCoupling(one, &x[3 * i], &x[3 * i], moved[motions.innermost(i)]);
    fill(inertia.begin(), inertia.end(), 0.0);
    for (size_t s = count(); s-- > 0;) {
        Screw along{};
        addProduct(moved[s], &axes[6 * s], along.data());
        // Both torsions move an atom only where one moves the other's axis.
        for (int64_t t = int64_t(s); t >= 0; t = motions.parent(t))
            inertia[s * count() + t] = inertia[t * count() + s] = dot(along.data(), &axes[6 * t]);
        if (motions.parent(s) >= 0)
            add(moved[s], moved[motions.parent(s)]);
    }
}

bool TorsionMetric::raiseShift() {
    shift *= 10;
    return factorize();
}

void TorsionMetric::solve(double* torques) const {
    const Matrix lower(factor.data(), count(), count());
    Eigen::Map<Eigen::VectorXd> vector(torques, count());
    lower.triangularView<Eigen::Lower>().solveInPlace(vector);
    lower.transpose().triangularView<Eigen::Upper>().solveInPlace(vector);
}

bool TorsionMetric::factorize() {
    const Matrix stiff(torsionStiffness.data(), count(), count()), moved(inertia.data(), count(), count());
    double largest = 1;
    for (size_t t = 0; t < count(); t++)
        largest = max(largest, stiff(t, t));
    // Custom forces have curvatures of any sign.
    for (; shift <= MoleculeStiffness::MAX_SHIFT; shift *= 3) {
        Eigen::MatrixXd matrix = stiff + shift * moved;
        matrix.diagonal().array() += RELATIVE_RIDGE * largest;
        const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> made(matrix);
        // Of numbers that are not finite Eigen makes factors, too.
        if (made.info() != Eigen::Success || !matrix.diagonal().allFinite())
            continue;
        factor.assign(matrix.data(), matrix.data() + matrix.size());
        return true;
    }
    return false;
}

} // namespace openmm_reparam
