// Energies against closed forms, batches against single evaluations, and every wrong input.

#include <cstring>
#include <limits>
#include <random>
#include <thread>

#include "checks.h"
#include "openmm_reparam/ReplicaPool.h"
#include "systems.h"

using namespace openmm_reparam;

namespace {

PotentialOptions options(const std::string& xml, int replicas = 1, const std::string& platform = "Reference") {
    PotentialOptions options;
    options.systemXml = xml;
    options.platform = platform;
    options.replicas = replicas;
    return options;
}

void testHarmonicPair(const std::string& platform) {
    ReplicaPool pool(options(harmonic_pair(), 1, platform));
    const double x[] = {0.1, 0.2, 0.3, 0.1, 0.2, 0.48};
    double energy, forces[6];
    pool.evaluate(x, 1, &energy, forces);
    const double stretch = 0.18 - LENGTH;
    REQUIRE_CLOSE(energy, 0.5 * STIFFNESS * stretch * stretch, 1e-5 * energy);
    REQUIRE_CLOSE(forces[2], STIFFNESS * stretch, 1e-5 * STIFFNESS);
    REQUIRE_CLOSE(forces[5], -STIFFNESS * stretch, 1e-5 * STIFFNESS);
    REQUIRE_CLOSE(forces[0], 0.0, 1e-9);
    REQUIRE(pool.particles() == 2 && pool.replicas() == 1 && pool.evaluations() == 1);
    REQUIRE(pool.platform() == platform);
}

void testLennardJonesTrimer() {
    // The equilateral triangle of side 2^(1/6) sigma: three bonds of depth epsilon, and no force.
    const double a = std::pow(2.0, 1.0 / 6.0) * SIGMA;
    const double x[] = {0, 0, 0, a, 0, 0, a / 2, a * std::sqrt(3.0) / 2, 0};
    ReplicaPool pool(options(lennard_jones(3)));
    double energy, forces[9];
    pool.evaluate(x, 1, &energy, forces);
    REQUIRE_CLOSE(energy, -3 * EPSILON, 1e-10);
    for (double force : forces)
        REQUIRE_CLOSE(force, 0.0, 1e-9);
}

void testBatchIsSingleEvaluationsBitForBit() {
    constexpr int batch = 5, atoms = 20, size = 3 * atoms;
    std::mt19937 generator(0);
    std::uniform_real_distribution<double> uniform(0.0, 1.5);
    std::vector<double> x(batch * size), forces(batch * size), single(size);
    for (double& coordinate : x)
        coordinate = uniform(generator);
    double energies[batch], energy;
    ReplicaPool many(options(lennard_jones(atoms), batch)), one(options(lennard_jones(atoms)));
    // Twice: threads that exist already must do the same.
    for (int round = 0; round < 2; round++) {
        many.evaluate(x.data(), batch, energies, forces.data());
        for (int b = 0; b < batch; b++) {
            one.evaluate(&x[b * size], 1, &energy, single.data());
            REQUIRE(energy == energies[b]);
            REQUIRE(std::memcmp(single.data(), &forces[b * size], sizeof(double) * size) == 0);
        }
    }
    REQUIRE(many.evaluations() == 2 * batch);
    many.evaluate(x.data(), 2, energies, forces.data());
    REQUIRE(many.evaluations() == 2 * batch + 2);
}

void testParametersGroupsAndFixedParticles() {
    OpenMM::System system;
    system.addParticle(1.0);
    system.addParticle(0.0);
    auto* external = new OpenMM::CustomExternalForce("k*x^2");
    external->addGlobalParameter("k", 1.0);
    external->addParticle(0);
    external->addParticle(1);
    auto* elsewhere = new OpenMM::CustomExternalForce("100*y");
    elsewhere->addParticle(0);
    elsewhere->setForceGroup(3);
    system.addForce(external);
    system.addForce(elsewhere);
    PotentialOptions made = options(to_xml(system));
    made.parameters["k"] = 7.0;
    made.forceGroups = 1;
    ReplicaPool pool(made);
    const double x[] = {0.5, 1.0, 0.0, 2.0, 0.0, 0.0};
    double energy, forces[6];
    pool.evaluate(x, 1, &energy, forces);
    REQUIRE_CLOSE(energy, 7.0 * (0.25 + 4.0), 1e-12);
    REQUIRE_CLOSE(forces[0], -7.0, 1e-12);
    REQUIRE(forces[1] == 0.0);
    REQUIRE(forces[3] == 0.0);
    made.parameters.clear();
    made.parameters["not there"] = 1.0;
    REQUIRE(contains(message_of([&] { ReplicaPool wrong(made); }), "not there"));
}

void testVirtualSites() {
    OpenMM::System system;
    for (int i = 0; i < 2; i++)
        system.addParticle(1.0);
    system.addParticle(0.0);
    system.setVirtualSite(2, new OpenMM::TwoParticleAverageSite(0, 1, 0.5, 0.5));
    auto* external = new OpenMM::CustomExternalForce("10*x");
    external->addParticle(2);
    system.addForce(external);
    ReplicaPool pool(options(to_xml(system)));
    const double x[] = {1, 0, 0, 3, 0, 0, 99, 99, 99};
    double energy, forces[9];
    pool.evaluate(x, 1, &energy, forces);
    REQUIRE_CLOSE(energy, 20.0, 1e-12);
    REQUIRE_CLOSE(forces[0], -5.0, 1e-12);
    REQUIRE(forces[6] == 0.0);
}

void testWrongInput() {
    REQUIRE(contains(message_of([] { ReplicaPool pool(options("")); }), "XML is empty"));
    REQUIRE(contains(message_of([] { ReplicaPool pool(options("<System")); }), "cannot be read"));
    REQUIRE(contains(message_of([] { ReplicaPool pool(options("<Integrator type=\"x\"/>")); }), "cannot be read"));
    REQUIRE(contains(message_of([] { ReplicaPool pool(options(harmonic_pair(), 0)); }), "at least 1"));
    REQUIRE(contains(message_of([] { ReplicaPool pool(options(harmonic_pair(), 1, "Abacus")); }), "Abacus"));
    ReplicaPool pool(options(harmonic_pair(), 2));
    double x[18] = {0, 0, 0, 0.1, 0, 0, 0, 0, 0, 0.1, 0, 0}, energies[3], forces[18];
    REQUIRE(contains(message_of([&] { pool.evaluate(x, 3, energies, forces); }), "2 replicas"));
    for (int particle : {0, 3}) {
        x[3 * particle] = std::numeric_limits<double>::quiet_NaN();
        const std::string said = message_of([&] { pool.evaluate(x, 2, energies, forces); });
        REQUIRE(contains(said, "particle " + std::to_string(particle % 2) + " is NaN"));
        x[3 * particle] = 0.0;
    }
    // What failed leaves nothing behind.
    pool.evaluate(x, 2, energies, forces);
    REQUIRE(std::isfinite(energies[0]));
}

void testThreadsMayShareAPool() {
    constexpr int atoms = 30, size = 3 * atoms, rounds = 50;
    ReplicaPool pool(options(lennard_jones(atoms), 2));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&pool, t] {
            std::vector<double> x(2 * size), forces(2 * size);
            double energies[2], first = 0;
            for (int i = 0; i < 2 * size; i++)
                x[i] = 0.35 * ((i * (t + 3)) % 17) + 0.01 * i;
            for (int round = 0; round < rounds; round++) {
                pool.evaluate(x.data(), 2, energies, forces.data());
                if (round == 0)
                    first = energies[0] + energies[1];
                REQUIRE(energies[0] + energies[1] == first);
            }
        });
    for (auto& thread : threads)
        thread.join();
    REQUIRE(pool.evaluations() == 4 * rounds * 2);
}

} // namespace

int main() {
    OpenMM::Platform::loadPluginLibrary(OpenMM::Platform::getDefaultPluginsDirectory() + "/libOpenMMCPU.so");
    testHarmonicPair("Reference");
    testHarmonicPair("CPU");
    testLennardJonesTrimer();
    testBatchIsSingleEvaluationsBitForBit();
    testParametersGroupsAndFixedParticles();
    testVirtualSites();
    testWrongInput();
    testThreadsMayShareAPool();
    std::cout << "ReplicaPool: all tests passed" << std::endl;
}
