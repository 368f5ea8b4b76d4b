// Minimizes a box of rigid water with OpenMM's own minimizer and with this package's, from C++.
//
//     cmake -S . -B build/cpp -DPYTHON_MODULE=OFF -DTORCH_PLUGIN=OFF && cmake --build build/cpp
//     OPENMM_PLUGIN_DIR=<OpenMM's lib/plugins> build/cpp/minimize_water

#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#include "OpenMM.h"
#include "openmm_reparam/LocalMinimizer.h"

namespace {

constexpr double OH = 0.09572, HH = 0.15139, SPACING = 0.31;
constexpr int EDGE = 4;

void addWater(OpenMM::System& system, OpenMM::NonbondedForce& force, std::vector<OpenMM::Vec3>& positions,
              const OpenMM::Vec3& oxygen, double turn) {
    const int first = system.addParticle(16.0);
    system.addParticle(1.0);
    system.addParticle(1.0);
    force.addParticle(-0.834, 0.3151, 0.6364);
    force.addParticle(0.417, 1.0, 0.0);
    force.addParticle(0.417, 1.0, 0.0);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < i; j++) {
            force.addException(first + i, first + j, 0.0, 1.0, 0.0);
            system.addConstraint(first + i, first + j, j == 0 ? OH : HH);
        }
    const OpenMM::Vec3 axis(std::cos(turn), std::sin(turn), 0), across(-std::sin(turn), std::cos(turn), 0);
    const double height = std::sqrt(OH * OH - HH * HH / 4);
    positions.push_back(oxygen);
    positions.push_back(oxygen + axis * height + across * (HH / 2));
    positions.push_back(oxygen + axis * height - across * (HH / 2));
}

} // namespace

int main() {
    OpenMM::Platform::loadPluginsFromDirectory(OpenMM::Platform::getDefaultPluginsDirectory());
    OpenMM::System system;
    auto* force = new OpenMM::NonbondedForce();
    force->setNonbondedMethod(OpenMM::NonbondedForce::PME);
    force->setCutoffDistance(0.6);
    system.addForce(force);
    std::vector<OpenMM::Vec3> positions;
    for (int w = 0; w < EDGE * EDGE * EDGE; w++) {
        const OpenMM::Vec3 cell(w % EDGE, w / EDGE % EDGE, w / EDGE / EDGE);
        addWater(system, *force, positions, cell * SPACING, 2.4 * w);
    }
    const double box = EDGE * SPACING;
    system.setDefaultPeriodicBoxVectors(OpenMM::Vec3(box, 0, 0), OpenMM::Vec3(0, box, 0), OpenMM::Vec3(0, 0, box));

    OpenMM::VerletIntegrator integrator(0.001);
    OpenMM::Context context(system, integrator);
    context.setPositions(positions);
    OpenMM::LocalEnergyMinimizer::minimize(context, 10.0);
    std::printf("OpenMM's:    %.1f kJ/mol\n", context.getState(OpenMM::State::Energy).getPotentialEnergy());

    context.setPositions(positions);
    const auto result = OpenMMReparam::LocalMinimizer::minimize(context, 10.0);
    std::printf("this one's:  %.1f kJ/mol, RMS force %.2f kJ/mol/nm after %d force evaluations: %s\n", result.energy,
                result.rmsForce, result.forceEvaluations, result.message.c_str());
    return result.converged ? 0 : 1;
}
