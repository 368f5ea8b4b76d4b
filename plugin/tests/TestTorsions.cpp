// Torsions of a branched chain: motions against finite differences, coordinates and metric against dense algebra.

#include <functional>
#include <iostream>
#include <random>
#include <vector>

#include "Displacements.h"
#include "TorsionCoordinates.h"
#include "TorsionMetric.h"
#include "checks.h"

using namespace openmm_reparam;
using Vector = std::vector<double>;

namespace {

constexpr size_t ATOMS = 9, TORSIONS = 4;

/// 0-1-2-3-4-5 with 6-7 on atom 2 and 8 on atom 3: bonds 1-2, 2-6, 2-3 and 3-4 rotate, atom 0 is the root.
TorsionTree tree() {
    return {{1, 2, 2, 6, 2, 3, 3, 4},
            {-1, 0, 0, 2},
            {0, 1, 2, 6, 7, 3, 8, 4, 5},
            {3, 9, 4, 5, 6, 9, 8, 9},
            {-1, -1, -1, 0, 2, 3, 0, 1, 2}};
}

std::mt19937 engine(7);

Vector drawn(size_t size, double spread) {
    std::normal_distribution<double> normal(0, spread);
    Vector found(size);
    for (double& number : found)
        number = normal(engine);
    return found;
}

Vector rotated(const TorsionMotions& motions, const Vector& x, const Vector& angles) {
    Vector found(x.size());
    motions.rotate(x.data(), angles.data(), found.data(), nullptr);
    return found;
}

double distance(const Vector& x, size_t i, size_t j) {
    double sum = 0;
    for (int d = 0; d < 3; d++)
        sum += (x[3 * i + d] - x[3 * j + d]) * (x[3 * i + d] - x[3 * j + d]);
    return std::sqrt(sum);
}

double dot(const Vector& a, const Vector& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++)
        sum += a[i] * b[i];
    return sum;
}

/// Derivatives of all positions, a row for each torsion, by central differences.
std::vector<Vector> differences(const TorsionMotions& motions, const Vector& x) {
    std::vector<Vector> rows;
    const double h = 1e-5;
    for (size_t t = 0; t < TORSIONS; t++) {
        Vector angles(TORSIONS), row(x.size());
        angles[t] = h;
        const Vector ahead = rotated(motions, x, angles);
        angles[t] = -h;
        const Vector behind = rotated(motions, x, angles);
        for (size_t i = 0; i < x.size(); i++)
            row[i] = (ahead[i] - behind[i]) / (2 * h);
        rows.push_back(row);
    }
    return rows;
}

void testBondsAndAnglesStay() {
    const TorsionMotions motions(tree());
    const Vector x = drawn(3 * ATOMS, 0.2), turned = rotated(motions, x, drawn(TORSIONS, 1));
    const size_t bonds[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {2, 6}, {6, 7}, {3, 8}};
    const size_t ends[][2] = {{0, 2}, {1, 3}, {2, 4}, {3, 5}, {1, 6}, {3, 6}, {2, 7}, {2, 8}, {4, 8}};
    for (const auto& [i, j] : bonds)
        REQUIRE_CLOSE(distance(turned, i, j), distance(x, i, j), 1e-12);
    for (const auto& [i, j] : ends)
        REQUIRE_CLOSE(distance(turned, i, j), distance(x, i, j), 1e-12);
    REQUIRE(std::abs(distance(turned, 0, 5) - distance(x, 0, 5)) > 1e-3);
}

void testFullTurnsLeadBack() {
    const TorsionMotions motions(tree());
    const Vector x = drawn(3 * ATOMS, 0.2), turned = rotated(motions, x, Vector(TORSIONS, 2 * M_PI));
    for (size_t i = 0; i < x.size(); i++)
        REQUIRE_CLOSE(turned[i], x[i], 1e-12);
}

