// Minimizations from C++: closed forms, rigid water, virtual sites, wrong starts, memory and threads.

#include <algorithm>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include <unistd.h>

#include "OpenMM.h"
#include "checks.h"
#include "openmm_reparam/LocalMinimizer.h"

using namespace OpenMM;
using OpenMMReparam::LocalMinimizer;
using OpenMMReparam::MinimizationResult;

namespace {

/// A System with what it needs to be evaluated.
struct Simulation {
    Simulation(std::unique_ptr<System> made, const std::vector<Vec3>& positions, const char* platform = "Reference")
        : system(std::move(made)), integrator(0.001),
          context(*system, integrator, Platform::getPlatform(platform), properties(platform)) {
        context.setPositions(positions);
    }
    static std::map<std::string, std::string> properties(const std::string& platform) {
        return platform == "CPU" ? std::map<std::string, std::string>{{"Threads", "1"}}
                                 : std::map<std::string, std::string>();
    }
    std::vector<Vec3> positions() const {
        return context.getState(State::Positions).getPositions();
    }
    double energy() const {
        return context.getState(State::Energy).getPotentialEnergy();
    }
    std::unique_ptr<System> system;
    VerletIntegrator integrator;
    Context context;
};

double distance(const Vec3& a, const Vec3& b) {
    return std::sqrt((a - b).dot(a - b));
}

/// A bent chain of beads, bonds and angles of a closed form.
Simulation chain(int beads, const char* platform = "Reference") {
    auto system = std::make_unique<System>();
    auto* bonds = new HarmonicBondForce();
    auto* angles = new HarmonicAngleForce();
    std::mt19937 generator(3);
    std::normal_distribution<double> noise(0.0, 0.02);
    std::vector<Vec3> positions;
    for (int i = 0; i < beads; i++) {
        system->addParticle(12.0);
        if (i > 0)
            bonds->addBond(i - 1, i, 0.15, 2e5);
        if (i > 1)
            angles->addAngle(i - 2, i - 1, i, 1.9, 400.0);
        positions.emplace_back(0.12 * i + noise(generator), 0.09 * (i % 2) + noise(generator), noise(generator));
    }
    system->addForce(bonds);
    system->addForce(angles);
    return Simulation(std::move(system), positions, platform);
}

/// Rigid TIP3P waters on a lattice, turned at random; one with a fourth site where asked for.
Simulation water(int edge, bool fourSites, const char* platform) {
    constexpr double OH = 0.09572, HH = 0.15139;
    auto system = std::make_unique<System>();
    auto* force = new NonbondedForce();
    force->setNonbondedMethod(NonbondedForce::CutoffPeriodic);
    const double spacing = 0.31, box = edge * spacing;
    force->setCutoffDistance(std::min(0.9, 0.45 * box));
    std::mt19937 generator(5);
    std::normal_distribution<double> normal;
    std::vector<Vec3> positions;
    for (int w = 0; w < edge * edge * edge; w++) {
        const int first = system->getNumParticles();
        const double charges[] = {fourSites ? 0.0 : -0.834, 0.417, 0.417, -0.834};
        for (int k = 0; k < (fourSites ? 4 : 3); k++) {
            system->addParticle(k == 0 ? 16.0 : k < 3 ? 1.0 : 0.0);
            force->addParticle(charges[k], k == 0 ? 0.3151 : 1.0, k == 0 ? 0.6364 : 0.0);
            for (int l = 0; l < k; l++)
                force->addException(first + l, first + k, 0.0, 1.0, 0.0);
        }
        system->addConstraint(first, first + 1, OH);
        system->addConstraint(first, first + 2, OH);
        system->addConstraint(first + 1, first + 2, HH);
        if (fourSites)
            system->setVirtualSite(first + 3,
                                   new ThreeParticleAverageSite(first, first + 1, first + 2, 0.786, 0.107, 0.107));
        Vec3 u(normal(generator), normal(generator), normal(generator)), v = u.cross(Vec3(0.3, 1, -0.2));
        u /= std::sqrt(u.dot(u));
        v /= std::sqrt(v.dot(v));
        const Vec3 oxygen(spacing * (w % edge), spacing * (w / edge % edge), spacing * (w / edge / edge));
        const Vec3 middle = u * std::sqrt(OH * OH - HH * HH / 4);
        positions.push_back(oxygen);
        positions.push_back(oxygen + middle + v * (HH / 2));
        positions.push_back(oxygen + middle - v * (HH / 2));
        if (fourSites)
            positions.push_back(oxygen);
    }
    system->addForce(force);
    system->setDefaultPeriodicBoxVectors(Vec3(box, 0, 0), Vec3(0, box, 0), Vec3(0, 0, box));
    return Simulation(std::move(system), positions, platform);
}

void testHarmonicWellsEndAtTheirBottoms() {
    Simulation simulation = chain(20);
    const MinimizationResult result = LocalMinimizer::minimize(simulation.context, 1e-4);
    REQUIRE(result.converged && result.rmsForce <= 1e-4);
    REQUIRE_CLOSE(result.energy, 0, 1e-8);
    REQUIRE_CLOSE(result.energy, simulation.energy(), 1e-10);
    REQUIRE(result.initialEnergy > 1000 && result.iterations < 60 && result.forceEvaluations < 80);
    const auto x = simulation.positions();
    for (size_t i = 1; i < x.size(); i++)
        REQUIRE_CLOSE(distance(x[i - 1], x[i]), 0.15, 1e-6);
}

void testRigidWaterKeepsItsConstraintsAndItsBox() {
    for (const bool fourSites : {false, true}) {
        Simulation ours = water(4, fourSites, "CPU"), theirs = water(4, fourSites, "CPU");
        const MinimizationResult result = LocalMinimizer::minimize(ours.context, 5.0);
        REQUIRE(result.converged && result.rmsForce <= 5.0);
        REQUIRE(result.energy < result.initialEnergy - 1000);
        REQUIRE_CLOSE(result.energy, ours.energy(), 1e-3 * std::abs(result.energy));
        const auto x = ours.positions(), before = theirs.positions();
        const int sites = fourSites ? 4 : 3;
        for (size_t i = 0; i < x.size(); i += sites) {
            REQUIRE_CLOSE(distance(x[i], x[i + 1]), 0.09572, 1e-5 * 0.09572);
            REQUIRE_CLOSE(distance(x[i + 1], x[i + 2]), 0.15139, 1e-5 * 0.15139);
            // No molecule is brought to another image.
            REQUIRE(distance(x[i], before[i]) < 0.3);
            if (fourSites)
                REQUIRE(distance(x[i + 3], x[i] * 0.786 + (x[i + 1] + x[i + 2]) * 0.107) < 1e-6);
        }
        // OpenMM's own ends no lower than where many minima of water lie.
        LocalEnergyMinimizer::minimize(theirs.context, 5.0);
        REQUIRE(result.energy < theirs.energy() + 0.03 * std::abs(theirs.energy()));
    }
}

void testWhatDoesNotMoveStays() {
    Simulation simulation = chain(8);
    simulation.system->setParticleMass(0, 0.0);
    simulation.context.reinitialize(true);
    simulation.context.setVelocities(std::vector<Vec3>(8, Vec3(1, 2, 3)));
    const Vec3 fixed = simulation.positions()[0];
    REQUIRE(LocalMinimizer::minimize(simulation.context, 0.01).converged);
    REQUIRE(simulation.positions()[0] == fixed);
    REQUIRE(simulation.context.getState(State::Velocities).getVelocities()[3] == Vec3(1, 2, 3));
    REQUIRE(simulation.context.getTime() == 0);
}

void testAStartThatIsNotFiniteNamesTheAtom() {
    Simulation simulation = chain(8);
    auto x = simulation.positions();
    x[5][1] = std::numeric_limits<double>::quiet_NaN();
    simulation.context.setPositions(x);
    const std::string said = message_of([&] { LocalMinimizer::minimize(simulation.context); });
    REQUIRE(contains(said, "atom 5") && contains(said, "NaN"));
    // A water twice.
    Simulation twice = water(2, false, "Reference");
    x = twice.positions();
    std::copy_n(x.begin(), 3, x.begin() + 3);
    twice.context.setPositions(x);
    const std::string where = message_of([&] { LocalMinimizer::minimize(twice.context); });
    REQUIRE(contains(where, "atom 0") && contains(where, "atom 3") && contains(where, "one spot"));
    REQUIRE(twice.positions() == x);
}

void testWrongArgumentsAreRefused() {
    Simulation simulation = chain(3);
    REQUIRE(contains(message_of([&] { LocalMinimizer::minimize(simulation.context, 0); }), "tolerance"));
    REQUIRE(contains(message_of([&] { LocalMinimizer::minimize(simulation.context, 1, -1); }), "maxIterations"));
    for (int i = 0; i < 3; i++)
        simulation.system->setParticleMass(i, 0);
    simulation.context.reinitialize(true);
    REQUIRE(contains(message_of([&] { LocalMinimizer::minimize(simulation.context); }), "nothing can move"));
}

class Reporter : public MinimizationReporter {
  public:
    explicit Reporter(int stopAt, bool fails = false) : stopAt(stopAt), fails(fails) {}
    bool report(int iteration, const std::vector<double>& x, const std::vector<double>& gradient,
                std::map<std::string, double>& arguments) override {
        REQUIRE(iteration == calls && x.size() == gradient.size());
        REQUIRE(calls == 0 || arguments["system energy"] <= energy + 1e-6);
        energy = arguments["system energy"];
        if (fails && iteration == 2)
            throw std::logic_error("the disk is full");
        return ++calls == stopAt;
    }
    int calls = 0;
    double energy = 0;

