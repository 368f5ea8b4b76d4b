// The parts of a descent against closed forms: bound, line search, recursion, and whole descents.

#include <algorithm>
#include <functional>
#include <iostream>
#include <random>

#include "Displacements.h"
#include "Lbfgs.h"
#include "checks.h"

using namespace openmm_reparam;
using Vector = std::vector<double>;

namespace {

/// An energy of a vector: fills in the forces.
using Energy = std::function<double(const Vector&, Vector&)>;

struct Evaluated {
    Vector x, forces;
};

/// Straight coordinates, a diagonal metric if there is one.
class Simple : public Landscape {
  public:
    explicit Simple(Energy energy) : energy(std::move(energy)) {}

    Place at(const Vector& x) {
        auto found = std::make_shared<Evaluated>(Evaluated{x, Vector(x.size())});
        Place place;
        place.energy = energy(x, found->forces);
        place.forces = std::shared_ptr<const double>(found, found->forces.data());
        place.point = found;
        return place;
    }
    static const Vector& positions(const Place& place) {
        return static_cast<const Evaluated*>(place.point.get())->x;
    }
    Place moved(const Place& from, const double* step) override {
        Vector x = positions(from);
        for (size_t i = 0; i < x.size(); i++)
            x[i] += step[i];
        return at(x);
    }
    std::shared_ptr<const double> forces(const Place& place) override {
        return place.forces;
    }
    void stepTaken(const Place&, const Place&, double*) override {}
    bool refuses(const Place& before, const Place& after, double promised) override {
        return refusal && refusal(before, after, promised);
    }
    double noise(double) override {
        return 0;
    }
    void project(const Place&, double*) override {}
    double longest(const Place& place, const double* step) override {
        return longestVector(step, positions(place).size() / 3);
    }
    double longestWithin(const Place& place, const double* step) override {
        return longestWithinMolecules(step, positions(place).size() / 3, {});
    }
    bool hasMetric() const override {
        return !stiffness.empty();
    }
    bool metricIsComplete() const override {
        return true;
    }
    bool updateMetric(const Place&) override {
        updates++;
        return true;
    }
    void raiseShift() override {}
    void solve(const Place&, double* vector) override {
        for (size_t i = 0; i < stiffness.size(); i++)
            vector[i] /= stiffness[i];
    }

    Vector stiffness;
    int updates = 0;
    std::function<bool(const Place&, const Place&, double)> refusal;

