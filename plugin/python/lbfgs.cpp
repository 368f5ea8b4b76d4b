/// L-BFGS on landscapes that Python makes: every point, and what is refused, comes from there.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "Displacements.h"
#include "Lbfgs.h"
#include "MoleculeFrames.h"
#include "steps.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

const PythonPoint& pointOf(const Place& place) {
    return *static_cast<const PythonPoint*>(place.point.get());
}

Place placeOf(nb::object point, nb::object chart) {
    Numbers<double> positions = numbersOf(point.attr("positions")), forces = numbersOf(point.attr("forces"));
    Place place;
    place.energy = nb::cast<double>(point.attr("energy"));
    place.point = shared(PythonPoint{std::move(point), std::move(chart), std::move(positions), std::move(forces)});
    return place;
}

/// Coordinates and metric as `optimizers.lbfgs.Descent` has them.
class PythonLandscape : public Landscape {
  public:
    struct Parts {
        nb::object evaluate, metric, project, refuses, noise, nonFinite;
        bool liquid; ///< whether most atoms turn with their molecules
    };

    PythonLandscape(Parts&& given, std::unique_ptr<Steps> steps) : parts(std::move(given)), steps(std::move(steps)) {}

    /// The place of a point where a descent begins.
    Place begin(nb::object point) {
        nb::object chart = steps->begin(point);
        Place place = placeOf(std::move(point), std::move(chart));
        learnShape(place);
        place.forces = steps->forces(pointOf(place));
        return place;
    }

    /// Vectors have the shape of those at a place.
    void learnShape(const Place& place) {
        steps->learnShape(pointOf(place));
    }

    size_t size() const {
        return steps->size();
    }

    /// Whether most atoms turn with their molecules.
    bool isLiquid() const {
        return parts.liquid;
    }

    Place moved(const Place& from, const double* step) override {
        nb::gil_scoped_acquire lock;
        auto [positions, chart] = steps->moved(pointOf(from), step);
        try {
            return placeOf(parts.evaluate(positions), std::move(chart));
        } catch (const nb::python_error& error) {
            if (!error.matches(parts.nonFinite))
                throw;
            throw NonFinite(nb::cast<std::string>(nb::str(error.value())));
        }
    }

    std::shared_ptr<const double> forces(const Place& place) override {
        nb::gil_scoped_acquire lock;
        return steps->forces(pointOf(place));
    }

    void stepTaken(const Place& before, const Place& after, double* step) override {
        nb::gil_scoped_acquire lock;
        steps->taken(pointOf(before), pointOf(after), step);
    }

    bool refuses(const Place& before, const Place& after, double promised) override {
        nb::gil_scoped_acquire lock;
        return !parts.refuses.is_none() &&
               nb::cast<bool>(nb::bool_(parts.refuses(pointOf(before).point, pointOf(after).point, promised)));
    }

    double noise(double energy) override {
        nb::gil_scoped_acquire lock;
        return nb::cast<double>(parts.noise(energy));
    }

    void project(const Place& place, double* step) override {
        nb::gil_scoped_acquire lock;
        if (!parts.project.is_none())
            steps->project(parts.project, pointOf(place), step);
    }

    double longest(const Place& place, const double* step) override {
        nb::gil_scoped_acquire lock;
        return steps->longest(pointOf(place), step);
    }

    double longestWithin(const Place& place, const double* step) override {
        nb::gil_scoped_acquire lock;
        return steps->longestWithin(pointOf(place), step);
    }

    bool hasMetric() const override {
        return !parts.metric.is_none();
    }

    bool metricIsComplete() const override {
        nb::gil_scoped_acquire lock;
        return nb::cast<bool>(nb::bool_(parts.metric.attr("complete")));
    }

    bool updateMetric(const Place& place) override {
        nb::gil_scoped_acquire lock;
        try {
            parts.metric.attr("update")(pointOf(place).point.attr("positions"));
            return true;
        } catch (const nb::python_error& error) {
            if (!error.matches(parts.nonFinite))
                throw;
            return false;
        }
    }

    void raiseShift() override {
        nb::gil_scoped_acquire lock;
        parts.metric.attr("raise_shift")();
    }

    void solve(const Place& chart, double* vector) override {
        nb::gil_scoped_acquire lock;
        if (!parts.metric.is_none())
            steps->solve(parts.metric, pointOf(chart), vector);
    }

  private:
    Parts parts;
    std::unique_ptr<Steps> steps;
};

PythonLandscape landscape(nb::object evaluate, nb::object coordinates, nb::object metric, nb::object project,
                          nb::object refuses, nb::object noise,
                          const std::optional<Numbers<int64_t>>& molecules,
                          const std::optional<Numbers<bool>>& turning) {
    MoleculeFrames frames;
    if (turning) {
        requireSize(*turning, molecules ? molecules->size() : 0, "turning");
        frames = MoleculeFrames(vectorOf(*molecules), {turning->data(), turning->data() + turning->size()});
    }
    const bool liquid = frames.prevail();
    auto steps = stepsOf(std::move(coordinates), molecules ? vectorOf(*molecules) : std::vector<int64_t>(),
                         std::move(frames));
    return PythonLandscape({std::move(evaluate), std::move(metric), std::move(project), std::move(refuses),
                            std::move(noise), nb::module_::import_("openmm_reparam.errors").attr("NonFiniteError"),
                            liquid},
                           std::move(steps));
}

