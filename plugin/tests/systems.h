#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "OpenMM.h"
#include "openmm/serialization/XmlSerializer.h"

inline std::string to_xml(const OpenMM::System& system) {
    std::stringstream stream;
    OpenMM::XmlSerializer::serialize<OpenMM::System>(&system, "System", stream);
    return stream.str();
}

constexpr double LENGTH = 0.15, STIFFNESS = 2.5e4;

/// Two particles on a spring, the second one massless if asked.
inline std::string harmonic_pair(double second_mass = 12.0) {
    OpenMM::System system;
    system.addParticle(12.0);
    system.addParticle(second_mass);
    auto* bonds = new OpenMM::HarmonicBondForce();
    bonds->addBond(0, 1, LENGTH, STIFFNESS);
    system.addForce(bonds);
    return to_xml(system);
}

constexpr double SIGMA = 0.34, EPSILON = 0.996;

/// Argon atoms without a cutoff.
inline std::string lennard_jones(int count) {
    OpenMM::System system;
    auto* force = new OpenMM::NonbondedForce();
    for (int i = 0; i < count; i++) {
        system.addParticle(39.9);
        force->addParticle(0.0, SIGMA, EPSILON);
    }
    system.addForce(force);
    return to_xml(system);
}
