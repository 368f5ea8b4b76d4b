#include "TorsionMetric.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <utility>

using namespace std;

namespace openmm_reparam {

namespace {

using Matrix = Eigen::Map<const Eigen::MatrixXd>;

/// Blocks by rows: which columns each row has, and where its blocks are.
struct BlockRows {
    BlockRows(const MoleculeStiffness::Blocks& blocks, size_t size) : starts(size + 1), places(blocks.rows.size()) {
        for (const int64_t row : blocks.rows)
            starts[row + 1]++;
        for (size_t i = 0; i < size; i++)
            starts[i + 1] += starts[i];
        vector<size_t> next(starts.begin(), starts.end() - 1);
        for (size_t k = 0; k < places.size(); k++)
            places[next[blocks.rows[k]]++] = k;
    }

    vector<size_t> starts, places;
};

} // namespace

TorsionMetric::TorsionMetric(TorsionMotions given)
    : motions(move(given)), torsionStiffness(count() * count()), inertia(count() * count()) {}

bool TorsionMetric::update(const double* positions, const MoleculeStiffness::Blocks& blocks) {
    const vector<double> axes = motions.axes(positions);
    const BlockRows rows(blocks, numAtoms());
    vector<double> along(3 * numAtoms()), restoring(3 * numAtoms());
    // A column at a time: what the atoms feel as one torsion moves them, as torques on all.
    for (size_t t = 0; t < count(); t++) {
        fill(along.begin(), along.end(), 0.0);
        fill(restoring.begin(), restoring.end(), 0.0);
        motions.forMoved(axes, positions, t, [&](int64_t j, const double* moved) {
            copy_n(moved, 3, &along[3 * j]);
            for (size_t at = rows.starts[j]; at < rows.starts[j + 1]; at++) {
                const size_t k = rows.places[at];
                // The matrix is symmetric: block (i, j) is the transpose of this one.
                const double* block = &blocks.values[9 * k];
                double* felt = &restoring[3 * blocks.columns[k]];
                for (int d = 0; d < 3; d++)
                    felt[d] += block[d] * moved[0] + block[3 + d] * moved[1] + block[6 + d] * moved[2];
            }
        });
        motions.torques(axes, positions, restoring.data(), &torsionStiffness[t * count()]);
        motions.torques(axes, positions, along.data(), &inertia[t * count()]);
    }
    shift = MIN_STIFFNESS;
    return factorize();
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
