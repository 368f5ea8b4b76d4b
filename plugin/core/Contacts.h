#pragma once

#include <cstdint>
#include <vector>

#include "NearPairs.h"
#include "SystemReader.h"

namespace openmm_reparam {

constexpr double COULOMB = 138.93545764438198; ///< kJ/mol nm / e^2, as in OpenMM

/// What contacts add to a preconditioner.
struct ContactStiffness {
    std::vector<double> blocks;     ///< size x 3 x 3: of each atom against surroundings that are held still
    std::vector<int64_t> pairs;     ///< pairs whose atoms may be coupled
    std::vector<double> curvatures; ///< of those: unit vector, radial and transverse curvature, 5 each
};

/// Charge products (e^2), sigmas (nm) and epsilons (kJ/mol) of pairs.
struct PairParameters {
    std::vector<int64_t> pairs;
    std::vector<double> products, sigmas, epsilons;
};

/// A virtual site that follows a parent by a share of its way.
struct CarriedSite {
    int64_t site, parent;
    double weight;
};

std::vector<CarriedSite> carriedSites(const Terms& read);

/// Positive curvature of Lennard-Jones and Coulomb pairs that stand close.
class Contacts {
  public:
    struct Atoms {
        std::vector<double> charges, sigmas, epsilons;
        std::vector<int64_t> molecules; ///< a label for each
        std::vector<uint8_t> couples;   ///< whether it may be coupled to atoms of its molecule
        std::vector<uint8_t> moves;
        std::vector<CarriedSite> sites;
    };

    /// `excluded` are pairs that are no contacts, `exceptions` contacts with parameters of their own.
    Contacts(Atoms atoms, PairSet excluded, PairParameters exceptions);

    /// `positions` holds 3 coordinates in nm for each atom, `box` three vectors or null.
    ContactStiffness evaluate(const double* positions, const double* box) const;

    size_t size() const {
        return atoms.charges.size();
    }

  private:
    void carryOver(std::vector<double>& blocks) const;

    Atoms atoms;
    std::vector<uint8_t> feels; ///< whether an atom moves, or a site that atoms carry
    PairSet excluded;
    PairParameters exceptions;
};

} // namespace openmm_reparam