  private:
    int stopAt;
    bool fails;
};

void testAReporterStopsARunAndItsErrorsPutTheContextBack() {
    Simulation simulation = chain(20);
    Reporter stops(5);
    const MinimizationResult result = LocalMinimizer::minimize(simulation.context, 1e-6, 0, &stops);
    REQUIRE(!result.converged && result.iterations == 5 && stops.calls == 5);
    REQUIRE(contains(result.message, "reporter"));
    REQUIRE_CLOSE(simulation.energy(), stops.energy, 1e-9);
    const auto before = simulation.positions();
    Reporter fails(0, true);
    REQUIRE(contains(message_of([&] { LocalMinimizer::minimize(simulation.context, 1e-9, 0, &fails); }), "disk"));
    REQUIRE(simulation.positions() == before);
    REQUIRE(LocalMinimizer::minimize(simulation.context, 1e-9, 2).iterations == 2);
}

void testAnEnergyWithoutABottomEndsByItself() {
    auto system = std::make_unique<System>();
    auto* field = new CustomExternalForce("-100*x");
    for (int i = 0; i < 2; i++) {
        system->addParticle(1.0);
        field->addParticle(i);
    }
    system->addForce(field);
    Simulation simulation(std::move(system), {Vec3(), Vec3(0.3, 0.1, 0)});
    const MinimizationResult result = LocalMinimizer::minimize(simulation.context);
    REQUIRE(!result.converged && contains(result.message, "without bound"));
    REQUIRE(simulation.positions()[0][0] < 10.0);
}

size_t residentBytes() {
    std::ifstream file("/proc/self/statm");
    size_t total = 0, resident = 0;
    file >> total >> resident;
    return resident * size_t(sysconf(_SC_PAGESIZE));
}

void testManyCallsDoNotGrow(int calls) {
    Simulation simulation = chain(4);
    const auto start = simulation.positions();
    size_t before = 0;
    for (int n = 0; n < calls; n++) {
        if (n == calls / 10)
            before = residentBytes();
        simulation.context.setPositions(start);
        LocalMinimizer::minimize(simulation.context, 1.0, 3);
    }
    REQUIRE(residentBytes() < before + (1 << 20));
}

void testThreadsAgreeWithASerialRun() {
    Simulation alone = water(3, false, "CPU");
    const MinimizationResult serial = LocalMinimizer::minimize(alone.context, 10.0);
    Simulation first = water(3, false, "CPU"), second = water(3, false, "CPU");
    MinimizationResult results[2];
    std::thread threads[] = {std::thread([&] { results[0] = LocalMinimizer::minimize(first.context, 10.0); }),
                             std::thread([&] { results[1] = LocalMinimizer::minimize(second.context, 10.0); })};
    for (auto& thread : threads)
        thread.join();
    for (const auto& result : results) {
        REQUIRE(result.converged);
        REQUIRE_CLOSE(result.energy, serial.energy, 1e-3 * std::abs(serial.energy));
    }
}

} // namespace

int main(int argc, char** argv) {
    // Sanitizers keep what is freed, and are slow.
    const int calls = argc > 1 ? std::stoi(argv[1]) : 10000;
    Platform::loadPluginLibrary(Platform::getDefaultPluginsDirectory() + "/libOpenMMCPU.so");
    testHarmonicWellsEndAtTheirBottoms();
    testRigidWaterKeepsItsConstraintsAndItsBox();
    testWhatDoesNotMoveStays();
    testAStartThatIsNotFiniteNamesTheAtom();
    testWrongArgumentsAreRefused();
    testAReporterStopsARunAndItsErrorsPutTheContextBack();
    testAnEnergyWithoutABottomEndsByItself();
    if (calls > 0)
        testManyCallsDoNotGrow(calls);
    testThreadsAgreeWithASerialRun();
    std::cout << "LocalMinimizer: all tests passed" << std::endl;
}
