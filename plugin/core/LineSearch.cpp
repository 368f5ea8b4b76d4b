#include "LineSearch.h"

#include <algorithm>

#include "CurvaturePairs.h"

using namespace std;

namespace openmm_reparam {

namespace {

constexpr double ARMIJO = 1e-4;
constexpr int MAX_BACKTRACKS = 12;

class Search {
  public:
    Search(Landscape& landscape, const Place& from, const Direction& way, double noise)
        : landscape(landscape), from(from), way(way), noise(noise) {}

    Trial tried(double length) const {
        Trial trial{length, way.vector, {}};
        for (double& number : trial.step)
            number *= length;
        trial.place = landscape.moved(from, trial.step.data());
        return trial;
    }

    bool allowed(const Trial& trial) const {
        return !landscape.refuses(from, trial.place, -trial.length * way.slope);
    }

    bool isLower(Trial& trial) const {
        const double rise = trial.place.energy - from.energy;
        if (rise <= ARMIJO * trial.length * way.slope)
            return true;
        // Near the minimum the fall drowns in rounding; the slope there is still exact enough.
        if (!(rise <= noise))
            return false;
        if (!trial.place.forces)
            trial.place.forces = landscape.forces(trial.place);
        return -dot(trial.place.forces.get(), way.vector.data(), way.vector.size()) <= (2 * ARMIJO - 1) * way.slope;
    }

  private:
    Landscape& landscape;
    const Place& from;
    const Direction& way;
    double noise;
};

} // namespace

string LineSearchResult::why() const {
    if (refused)
        return "no step lowers the energy any more without unbonded atoms falling onto each other";
    if (!failed.empty())
        return "every step led to energies that could not be used: " + failed;
    return "no step lowers the energy any more: the forces are as small as the platform's precision allows, or "
           "inconsistent with the energy";
}

LineSearchResult searchAlong(Landscape& landscape, const Place& from, const Direction& way, double length,
                             double noise, bool content) {
    const Search search(landscape, from, way, noise);
    LineSearchResult result;
    double lowest = from.energy - noise, there = 0;
    for (int n = 0; n < MAX_BACKTRACKS; n++) {
        optional<Trial> trial;
        try {
            trial = search.tried(length);
        } catch (const NonFinite& error) {
            result.failed = error.what();
            length *= 0.2;
            continue;
        }
        if (search.isLower(*trial)) {
            if (search.allowed(*trial)) {
                result.trial = move(trial);
                return result;
            }
            result.refused = true;
            length *= 0.2;
            continue;
        }
        if (trial->place.energy < lowest) {
            lowest = trial->place.energy;
            there = length;
        }
        // The minimum of the parabola through both energies and the slope, kept in bounds.
        const double rise = trial->place.energy - from.energy;
        const double parabola = -way.slope * length * length / (2 * (rise - way.slope * length));
        length = min(max(parabola, 0.1 * length), 0.5 * length);
    }
    if (content && there > 0) {
        Trial found = search.tried(there);
        if (search.allowed(found))
            result.trial = move(found);
    }
    return result;
}

} // namespace openmm_reparam