Lbfgs begun(PythonLandscape& landscape, nb::object start, size_t memory, double maxStep, double largestStep,
            const std::optional<std::pair<int, int>>& refresh) {
    const Place begin = landscape.begin(std::move(start));
    LbfgsOptions options;
    options.memory = memory;
    options.maxStep = maxStep;
    options.largestStep = largestStep;
    if (refresh)
        std::tie(options.fewestBetweenUpdates, options.mostBetweenUpdates) = *refresh;
    else if (landscape.isLiquid())
        options.updateSooner();
    return Lbfgs(options, begin, landscape.size());
}

nb::object stepped(Lbfgs& state, PythonLandscape& landscape) {
    if (landscape.size() == 0)
        landscape.learnShape(state.place);
    if (landscape.size() != state.size)
        throw std::invalid_argument("the state is one of other coordinates");
    {
        nb::gil_scoped_release release;
        state.step(landscape);
    }
    return pointOf(state.place).point;
}

// What a state is made again from: its options, point and charts, forces, pairs, bound and counts.
using Options = std::tuple<size_t, double, double, int, int>;
using PlainPair = std::tuple<std::vector<double>, std::vector<double>, double>;
using Bound = std::tuple<double, int, bool>;
using Counts = std::tuple<double, int, int, int, int, double, double>;
using Content = std::tuple<Options, nb::object, nb::object, nb::object, nb::object, std::vector<double>,
                           std::vector<PlainPair>, Bound, Counts>;

Content contentOf(const Lbfgs& state) {
    const LbfgsOptions& o = state.options;
    const PythonPoint &here = pointOf(state.place), &chart = pointOf(state.chart);
    std::vector<PlainPair> pairs;
    for (size_t k = 0; k < state.pairs.count(); k++) {
        CurvaturePair pair = state.pairs.pair(k);
        pairs.emplace_back(std::move(pair.step), std::move(pair.change), pair.curvature);
    }
    return {Options{o.memory, o.maxStep, o.largestStep, o.fewestBetweenUpdates, o.mostBetweenUpdates},
            here.point,
            here.chart,
            chart.point,
            chart.chart,
            std::vector<double>(state.place.forces.get(), state.place.forces.get() + state.size),
            std::move(pairs),
            Bound{state.bound.current, state.bound.kept, state.bound.flat},
            Counts{state.ratio, state.age, state.failures, state.dropped, state.blocked, state.coarse, state.timid}};
}

void makeAgain(Lbfgs* made, const Content& content) {
    const auto& [options, point, chart, metricPoint, metricChart, forces, pairs, bound, counts] = content;
    Place place = placeOf(point, chart);
    const auto kept = std::make_shared<std::vector<double>>(forces);
    place.forces = std::shared_ptr<const double>(kept, kept->data());
    const auto [memory, maxStep, largestStep, fewest, most] = options;
    Lbfgs& state = *new (made) Lbfgs({memory, maxStep, largestStep, fewest, most}, place, forces.size());
    state.chart = placeOf(metricPoint, metricChart);
    for (const auto& [step, change, curvature] : pairs)
        state.pairs.add({step, change, curvature});
    std::tie(state.bound.current, state.bound.kept, state.bound.flat) = bound;
    std::tie(state.ratio, state.age, state.failures, state.dropped, state.blocked, state.coarse, state.timid) = counts;
}

double longest(const Numbers<double>& vectors) {
    return longestVector(vectors.data(), vectors.size() / 3);
}

double longestWithin(const Numbers<double>& vectors, const std::optional<Numbers<int64_t>>& molecules) {
    if (molecules)
        requireSize(vectors, 3 * molecules->size(), "vectors");
    return longestWithinMolecules(vectors.data(), vectors.size() / 3,
                                  molecules ? vectorOf(*molecules) : std::vector<int64_t>());
}

void translate(const std::exception_ptr& error, void*) {
    try {
        std::rethrow_exception(error);
    } catch (const LineSearchError& raised) {
        const nb::object kind = nb::module_::import_("openmm_reparam.optimizers.line_search").attr("LineSearchError");
        PyErr_SetString(kind.ptr(), raised.what());
    }
}

} // namespace

void bindLbfgs(nb::module_& module) {
    nb::register_exception_translator(&translate);
    nb::class_<PythonLandscape>(module, "Landscape")
        .def(nb::new_(&landscape), "evaluate"_a, "coordinates"_a.none(), "metric"_a.none(), "project"_a.none(),
             "refuses"_a.none(), "noise"_a, "molecules"_a.none(), "turning"_a.none() = nb::none());
    nb::class_<Lbfgs>(module, "LbfgsState")
        .def(nb::new_(&begun), "landscape"_a, "start"_a, "memory"_a, "max_step"_a, "largest_step"_a,
             "refresh"_a.none())
        .def("step", &stepped, "landscape"_a)
        .def_prop_ro("point", [](const Lbfgs& state) { return pointOf(state.place).point; })
        .def_ro("failures", &Lbfgs::failures)
        .def("__getstate__", &contentOf)
        .def("__setstate__", &makeAgain);
    module.def("longest", &longest, "vectors"_a);
    module.def("longest_within", &longestWithin, "vectors"_a, "molecules"_a.none());
}

} // namespace openmm_reparam
