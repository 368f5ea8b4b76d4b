/// L-BFGS on landscapes that Python makes: every point, and what is refused, comes from there.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "Constraints.h"
#include "Displacements.h"
#include "Lbfgs.h"
#include "MoleculeFrames.h"
#include "MoleculeStiffness.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

/// An evaluated point of Python's, and the chart of its coordinates.
struct PythonPoint {
    nb::object point, chart;
    Numbers<double> positions, forces;
};

Numbers<double> numbersOf(const nb::handle& array) {
    return nb::cast<Numbers<double>>(array);
}

/// A pointer to a Python object's numbers, which keeps that alive; the last one may go without the lock.
template <class T> std::shared_ptr<const T> shared(T&& owned) {
    return std::shared_ptr<const T>(new T(std::move(owned)), [](const T* object) {
        nb::gil_scoped_acquire lock;
        delete object;
    });
}

const PythonPoint& pointOf(const Place& place) {
    return *static_cast<const PythonPoint*>(place.point.get());
}

/// The numbers of an array, as the forces of a place.
std::shared_ptr<const double> sharedNumbers(const Numbers<double>& array) {
    auto kept = shared(Numbers<double>(array));
    return std::shared_ptr<const double>(kept, kept->data());
}

Place placeOf(nb::object point, nb::object chart) {
    Numbers<double> positions = numbersOf(point.attr("positions")), forces = numbersOf(point.attr("forces"));
    Place place;
    place.energy = nb::cast<double>(point.attr("energy"));
    place.point = shared(PythonPoint{std::move(point), std::move(chart), std::move(positions), std::move(forces)});
    return place;
}

/// Coordinates and metric as `optimizers.lbfgs.Descent` has them; displacements of the atoms without coordinates.
class PythonLandscape : public Landscape {
  public:
    struct Parts {
        nb::object evaluate, coordinates, metric, project, refuses, noise, nonFinite;
        std::vector<int64_t> molecules;
        MoleculeFrames turning;
    };

    explicit PythonLandscape(Parts&& given) : parts(std::move(given)) {}

    /// The place of a point where a descent begins.
    Place begin(nb::object point) {
        nb::object chart = nb::make_tuple();
        if (turns())
            chart = framesOf(parts.turning.laboratory());
        if (!parts.coordinates.is_none())
            chart = parts.coordinates.attr("begin")(point.attr("positions"));
        Place place = placeOf(std::move(point), std::move(chart));
        learnShape(place);
        place.forces = forces(place);
        return place;
    }

    /// Vectors have the shape of the forces at a place.
    void learnShape(const Place& place) {
        const Numbers<double> numbers = forcesOf(pointOf(place));
        shape.clear();
        for (size_t axis = 0; axis < numbers.ndim(); axis++)
            shape.push_back(numbers.shape(axis));
        numNumbers = numbers.size();
    }

    size_t size() const {
        return numNumbers;
    }

    /// Whether most atoms turn with their molecules.
    bool isLiquid() const {
        return parts.turning.prevail();
    }

    Place moved(const Place& from, const double* step) override {
        nb::gil_scoped_acquire lock;
        const PythonPoint& before = pointOf(from);
        nb::object positions, chart = before.chart;
        if (parts.coordinates.is_none()) {
            MoleculeFrames::Frames frames = framesAt(before);
            positions = array(parts.turning.moved(vectorOf(before.positions), frames, step));
            if (turns())
                chart = framesOf(std::move(frames));
        } else {
            const nb::object found =
                parts.coordinates.attr("moved")(chart, before.point.attr("positions"), copied(step));
            positions = found[0];
            chart = found[1];
        }
        try {
            Place place = placeOf(parts.evaluate(positions), chart);
            if (parts.coordinates.is_none())
                place.forces = forces(place);
            return place;
        } catch (const nb::python_error& error) {
            if (!error.matches(parts.nonFinite))
                throw;
            throw NonFinite(nb::cast<std::string>(nb::str(error.value())));
        }
    }

    std::shared_ptr<const double> forces(const Place& place) override {
        nb::gil_scoped_acquire lock;
        const PythonPoint& here = pointOf(place);
        if (!turns())
            return sharedNumbers(forcesOf(here));
        auto turned = std::make_shared<std::vector<double>>(vectorOf(here.forces));
        parts.turning.enter(framesAt(here), turned->data());
        return {turned, turned->data()};
    }