void testFirstOrderAndTorquesAreDerivatives() {
    const TorsionMotions motions(tree());
    const Vector x = drawn(3 * ATOMS, 0.2), forces = drawn(3 * ATOMS, 1), angles = drawn(TORSIONS, 1);
    Vector moved(3 * ATOMS), torques(TORSIONS), expected(3 * ATOMS);
    motions.firstOrder(x.data(), angles.data(), moved.data());
    motions.torques(x.data(), forces.data(), torques.data());
    const auto rows = differences(motions, x);
    for (size_t t = 0; t < TORSIONS; t++) {
        REQUIRE_CLOSE(torques[t], dot(rows[t], forces), 1e-8);
        for (size_t i = 0; i < x.size(); i++)
            expected[i] += angles[t] * rows[t][i];
    }
    for (size_t i = 0; i < x.size(); i++)
        REQUIRE_CLOSE(moved[i], expected[i], 1e-8);
}

void testCoordinatesFollowTheirFrames() {
    const TorsionCoordinates coordinates{TorsionMotions(tree())};
    const size_t size = coordinates.size();
    REQUIRE(size == TORSIONS + 3 * ATOMS);
    Vector x = drawn(3 * ATOMS, 0.2), frames(9 * ATOMS);
    for (size_t k = 0; k < 3 * ATOMS; k++)
        frames[3 * k + k % 3] = 1;
    // Away from where they began: the frames have turned.
    for (int k = 0; k < 2; k++) {
        Vector there(x.size()), turned(frames.size());
        coordinates.moved(frames.data(), x.data(), drawn(size, 0.3).data(), there.data(), turned.data());
        x = there;
        frames = turned;
    }
    Vector vector = drawn(size, 1);
    const Vector before = vector;
    coordinates.intoSpace(frames.data(), vector.data());
    REQUIRE(std::abs(vector[size - 1] - before[size - 1]) > 1e-3);
    coordinates.outOfSpace(frames.data(), vector.data());
    for (size_t k = 0; k < size; k++)
        REQUIRE_CLOSE(vector[k], before[k], 1e-12);
    // E = -f.x of constant forces: how it changes with each number of a step.
    const Vector forces = drawn(3 * ATOMS, 1);
    Vector along(size), there(x.size()), turned(frames.size());
    coordinates.forces(frames.data(), x.data(), forces.data(), along.data());
    for (size_t k = 0; k < size; k++) {
        Vector step(size);
        step[k] = 1e-5;
        coordinates.moved(frames.data(), x.data(), step.data(), there.data(), turned.data());
        const double ahead = dot(forces, there);
        step[k] = -1e-5;
        coordinates.moved(frames.data(), x.data(), step.data(), there.data(), turned.data());
        REQUIRE_CLOSE(along[k], (ahead - dot(forces, there)) / 2e-5, 1e-7);
    }
    const Vector step = drawn(size, 1e-7);
    coordinates.moved(frames.data(), x.data(), step.data(), there.data(), turned.data());
    for (size_t i = 0; i < x.size(); i++)
        there[i] -= x[i];
    const double longest = longestVector(there.data(), ATOMS);
    REQUIRE_CLOSE(coordinates.longest(frames.data(), x.data(), step.data()), longest, 1e-5 * longest);
}

/// A dense symmetric stiffness L L^T times a sign.
MoleculeStiffness::Blocks denseStiffness(double sign, std::vector<Vector>& matrix) {
    const size_t size = 3 * ATOMS;
    const Vector root = drawn(size * size, 100);
    matrix.assign(size, Vector(size));
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j < size; j++)
            for (size_t k = 0; k < size; k++)
                matrix[i][j] += sign * root[i * size + k] * root[j * size + k];
    MoleculeStiffness::Blocks blocks;
    for (size_t i = 0; i < ATOMS; i++)
        for (size_t j = 0; j < ATOMS; j++) {
            blocks.rows.push_back(int64_t(i));
            blocks.columns.push_back(int64_t(j));
            for (size_t k = 0; k < 9; k++)
                blocks.values.push_back(matrix[3 * i + k / 3][3 * j + k % 3]);
        }
    return blocks;
}

