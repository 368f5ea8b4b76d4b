// What a descent is made of: tables of a System, near pairs, terms, factors and constraints, against dense algebra.

#include <Eigen/Dense>
#include <algorithm>
#include <iostream>
#include <random>
#include <set>

#include "Constraints.h"
#include "MoleculeStiffness.h"
#include "NearPairs.h"
#include "OpenMM.h"
#include "openmm/serialization/XmlSerializer.h"
#include "StiffTerms.h"
#include "SystemReader.h"
#include "checks.h"

using namespace openmm_reparam;
using Vector = std::vector<double>;

namespace {

std::mt19937 generator(0);

Vector randomNumbers(size_t count, double scale = 1.0) {
    std::normal_distribution<double> normal(0.0, scale);
    Vector numbers(count);
    for (double& number : numbers)
        number = normal(generator);
    return numbers;
}

void testTablesOfASystem() {
    OpenMM::System system;
    for (const double mass : {12.0, 0.0, 1.0})
        system.addParticle(mass);
    system.addParticle(0.0);
    system.setVirtualSite(3, new OpenMM::TwoParticleAverageSite(0, 2, 0.25, 0.75));
    system.addConstraint(0, 2, 0.11);
    const Particles particles = readParticles(system);
    REQUIRE(particles.masses == Vector({12, 0, 1, 0}));
    REQUIRE(particles.virtualSites == std::vector<uint8_t>({0, 0, 0, 1}));
    REQUIRE(readConstraints(system).particles.values == std::vector<int64_t>({0, 2}));
    REQUIRE(readConstraints(system).parameters.values == Vector({0.11}));
    REQUIRE(readVirtualSites(system).particles.values == std::vector<int64_t>({3, 0, 3, 2}));
    REQUIRE(readVirtualSites(system).parameters.values == Vector({0.25, 0.75}));
    OpenMM::PeriodicTorsionForce torsions;
    torsions.addTorsion(3, 2, 1, 0, 3, 0.5, 7.0);
    const auto read = readBondedTerms(torsions);
    REQUIRE(read->particles.values == std::vector<int64_t>({3, 2, 1, 0}));
    REQUIRE(read->parameters.values == Vector({3, 0.5, 7}));
    REQUIRE(!readBondedTerms(OpenMM::NonbondedForce()));
    OpenMM::NonbondedForce nonbonded;
    nonbonded.addGlobalParameter("lambda", 1.0);
    for (int i = 0; i < 4; i++)
        nonbonded.addParticle(0.1 * i, 0.3, 0.5);
    nonbonded.addException(0, 3, 0.2, 0.4, 0.6);
    nonbonded.addParticleParameterOffset("lambda", 2, 1.0, 0.1, 0.0);
    const NonbondedTable table = readNonbonded(nonbonded, {{"lambda", 0.5}});
    REQUIRE_CLOSE(table.particles.values[6], 0.7, 1e-12);
    REQUIRE_CLOSE(table.particles.values[7], 0.35, 1e-12);
    REQUIRE(table.exceptions.values == Vector({0.2, 0.4, 0.6}));
}

void testNearPairsAreThoseOfAllPairsAndImages() {
    const double box[] = {1.3, 0, 0, 0.3, 1.2, 0, -0.4, 0.5, 1.1};
    const size_t size = 40;
    Vector x = randomNumbers(3 * size, 0.8);
    for (const double* cell : {static_cast<const double*>(nullptr), box}) {
        std::multiset<std::pair<int64_t, int64_t>> found, expected;
        forNearPairs(x.data(), size, 0.4, cell, [&](int64_t i, int64_t j, const double* v) {
            REQUIRE(i < j && v[0] * v[0] + v[1] * v[1] + v[2] * v[2] <= 0.16);
            found.emplace(i, j);
        });
        const int most = cell == nullptr ? 0 : 9;
        for (size_t i = 0; i < size; i++)
            for (size_t j = i + 1; j < size; j++)
                for (int a = -most; a <= most; a++)
                    for (int b = -most; b <= most; b++)
                        for (int c = -most; c <= most; c++) {
                            double square = 0;
                            for (int d = 0; d < 3; d++) {
                                double v = x[3 * i + d] - x[3 * j + d];
                                if (cell != nullptr)
                                    v += a * cell[d] + b * cell[3 + d] + c * cell[6 + d];
                                square += v * v;
                            }
                            if (square <= 0.16)
                                expected.emplace(i, j);
                        }
        REQUIRE(!found.empty() && found == expected);
    }
}

void testPlacesOfPairs() {
    const int64_t pairs[] = {4, 1, 0, 3, 2, 1};
    const PairSet set(pairs, 3, 5);
    REQUIRE(set.find(1, 4) == 0 && set.find(4, 1) == 0 && set.find(1, 2) == 2);
    REQUIRE(!set.contains(0, 1) && !set.contains(2, 2));
    REQUIRE(contains(message_of([&] { PairSet(pairs, 3, 4); }), "does not exist"));
}

/// Minus the forces of one bonded force, by OpenMM.
Vector gradientOf(const OpenMM::Force& force, const Vector& x) {
    OpenMM::System system;
    std::vector<OpenMM::Vec3> positions;
    for (size_t i = 0; i < x.size() / 3; i++) {
        system.addParticle(1.0);
        positions.emplace_back(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
    }
    system.addForce(OpenMM::XmlSerializer::clone(force));
    OpenMM::VerletIntegrator integrator(0.001);
    OpenMM::Context context(system, integrator, OpenMM::Platform::getPlatform("Reference"));
    context.setPositions(positions);
    Vector gradient;
    const OpenMM::State state = context.getState(OpenMM::State::Forces);
    for (const auto& f : state.getForces())
        gradient.insert(gradient.end(), {-f[0], -f[1], -f[2]});
    return gradient;
}

void testRowsOfTermsMakeTheHessianAtTheirBottoms() {
    // A bond, an angle and a torsion, each at its minimum in this geometry: there the Hessian is R^T R.
    const Vector x = {0, 0, 0, 0.15, 0, 0, 0.15, 0.14, 0, 0.15, 0.14, 0.13};
    OpenMM::HarmonicBondForce bonds;
    bonds.addBond(0, 1, 0.15, 400);
    OpenMM::HarmonicAngleForce angles;
    angles.addAngle(0, 1, 2, M_PI / 2, 9);
    OpenMM::PeriodicTorsionForce torsions;
    torsions.addTorsion(0, 1, 2, 3, 2, 0.0, 5.0);
    OpenMM::RBTorsionForce polynomial;
    polynomial.addTorsion(0, 1, 2, 3, 0, 0, 3, 0, 0, 0);
    const std::vector<const OpenMM::Force*> forces{&bonds, &angles, &torsions, &polynomial};
    for (const OpenMM::Force* force : forces) {
        const auto found = StiffTerms::ofForce(*force);
        REQUIRE(found.size() == 1 && found[0].count() == 1);
        const auto& atoms = found[0].atoms().values;
        Vector row(3 * atoms.size());
        found[0].rows(x.data(), nullptr, row.data());
        Vector full(x.size());
        for (size_t k = 0; k < atoms.size(); k++)
            std::copy_n(&row[3 * k], 3, &full[3 * atoms[k]]);
        double largest = 0;
        for (size_t i = 0; i < x.size(); i++) {
            const double h = 1e-5;
            Vector up = x, down = x;
            up[i] += h;
            down[i] -= h;
            const Vector above = gradientOf(*force, up), below = gradientOf(*force, down);
            for (size_t j = 0; j < x.size(); j++) {
                const double second = (above[j] - below[j]) / (2 * h);
                REQUIRE_CLOSE(full[i] * full[j], second, 1e-4 * 2000);
                largest = std::max(largest, std::abs(second));
            }
        }
        REQUIRE(largest > 100);
    }
}

void testConstraintsAndBondsOfNoLengthHaveRows() {
    const Vector x = {0, 0, 0, 0.1, 0, 0.1};
    Vector row(6);
    OpenMM::System held;
    held.addParticle(1);
    held.addParticle(1);
    held.addConstraint(0, 1, 0.15);
    StiffTerms::ofConstraints(held)[0].rows(x.data(), nullptr, row.data());
    REQUIRE_CLOSE(row[3] * row[3] + row[4] * row[4] + row[5] * row[5], CONSTRAINT_STIFFNESS, 1e-6);
    OpenMM::HarmonicBondForce bonds;
    bonds.addBond(0, 1, 0.15, 400);
    bonds.addBond(0, 1, 0.0, 25);
    const auto found = StiffTerms::ofForce(bonds);
    REQUIRE(found.size() == 2 && found[1].count() == 3);
    Vector rows(18);
    found[1].rows(x.data(), nullptr, rows.data());
    for (int axis = 0; axis < 3; axis++)
        REQUIRE(rows[6 * axis + axis] == 5 && rows[6 * axis + 3 + axis] == -5);
    REQUIRE(StiffTerms::ofForce(OpenMM::CMAPTorsionForce()).empty());
}

/// A water, a chain of large size, another water, an ion, with terms of two kinds: the dense stiffness beside the assembled one.
void testFactorsAreThoseOfTheDenseMatrix() {
    const size_t chain = 25, size = chain + 7, last = 3 + chain - 1;
    TermAtoms bonds{{}, 2}, angles{{}, 3};
    for (size_t i = 3; i + 1 <= last; i++)
        bonds.atoms.insert(bonds.atoms.end(), {int64_t(i), int64_t(i + 1)});
    for (size_t i = 3; i + 2 <= last; i++)
        angles.atoms.insert(angles.atoms.end(), {int64_t(i), int64_t(i + 1), int64_t(i + 2)});
    for (const int64_t first : {size_t(0), last + 1})
        bonds.atoms.insert(bonds.atoms.end(), {first, first + 1, first, first + 2, first + 1, first + 2});
    std::vector<uint8_t> moves(size, 1);
    moves[7] = moves[1] = 0;
    const std::vector<TermAtoms> terms{bonds, angles};
    std::vector<Vector> rows;
    Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(3 * size, 3 * size);
    for (const TermAtoms& kind : terms) {
        rows.push_back(randomNumbers(3 * kind.atoms.size(), 3.0));
        for (size_t k = 0; k < kind.atoms.size(); k++)
            if (!moves[kind.atoms[k]])
                std::fill_n(&rows.back()[3 * k], 3, 0.0);
        for (size_t t = 0; t < kind.atoms.size(); t += kind.width) {
            Eigen::VectorXd row = Eigen::VectorXd::Zero(3 * size);
            for (size_t k = t; k < t + kind.width; k++)
                for (int d = 0; d < 3; d++)
                    row[3 * kind.atoms[k] + d] += rows.back()[3 * k + d];
            dense += row * row.transpose();
        }
    }
    // A contact across the chain.
    const int64_t pair[] = {5, 23};
    const double curvature[] = {0, 0.6, 0.8, 50, 2};
    Eigen::VectorXd across = Eigen::VectorXd::Zero(3 * size);
    for (int d = 0; d < 3; d++) {
        across[3 * 5 + d] = curvature[d];
        across[3 * 23 + d] = -curvature[d];
    }
    dense += 50 * across * across.transpose();
    Vector walls(9 * size);
    walls[9 * (size - 1)] = 5;
    dense(3 * (size - 1), 3 * (size - 1)) += 5;
    MoleculeAssembler assembler(moves, terms, {});
    MoleculeStiffness stiffness = assembler.assemble({rows[0].data(), rows[1].data()}, walls.data(),
                                                     {1, pair, curvature}, {0, nullptr, nullptr});
    REQUIRE(assembler.molecules().large.size() == chain && assembler.molecules().batches.size() == 2);
    Eigen::MatrixXd summed = Eigen::MatrixXd::Zero(3 * size, 3 * size);
    const auto blocks = stiffness.blocks();
    for (size_t k = 0; k < blocks.rows.size(); k++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                summed(3 * blocks.rows[k] + a, 3 * blocks.columns[k] + b) += blocks.values[9 * k + 3 * a + b];
    REQUIRE((summed - dense).cwiseAbs().maxCoeff() < 1e-10);
    const auto factors = stiffness.factorize(0.7);
    REQUIRE(factors->shift() == 0.7);
    Vector v = randomNumbers(3 * size);
    Eigen::VectorXd expected = (dense + 0.7 * Eigen::MatrixXd::Identity(3 * size, 3 * size))
                                   .ldlt()
                                   .solve(Eigen::Map<Eigen::VectorXd>(v.data(), 3 * size));
    factors->solve(v.data());
    for (size_t i = 0; i < 3 * size; i++)
        REQUIRE_CLOSE(v[i], moves[i / 3] ? expected[i] : 0.0, 1e-8);
}

void testProjectionIsThatOfDenseAlgebra() {
    // A rigid water, a chain of constraints, and four atoms with all six distances and one of them twice.
    const std::vector<int64_t> pairs = {0, 1, 0, 2, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 7, 9, 7, 10, 8, 9, 8, 10, 9, 10, 7, 8};
    const size_t size = 11, count = pairs.size() / 2;
    const Vector x = randomNumbers(3 * size), lengths(count, 0.1);
    Constraints constraints(pairs.data(), lengths.data(), count, size);
    Eigen::MatrixXd jacobian = Eigen::MatrixXd::Zero(count, 3 * size);
    for (size_t c = 0; c < count; c++)
        for (int d = 0; d < 3; d++) {
            const double v = x[3 * pairs[2 * c] + d] - x[3 * pairs[2 * c + 1] + d];
            jacobian(c, 3 * pairs[2 * c] + d) = v;
            jacobian(c, 3 * pairs[2 * c + 1] + d) = -v;
        }
    Vector v = randomNumbers(3 * size);
    const Eigen::VectorXd before = Eigen::Map<Eigen::VectorXd>(v.data(), 3 * size);
    const Eigen::VectorXd expected =
        before - jacobian.completeOrthogonalDecomposition().solve(jacobian * before);
    constraints.project(x.data(), v.data());
    for (size_t i = 0; i < 3 * size; i++)
        REQUIRE_CLOSE(v[i], expected[i], 1e-6);
}

void testNewtonReachesTheLengths() {
    const int64_t pairs[] = {0, 1, 0, 2, 1, 2};
    const double lengths[] = {0.09572, 0.09572, 0.15139};
    Constraints constraints(pairs, lengths, 3, 3);
    Vector x = {0, 0, 0, 0.1, 0.01, 0, -0.02, 0.1, 0.01}, errors(3);
    for (int n = 0; n < 8; n++)
        constraints.approach(x.data());
    constraints.errors(x.data(), errors.data());
    REQUIRE(*std::max_element(errors.begin(), errors.end()) < 1e-12);
    x[0] = std::nan("");
    constraints.errors(x.data(), errors.data());
    REQUIRE(std::isinf(errors[0]) && !std::isinf(errors[2]));
}

} // namespace

int main() {
    testTablesOfASystem();
    testNearPairsAreThoseOfAllPairsAndImages();
    testPlacesOfPairs();
    testRowsOfTermsMakeTheHessianAtTheirBottoms();
    testConstraintsAndBondsOfNoLengthHaveRows();
    testFactorsAreThoseOfTheDenseMatrix();
    testProjectionIsThatOfDenseAlgebra();
    testNewtonReachesTheLengths();
    std::cout << "Core: all tests passed" << std::endl;
}
