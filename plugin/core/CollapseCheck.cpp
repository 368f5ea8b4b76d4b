#include "CollapseCheck.h"

#include <algorithm>
#include <cmath>

#include "Contacts.h"
#include "StiffTerms.h"

using namespace std;

namespace openmm_reparam {

namespace {

// A pair of charges nearer than `TOO_NEAR` pulls with more (kJ/mol/nm): hydroxyl and carboxylate 6000.
constexpr double LARGE_FORCE = 1000.0;
// A step's fall of energy beyond so many times what its slope promises is looked into.
constexpr double SUSPICIOUS_FALL = 2.0;
// So much of a step's fall that comes from pairs too near is a collapse; less is the end of a clash.
constexpr double LARGE_SHARE = 0.5;
// Distances (nm) are no shorter, so that the twelfth power stays finite.
constexpr double SHORTEST = 1e-4;

double distanceOf(const double* positions, int64_t i, int64_t j, const double* box) {
    double v[3];
    for (int d = 0; d < 3; d++)
        v[d] = positions[3 * i + d] - positions[3 * j + d];
    toNearestImage(v, box);
    return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

} // namespace

PairEnergies::PairEnergies(NonbondedTable given)
    : table(move(given)),
      exceptions(table.exceptionPairs.values.data(), table.exceptionPairs.values.size() / 2,
                 table.particles.values.size() / 3) {}

double PairEnergies::energy(int64_t i, int64_t j, double distance) const {
    const double *a = &table.particles.values[3 * i], *b = &table.particles.values[3 * j];
    double product = a[0] * b[0], sigma = (a[1] + b[1]) / 2, epsilon = sqrt(max(a[2] * b[2], 0.0));
    const int64_t exception = exceptions.find(i, j);
    if (exception >= 0) {
        const double* own = &table.exceptions.values[3 * exception];
        product = own[0];
        sigma = own[1];
        epsilon = own[2];
    }
    const double r = max(distance, SHORTEST), third = pow(sigma / r, 3), sixth = third * third;
    return 4 * epsilon * (sixth * sixth - sixth) + COULOMB * product / r;
}

vector<int64_t> PairEnergies::excluded() const {
    vector<int64_t> found;
    for (size_t k = 0; k < table.exceptions.values.size() / 3; k++)
        if (table.exceptions.values[3 * k] == 0 && table.exceptions.values[3 * k + 2] == 0)
            found.insert(found.end(), {table.exceptionPairs.values[2 * k], table.exceptionPairs.values[2 * k + 1]});
    return found;
}

CollapseCheck::CollapseCheck(optional<PairEnergies> known, PairSet excluded, vector<uint8_t> moves,
                             vector<uint8_t> movable)
    : known(move(known)), excluded(move(excluded)), moves(move(moves)), movable(move(movable)) {}

vector<CollapseCheck::Pair> CollapseCheck::pairs(const double* positions, const double* before, const double* box,
                                                 double cutoff, bool unknown) const {
    vector<Pair> found = attracting(near(positions, before, box, cutoff, nullptr), unknown);
    stable_sort(found.begin(), found.end(), [](const Pair& a, const Pair& b) { return a.distance < b.distance; });
    return found;
}

bool CollapseCheck::isSound(const Configuration& configuration, const double* box) const {
    const vector<int64_t> among = pulled(configuration.forces);
    return !known || among.empty() ||
           attracting(near(configuration.positions, nullptr, box, TOO_NEAR, &among), false).empty();
}

bool CollapseCheck::refuses(const Configuration& before, const Configuration& after, double promised,
                            const double* box) const {
    const double fall = before.energy - after.energy;
    const vector<int64_t> among = pulled(after.forces);
    if (known && !among.empty()) {
        double gained = 0;
        const vector<Pair> found =
            attracting(near(after.positions, before.positions, box, TOO_NEAR, &among), false);
        for (const auto& [i, j, distance] : found)
            gained += known->energy(i, j, distanceOf(before.positions, i, j, box)) - known->energy(i, j, distance);
        if (!found.empty() && gained > LARGE_SHARE * fall)
            return true;
    }
    if (fall <= SUSPICIOUS_FALL * promised)
        return false;
    return !known && !pairs(after.positions, before.positions, box, TOO_NEAR, true).empty();
}

vector<CollapseCheck::Pair> CollapseCheck::near(const double* positions, const double* before, const double* box,
                                                double cutoff, const vector<int64_t>* among) const {
    vector<double> chosen;
    if (among != nullptr)
        for (const int64_t atom : *among)
            chosen.insert(chosen.end(), positions + 3 * atom, positions + 3 * atom + 3);
    vector<Pair> found;
    forNearPairs(among ? chosen.data() : positions, among ? among->size() : moves.size(), cutoff, box,
                 [&](int64_t i, int64_t j, const double* v) {
                     if (among != nullptr) {
                         i = (*among)[i];
                         j = (*among)[j];
                     }
                     const double distance = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
                     if (excluded.contains(i, j) || !(movable[i] || movable[j]))
                         return;
                     if (before == nullptr || distance < distanceOf(before, i, j, box))
                         found.push_back({i, j, distance});
                 });
    return found;
}

vector<CollapseCheck::Pair> CollapseCheck::attracting(vector<Pair> near, bool unknown) const {
    const auto isNot = [&](const Pair& pair) {
        return known ? !(known->energy(pair.i, pair.j, pair.distance) < 0) : !unknown;
    };
    near.erase(remove_if(near.begin(), near.end(), isNot), near.end());
    return near;
}

/// Atoms of which a collapsing pair consists: with large forces, or none at all.
///
/// Forces on virtual sites are their parents', and those on fixed atoms are not asked for.
vector<int64_t> CollapseCheck::pulled(const double* forces) const {
    const auto isLarge = [&](size_t i) {
        const double* f = forces + 3 * i;
        return f[0] * f[0] + f[1] * f[1] + f[2] * f[2] > LARGE_FORCE * LARGE_FORCE;
    };
    vector<int64_t> found;
    bool any = false;
    for (size_t i = 0; i < moves.size(); i++) {
        const bool large = isLarge(i);
        any |= large;
        if (large || !moves[i])
            found.push_back(int64_t(i));
    }
    return any ? found : vector<int64_t>();
}

} // namespace openmm_reparam