    void stepTaken(const Place& before, const Place& after, double* step) override {
        const PythonPoint &first = pointOf(before), &second = pointOf(after);
        if (parts.coordinates.is_none())
            return parts.turning.taken(vectorOf(first.positions), vectorOf(second.positions), step);
        nb::gil_scoped_acquire lock;
        take(parts.coordinates.attr("step_taken")(first.point, second.point, copied(step)), step);
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
        const PythonPoint& here = pointOf(place);
        if (parts.project.is_none())
            return;
        const nb::object held = own(parts.project, "constraints");
        if (nb::isinstance<Constraints>(held)) {
            return inLaboratory(here, step, [&] {
                nb::gil_scoped_release release;
                nb::inst_ptr<Constraints>(held)->project(here.positions.data(), step);
            });
        }
        const nb::object positions = here.point.attr("positions");
        if (parts.coordinates.is_none())
            inLaboratory(here, step, [&] { take(parts.project(positions, copied(step)), step); });
        else
            take(parts.coordinates.attr("project")(parts.project, here.chart, positions, copied(step)), step);
    }

    double longest(const Place& place, const double* step) override {
        return parts.coordinates.is_none() ? longestVector(step, numNumbers / 3) : howLong("longest", place, step);
    }

    double longestWithin(const Place& place, const double* step) override {
        return parts.coordinates.is_none() ? longestWithinMolecules(step, numNumbers / 3, parts.molecules)
                                           : howLong("longest_within", place, step);
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
        if (parts.metric.is_none())
            return;
        const nb::object held = own(parts.metric, "factors");
        if (nb::isinstance<MoleculeFactors>(held)) {
            return inLaboratory(pointOf(chart), vector, [&] {
                nb::gil_scoped_release release;
                nb::inst_ptr<MoleculeFactors>(held)->solve(vector);
            });
        }
        if (parts.coordinates.is_none())
            inLaboratory(pointOf(chart), vector, [&] { take(parts.metric.attr("solve")(copied(vector)), vector); });
        else
            take(parts.coordinates.attr("solve")(parts.metric, pointOf(chart).chart, copied(vector)), vector);
    }

    /// Numbers as an array of the shape of vectors.
    nb::object array(std::vector<double>&& numbers) const {
        auto* owned = new std::vector<double>(std::move(numbers));
        nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
        return nb::cast(Array<double>(owned->data(), shape.size(), shape.data(), owner));
    }

  private:
    /// What a part of a straight descent has of this core, so that vectors need not pass through Python; or None.
    nb::object own(const nb::object& part, const char* name) const {
        return parts.coordinates.is_none() ? nb::getattr(part, name, nb::none()) : nb::none();
    }

    /// Whether small molecules turn: the chart of a point then is their frames.
    bool turns() const {
        return !parts.turning.empty();
    }

    static nb::object framesOf(MoleculeFrames::Frames&& frames) {
        const size_t count = frames.size() / 9;
        return nb::cast(arrayOf(std::move(frames), {count, 3, 3}));
    }

    MoleculeFrames::Frames framesAt(const PythonPoint& point) const {
        return turns() ? vectorOf(numbersOf(point.chart)) : MoleculeFrames::Frames();
    }

    /// Does something with a vector at a point while it stands in the laboratory.
    template <class Action> void inLaboratory(const PythonPoint& point, double* vector, const Action& action) const {
        const MoleculeFrames::Frames frames = framesAt(point);
        parts.turning.leave(frames, vector);
        action();
        parts.turning.enter(frames, vector);
    }

    nb::object copied(const double* vector) const {
        return array(std::vector<double>(vector, vector + numNumbers));
    }

    void take(const nb::object& found, double* vector) const {
        const Numbers<double> numbers = numbersOf(found);
        requireSize(numbers, numNumbers, "the vector");
        std::copy_n(numbers.data(), numNumbers, vector);
    }

    Numbers<double> forcesOf(const PythonPoint& point) const {
        return parts.coordinates.is_none() ? point.forces
                                           : numbersOf(parts.coordinates.attr("forces")(point.chart, point.point));
    }

    double howLong(const char* method, const Place& place, const double* step) const {
        nb::gil_scoped_acquire lock;
        const PythonPoint& here = pointOf(place);
        return nb::cast<double>(
            parts.coordinates.attr(method)(here.chart, here.point.attr("positions"), copied(step)));
    }

    Parts parts;
    std::vector<size_t> shape;
    size_t numNumbers = 0;
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
    return PythonLandscape({std::move(evaluate), std::move(coordinates), std::move(metric), std::move(project),
                            std::move(refuses), std::move(noise),
                            nb::module_::import_("openmm_reparam.errors").attr("NonFiniteError"),
                            molecules ? vectorOf(*molecules) : std::vector<int64_t>(),
                            std::move(frames)});
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
