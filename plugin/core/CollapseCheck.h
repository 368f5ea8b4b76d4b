#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "NearPairs.h"
#include "SystemReader.h"

namespace openmm_reparam {

/// Lennard-Jones and Coulomb energies of a NonbondedForce's pairs, without cutoff and surroundings.
class PairEnergies {
  public:
    explicit PairEnergies(NonbondedTable table);

    /// kJ/mol, of a distance in nm.
    double energy(int64_t i, int64_t j, double distance) const;

    /// Pairs that the force leaves out.
    std::vector<int64_t> excluded() const;

  private:
    NonbondedTable table;
    PairSet exceptions;
};

/// Finds unbonded atoms that are too near because they attract each other.
///
/// A hydrogen without a Lennard-Jones core has an energy without bottom near an opposite charge. What keeps it away are
/// its neighbours, and a long step passes them. Where a NonbondedForce knows a pair, its energy tells a collapse from a
/// clash, and from atoms that overlap on purpose. Of pairs in other potentials nothing is known but that a step to them
/// has lowered the energy far more than it promised.
class CollapseCheck {
  public:
    /// Atoms that are not bonded and feel each other come no nearer (nm) in any sound structure.
    static constexpr double TOO_NEAR = 0.08;

    struct Pair {
        int64_t i, j;
        double distance; ///< nm
    };
    struct Configuration {
        double energy;
        const double *positions, *forces;
    };

    /// `movable` atoms move, or are carried by others that do.
    CollapseCheck(std::optional<PairEnergies> known, PairSet excluded, std::vector<uint8_t> moves,
                  std::vector<uint8_t> movable);

    /// Collapsed pairs, the nearest first; `box` and `before` may be null.
    ///
    /// With `before`, only pairs that were further apart there. Pairs of which no NonbondedForce knows whether they
    /// attract each other count where `unknown`.
    std::vector<Pair> pairs(const double* positions, const double* before, const double* box, double cutoff,
                            bool unknown) const;

    /// Whether no pair has collapsed, of those a NonbondedForce knows.
    bool isSound(const Configuration& configuration, const double* box) const;

    /// Whether a step leads into a collapse, and has to be shorter; it promised a fall of energy to first order.
    bool refuses(const Configuration& before, const Configuration& after, double promised, const double* box) const;

    size_t size() const {
        return moves.size();
    }

  private:
    std::vector<Pair> near(const double* positions, const double* before, const double* box, double cutoff,
                           const std::vector<int64_t>* among) const;
    std::vector<Pair> attracting(std::vector<Pair> near, bool unknown) const;
    std::vector<int64_t> pulled(const double* forces) const;

    std::optional<PairEnergies> known;
    PairSet excluded;
    std::vector<uint8_t> moves, movable;
};

} // namespace openmm_reparam