void testTheMetricIsTheStiffnessAlongTheMotions() {
    const TorsionMotions motions(tree());
    const Vector x = drawn(3 * ATOMS, 0.2);
    std::vector<Vector> matrix;
    const auto blocks = denseStiffness(1, matrix);
    TorsionMetric metric(motions);
    REQUIRE(!metric.isFactorized());
    REQUIRE(metric.update(x.data(), blocks));
    const auto rows = differences(motions, x);
    const Vector torques = drawn(TORSIONS, 1);
    Vector solved = torques;
    metric.solve(solved.data());
    double largest = 0;
    for (size_t t = 0; t < TORSIONS; t++)
        largest = std::max(largest, metric.stiffness()[t * TORSIONS + t]);
    for (size_t s = 0; s < TORSIONS; s++) {
        double product = TorsionMetric::RELATIVE_RIDGE * largest * solved[s];
        for (size_t t = 0; t < TORSIONS; t++) {
            double stiffness = 0;
            for (size_t i = 0; i < 3 * ATOMS; i++)
                stiffness += rows[s][i] * dot(matrix[i], rows[t]);
            REQUIRE_CLOSE(metric.stiffness()[s * TORSIONS + t], stiffness, 1e-6 * largest);
            product += (stiffness + TorsionMetric::MIN_STIFFNESS * dot(rows[s], rows[t])) * solved[t];
        }
        REQUIRE_CLOSE(product, torques[s], 1e-6);
    }
    Vector stiffer = torques;
    REQUIRE(metric.raiseShift());
    metric.solve(stiffer.data());
    REQUIRE(dot(stiffer, torques) < dot(solved, torques));
}

void testTheMetricStaysPositiveOrAsItWas() {
    const TorsionMotions motions(tree());
    const Vector x = drawn(3 * ATOMS, 0.2);
    std::vector<Vector> matrix;
    TorsionMetric metric(motions);
    REQUIRE(metric.update(x.data(), denseStiffness(-1, matrix)));
    for (int k = 0; k < 10; k++) {
        const Vector torques = drawn(TORSIONS, 1);
        Vector solved = torques;
        metric.solve(solved.data());
        REQUIRE(dot(solved, torques) > 0);
    }
    auto blocks = denseStiffness(1, matrix);
    const Vector torques = drawn(TORSIONS, 1);
    Vector before = torques, after = torques;
    metric.solve(before.data());
    blocks.values.back() = std::nan("");
    REQUIRE(!metric.update(x.data(), blocks));
    metric.solve(after.data());
    REQUIRE(before == after);
}

void testBrokenTreesAreRefused() {
    const auto refused = [](const std::function<void(TorsionTree&)>& damage) {
        TorsionTree broken = tree();
        damage(broken);
        return contains(message_of([&] { TorsionMotions made(broken); }), "torsion");
    };
    REQUIRE(refused([](TorsionTree& broken) { broken.axes[0] = ATOMS; }));
    REQUIRE(refused([](TorsionTree& broken) { broken.innermost[0] = TORSIONS; }));
    REQUIRE(refused([](TorsionTree& broken) { broken.ranges[1] = ATOMS + 1; }));
    REQUIRE(refused([](TorsionTree& broken) { broken.parents[1] = 1; }));
    REQUIRE(refused([](TorsionTree& broken) { broken.parents.pop_back(); }));
}

} // namespace

int main() {
    testBondsAndAnglesStay();
    testFullTurnsLeadBack();
    testFirstOrderAndTorquesAreDerivatives();
    testCoordinatesFollowTheirFrames();
    testTheMetricIsTheStiffnessAlongTheMotions();
    testTheMetricStaysPositiveOrAsItWas();
    testBrokenTreesAreRefused();
    std::cout << "Torsions: all tests passed" << std::endl;
}
