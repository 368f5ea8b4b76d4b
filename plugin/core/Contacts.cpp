#include "Contacts.h"

#include <algorithm>
#include <cmath>

#include "StiffTerms.h"

using namespace std;

namespace openmm_reparam {

namespace {

constexpr double CUTOFF = 0.35;                // nm: hydrogen bonds and everything that clashes
// Curvatures of clashing pairs grow without bound; beyond this (kJ/mol/nm^2) they only freeze atoms.
constexpr double LARGEST_CURVATURE = 1e8;
constexpr double SHORTEST = 1e-3; // nm

/// Unit vector of a pair, and the positive parts of its radial and transverse curvatures.
struct Curvature {
    Curvature(const double* v, double product, double sigma, double epsilon) {
        const double r = max(sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), SHORTEST);
        const double ratio = sigma / r, third = ratio * ratio * ratio, sixth = third * third;
        const double coulomb = COULOMB * product / r;
        const double slope = 24 * epsilon * (sixth - 2 * sixth * sixth) - coulomb;
        const double second = 4 * epsilon * (156 * sixth * sixth - 42 * sixth) + 2 * coulomb;
        radial = clamp(second / (r * r), 0.0, LARGEST_CURVATURE);
        transverse = clamp(slope / (r * r), 0.0, LARGEST_CURVATURE);
        for (int d = 0; d < 3; d++)
            unit[d] = v[d] / r;
    }

    /// Adds radial u u^T + transverse (I - u u^T).
    void addTo(double* block) const {
        for (int a = 0; a < 3; a++) {
            for (int b = 0; b < 3; b++)
                block[3 * a + b] += (radial - transverse) * (unit[a] * unit[b]);
            block[4 * a] += transverse;
        }
    }

    double unit[3], radial, transverse;
};

} // namespace

vector<CarriedSite> carriedSites(const Terms& read) {
    vector<CarriedSite> sites;
    for (size_t k = 0; k < read.parameters.values.size(); k++) {
        const int64_t* pair = &read.particles.values[2 * k];
        sites.push_back({pair[0], pair[1], read.parameters.values[k]});
    }
    return sites;
}

Contacts::Contacts(Atoms atoms, PairSet excluded, PairParameters exceptions)
    : atoms(move(atoms)), excluded(move(excluded)), exceptions(move(exceptions)) {
    feels = this->atoms.moves;
    for (const auto& [site, parent, weight] : this->atoms.sites)
        feels[site] |= weight != 0 && feels[parent];
}

/// Gives the blocks of virtual sites to their parents.
///
/// A site at sum_p w_p x_p is as stiff as (sum w_p x_p) . B (sum w_p x_p), which couples its parents. No stiffer than
/// that are blocks of |w_p| (sum |w|) B of their own; for a displacement of all they are the same.
void Contacts::carryOver(vector<double>& blocks) const {
    vector<double> sums(size(), 0.0);
    for (const auto& [site, parent, weight] : atoms.sites)
        sums[site] += abs(weight);
    for (const auto& [site, parent, weight] : atoms.sites)
        for (int d = 0; d < 9 && atoms.moves[parent]; d++)
            blocks[9 * parent + d] += abs(weight) * sums[site] * blocks[9 * site + d];
    for (const CarriedSite& carried : atoms.sites)
        fill_n(&blocks[9 * carried.site], 9, 0.0);
}

ContactStiffness Contacts::evaluate(const double* positions, const double* box) const {
    ContactStiffness found;
    found.blocks.assign(9 * size(), 0.0);
    const auto add = [&](int64_t i, int64_t j, const Curvature& curvature) {
        const bool first = feels[i], second = feels[j];
        if (curvature.radial + curvature.transverse <= 0)
            return;
        if (first && second && atoms.couples[i] && atoms.molecules[i] == atoms.molecules[j]) {
            found.pairs.insert(found.pairs.end(), {i, j});
            found.curvatures.insert(found.curvatures.end(), curvature.unit, curvature.unit + 3);
            found.curvatures.insert(found.curvatures.end(), {curvature.radial, curvature.transverse});
            return;
        }
        // An atom that does not move is a wall to the other one of its pair.
        if (first)
            curvature.addTo(&found.blocks[9 * i]);
        if (second)
            curvature.addTo(&found.blocks[9 * j]);
    };
    forNearPairs(positions, size(), CUTOFF, box, [&](int64_t i, int64_t j, const double* v) {
        if (!excluded.contains(i, j))
            add(i, j, Curvature(v, atoms.charges[i] * atoms.charges[j], (atoms.sigmas[i] + atoms.sigmas[j]) / 2,
                                sqrt(max(atoms.epsilons[i] * atoms.epsilons[j], 0.0))));
    });
    for (size_t k = 0; k < exceptions.products.size(); k++) {
        const int64_t i = exceptions.pairs[2 * k], j = exceptions.pairs[2 * k + 1];
        double v[3];
        for (int d = 0; d < 3; d++)
            v[d] = positions[3 * i + d] - positions[3 * j + d];
        toNearestImage(v, box);
        add(i, j, Curvature(v, exceptions.products[k], exceptions.sigmas[k], exceptions.epsilons[k]));
    }
    carryOver(found.blocks);
    return found;
}

} // namespace openmm_reparam
