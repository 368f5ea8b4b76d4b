#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace OpenMM {
class CustomNonbondedForce;
class Force;
class NonbondedForce;
class System;
} // namespace OpenMM

namespace openmm_reparam {

/// A table of numbers, row by row.
template <class T> struct Table {
    std::vector<T> values;
    size_t columns = 0;
};

/// Masses in daltons, and which particles OpenMM places by others.
struct Particles {
    std::vector<double> masses;
    std::vector<uint8_t> virtualSites;
};

/// Particles of each term, and the numbers that belong to it.
struct Terms {
    Table<int64_t> particles;
    Table<double> parameters;
};

/// Charge (e), sigma (nm) and epsilon (kJ/mol) of particles; charge product, sigma and epsilon of exceptions.
struct NonbondedTable {
    Table<double> particles;
    Table<int64_t> exceptionPairs;
    Table<double> exceptions;
};

Particles readParticles(const OpenMM::System& system);

/// Pairs and distances in nm.
Terms readConstraints(const OpenMM::System& system);

/// Virtual sites and the particles that each is placed by: (site, parent) pairs, and how far
/// the site follows that parent, as a share of its way; 0 where OpenMM has another kind of site.
Terms readVirtualSites(const OpenMM::System& system);

/// Terms of a bonded force; nothing of any other.
///
/// The parameters are those of the force's own class, in OpenMM's order and units. Custom forces and
/// CMAP have none here.
std::optional<Terms> readBondedTerms(const OpenMM::Force& force);

/// Parameters with their offsets at the values of global parameters.
NonbondedTable readNonbonded(const OpenMM::NonbondedForce& force, const std::map<std::string, double>& globals);

Table<int64_t> readExclusions(const OpenMM::CustomNonbondedForce& force);

} // namespace openmm_reparam