  private:
    Energy energy;
};

StepBound after(StepBound bound, int steps, StepBound::Step step) {
    for (int n = 0; n < steps; n++)
        bound.after(step);
    return bound;
}

// A full step of a parabola far from its minimum.
constexpr StepBound::Step KEPT{0.01, true, true, 0.99, 1.0, 0.02};

void testTheBoundGrowsWithStepsThatKeepTheirPromise() {
    const StepBound bound(0.05, 0.5);
    REQUIRE(after(bound, 4, KEPT).current == 0.05);
    REQUIRE(after(bound, 5, KEPT).current == 0.1);
    REQUIRE(after(bound, 20, KEPT).current == 0.5);
    StepBound::Step broken[] = {KEPT, KEPT, KEPT, KEPT};
    broken[0].fall = 0.5;
    broken[1].fall = 1.2;
    broken[2].atOnce = false;
    broken[3].held = false;
    for (const auto& step : broken) {
        const StepBound back = after(after(bound, 8, KEPT), 1, step);
        REQUIRE(back.current == 0.05 && back.kept == 0);
    }
}

void testTheBoundDoesNotTearAMolecule() {
    const StepBound bound(0.05, 0.5);
    REQUIRE(bound.length(0.01, [] { return 0.0; }).length == 1.0);
    REQUIRE(!bound.length(0.01, [] { return 0.0; }).held);
    REQUIRE_CLOSE(bound.length(0.1, [] { return 0.0; }).length, 0.5, 1e-12);
    const StepBound grown = after(bound, 6, KEPT);
    REQUIRE_CLOSE(grown.length(2.0, [] { return 0.0; }).length, 0.1, 1e-12);
    REQUIRE_CLOSE(grown.length(2.0, [] { return 1.0; }).length, 0.05, 1e-12);
    StepBound::Step straight = KEPT;
    straight.curvature = 0;
    straight.fall = 1;
    const StepBound flat = after(bound, 6, straight);
    REQUIRE(flat.flat && flat.length(0.01, [] { return 0.0; }).held);
    REQUIRE_CLOSE(flat.length(0.01, [] { return 0.0; }).length, flat.current / 0.01, 1e-9);
}

void testLengthsOfDisplacements() {
    const double step[] = {3, 4, 0, 1, 0, 0, 1, 0, 0};
    REQUIRE_CLOSE(longestVector(step, 3), 5, 1e-12);
    REQUIRE_CLOSE(longestWithinMolecules(step, 3, {0, 1, 1}), 0, 1e-12);
    // The mean is (5/3, 4/3, 0).
    REQUIRE_CLOSE(longestWithinMolecules(step, 3, {}), std::hypot(4.0 / 3, 8.0 / 3), 1e-12);
}

/// Searches along x from 0, where energy and force are functions of x.
LineSearchResult along(const std::function<double(double, double&)>& energy, double length, double noise = 0,
                       bool content = false, bool refuse = false) {
    Simple landscape([&](const Vector& x, Vector& forces) { return energy(x[0], forces[0]); });
    if (refuse)
        landscape.refusal = [](const Place&, const Place&, double) { return true; };
    return searchAlong(landscape, landscape.at({0, 0, 0}), {{1, 0, 0}, -1}, length, noise, content);
}

void testALineSearchEndsAtTheMinimumOfAParabola() {
    const auto found = along([](double x, double& f) { f = 1 - 2 * x; return x * x - x; }, 1.5);
    REQUIRE_CLOSE(found.trial->length, 0.5, 1e-12);
    REQUIRE_CLOSE(found.trial->place.energy, -0.25, 1e-12);
}

void testASlopeThatNoStepKeepsIsLeftOnlyWhereAnyLowerPointWillDo() {
    const auto shallow = [](double x, double& f) { f = x > 0 ? -1 : 1; return -1e-5 * std::min(x, 0.3); };
    REQUIRE(!along(shallow, 1).trial);
    REQUIRE(along(shallow, 1, 0, true).trial->place.energy < 0);
    REQUIRE(!along(shallow, 1, 0, true, true).trial);
}

void testBelowTheNoiseTheSlopeDecides() {
    const auto rounded = [](double x, double& f) { f = 1 - x; return 1e-9 * x; };
    REQUIRE(along(rounded, 1.5, 1e-6).trial->length == 1.5);
    REQUIRE(along(rounded, 3.0, 1e-6).trial->length < 2.0);
    REQUIRE(!along(rounded, 1.5).trial);
}

void testALineSearchSaysWhyNoStepIsLeft() {
    const auto wall = [](double x, double& f) {
        if (x != 0)
            throw NonFinite("a wall");
        f = 1;
        return 0.0;
    };
    REQUIRE(contains(along(wall, 1).why(), "a wall"));
    const auto fall = [](double x, double& f) { f = 1; return -x; };
    const auto refused = along(fall, 1, 0, false, true);
    REQUIRE(!refused.trial && refused.refused && contains(refused.why(), "falling onto each other"));
    REQUIRE(contains(along([](double x, double& f) { f = 1; return x; }, 1).why(), "precision"));
}

/// The inverse Hessian formed in full (Nocedal and Wright, "Numerical Optimization", eq. 6.17).
Vector denseProduct(const std::vector<CurvaturePair>& pairs, const Vector& stiffness, double ratio, const Vector& v) {
    const size_t n = v.size();
    std::vector<Vector> h(n, Vector(n));
    for (size_t i = 0; i < n; i++)
        h[i][i] = ratio / stiffness[i];
    for (const auto& [s, y, curvature] : pairs) {
        Vector hy(n);
        double yhy = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                hy[i] += h[i][j] * y[j];
        for (size_t i = 0; i < n; i++)
            yhy += y[i] * hy[i];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                h[i][j] += (1 + yhy / curvature) * s[i] * s[j] / curvature - (hy[i] * s[j] + s[i] * hy[j]) / curvature;
    }
    Vector found(n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            found[i] += h[i][j] * v[j];
    return found;
}

void testTheRecursionIsTheUpdateFormedInFull() {
    std::mt19937 generator(0);
    std::normal_distribution<double> normal;
    const size_t n = 9;
    Vector stiffness(n), v(n);
    for (size_t i = 0; i < n; i++) {
        stiffness[i] = 1.0 + i;
        v[i] = normal(generator);
    }
    const auto solve = [&](double* vector) {
        for (size_t i = 0; i < n; i++)
            vector[i] /= stiffness[i];
    };
    CurvaturePairs kept(4);
    std::vector<CurvaturePair> all;
    for (int count = 0; count <= 6; count++) {
        std::vector<CurvaturePair> newest(all.end() - std::min<size_t>(all.size(), 4), all.end());
        const double ratio = all.empty() ? 1.0 : curvatureRatio(all.back(), solve);
        Vector found = v;
        kept.multiply(found, solve, ratio);
        const Vector expected = denseProduct(newest, stiffness, ratio, v);
        for (size_t i = 0; i < n; i++)
            REQUIRE_CLOSE(found[i], expected[i], 1e-9);
        REQUIRE(kept.count() == newest.size());
        CurvaturePair pair{Vector(n), Vector(n), 0};
        for (size_t i = 0; i < n; i++) {
            pair.step[i] = normal(generator);
            pair.change[i] = (2.0 + i % 3) * pair.step[i];
            pair.curvature += pair.step[i] * pair.change[i];
        }
        all.push_back(pair);
        kept.add(pair);
    }
    kept.clear();
    REQUIRE(kept.count() == 0);
}

void testTheRatioIsOneForTheTrueHessianAndScalesWithAWrongOne() {
    const CurvaturePair pair{{1, 2, 3}, {4, 8, 12}, 56};
    const auto divided = [](double by) {
        return [by](double* v) { for (int i = 0; i < 3; i++) v[i] /= by; };
    };
    REQUIRE_CLOSE(curvatureRatio(pair, divided(4)), 1, 1e-12);
    REQUIRE_CLOSE(curvatureRatio(pair, divided(16)), 4, 1e-12);
}

void testLargePairsInSinglePrecisionGiveTheSameDirection() {
    std::mt19937 generator(1);
    std::normal_distribution<double> normal;
    const size_t n = CurvaturePairs::LARGEST_IN_DOUBLE + 3;
    CurvaturePairs whole(5), parts(5);
    // The same numbers in the first places of a vector that is short enough for double precision.
    const size_t few = 3000;
    for (int k = 0; k < 5; k++) {
        CurvaturePair large{Vector(n), Vector(n), 0};
        for (size_t i = 0; i < few; i++) {
            large.step[i] = normal(generator);
            large.change[i] = (1 + 0.5 * (i % 4)) * large.step[i];
            large.curvature += large.step[i] * large.change[i];
        }
        CurvaturePair small = large;
        small.step.resize(few);
        small.change.resize(few);
        whole.add(large);
        parts.add(small);
    }
    REQUIRE(double(float(parts.pair(0).step[0])) == whole.pair(0).step[0]);
    REQUIRE(parts.pair(0).step[0] != whole.pair(0).step[0]);
    Vector v(n);
    for (double& number : v)
        number = normal(generator);
    Vector expected(v.begin(), v.begin() + few);
    const auto same = [](double*) {};
    whole.multiply(v, same, 1);
    parts.multiply(expected, same, 1);
    for (size_t i = 0; i < few; i++)
        REQUIRE_CLOSE(v[i], expected[i], 1e-5);
}

void testACopyKeepsItsPairs() {
    for (const size_t n : {size_t(3), CurvaturePairs::LARGEST_IN_DOUBLE + 1}) {
        const auto pairOf = [&](double x) { return CurvaturePair{Vector(n, x), Vector(n, 2 * x), x}; };
        CurvaturePairs pairs(2);
        pairs.add(pairOf(1));
        pairs.add(pairOf(2));
        const CurvaturePairs copy = pairs;
        // The copy shares the first two of five.
        for (int k = 3; k <= 5; k++)
            pairs.add(pairOf(k));
        for (size_t k = 0; k < 2; k++) {
            REQUIRE(copy.pair(k).step == Vector(n, 1.0 + k) && copy.pair(k).change == Vector(n, 2.0 + 2 * k));
            REQUIRE(pairs.pair(k).step == Vector(n, 4.0 + k) && pairs.pair(k).change == Vector(n, 8.0 + 2 * k));
            REQUIRE(pairs.pair(k).curvature == 4.0 + k);
        }
    }
}

void testAParabolaIsDescendedAndItsBoundIsKept() {
    const size_t n = 12;
    Simple landscape([&](const Vector& x, Vector& forces) {
        double energy = 0;
        for (size_t i = 0; i < n; i++) {
            const double k = std::pow(10.0, double(i) / 4);
            energy += 0.5 * k * (x[i] - 1) * (x[i] - 1);
            forces[i] = -k * (x[i] - 1);
        }
        return energy;
    });
    for (size_t i = 0; i < n; i++)
        landscape.stiffness.push_back(std::pow(10.0, double(i) / 4) * (1 + 0.3 * (i % 2)));
    LbfgsOptions options;
    options.maxStep = options.largestStep = 0.2;
    Lbfgs descent(options, landscape.at(Vector(n, 1.5)), n);
    for (int steps = 0; steps < 30 && descent.place.energy > 1e-20; steps++) {
        const Vector before = Simple::positions(descent.place);
        descent.step(landscape);
        Vector moved = Simple::positions(descent.place);
        for (size_t i = 0; i < n; i++)
            moved[i] -= before[i];
        REQUIRE(longestVector(moved.data(), n / 3) <= 0.2 * (1 + 1e-9));
    }
    REQUIRE(descent.place.energy <= 1e-20);
    REQUIRE(landscape.updates == 0);
}

void testWhatHasNoWayDownEndsInAnError() {
    Simple wrong([](const Vector& x, Vector& forces) { forces[0] = x[0]; return 0.5 * x[0] * x[0]; });
    Lbfgs descent({}, wrong.at({0.1, 0, 0}), 3);
    REQUIRE(contains(message_of([&] { descent.step(wrong); }), "precision"));
    Simple flat([](const Vector&, Vector&) { return 0.0; });
    Lbfgs still({}, flat.at({0, 0, 0}), 3);
    REQUIRE(contains(message_of([&] { still.step(flat); }), "exactly zero"));
}

} // namespace

int main() {
    testTheBoundGrowsWithStepsThatKeepTheirPromise();
    testTheBoundDoesNotTearAMolecule();
    testLengthsOfDisplacements();
    testALineSearchEndsAtTheMinimumOfAParabola();
    testASlopeThatNoStepKeepsIsLeftOnlyWhereAnyLowerPointWillDo();
    testBelowTheNoiseTheSlopeDecides();
    testALineSearchSaysWhyNoStepIsLeft();
    testTheRecursionIsTheUpdateFormedInFull();
    testTheRatioIsOneForTheTrueHessianAndScalesWithAWrongOne();
    testLargePairsInSinglePrecisionGiveTheSameDirection();
    testACopyKeepsItsPairs();
    testAParabolaIsDescendedAndItsBoundIsKept();
    testWhatHasNoWayDownEndsInAnError();
    std::cout << "Lbfgs: all tests passed" << std::endl;
}
