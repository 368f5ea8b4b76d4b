#include "steps.h"

#include <algorithm>
#include <string>

#include "Constraints.h"
#include "Displacements.h"
#include "MoleculeStiffness.h"
#include "TorsionCoordinates.h"
#include "TorsionMetric.h"

namespace nb = nanobind;

namespace openmm_reparam {

std::shared_ptr<const double> sharedNumbers(const Numbers<double>& array) {
    auto kept = shared(Numbers<double>(array));
    return std::shared_ptr<const double>(kept, kept->data());
}

namespace {

std::shared_ptr<const double> sharedVector(std::vector<double>&& numbers) {
    const auto kept = std::make_shared<std::vector<double>>(std::move(numbers));
    return std::shared_ptr<const double>(kept, kept->data());
}

void take(const nb::object& found, size_t size, double* vector) {
    const Numbers<double> numbers = numbersOf(found);
    requireSize(numbers, size, "the vector");
    std::copy_n(numbers.data(), size, vector);
}

/// What a part of a descent has of this core, so that vectors need not pass through Python; or null.
template <class T> T* ownOf(const nb::object& part, const char* name) {
    const nb::object held = nb::getattr(part, name, nb::none());
    return nb::isinstance<T>(held) ? nb::inst_ptr<T>(held) : nullptr;
}

/// Vectors of some shape as arrays.
class Shape {
  public:
    void learn(const Numbers<double>& vectors) {
        axes.clear();
        for (size_t axis = 0; axis < vectors.ndim(); axis++)
            axes.push_back(vectors.shape(axis));
        count = vectors.size();
    }
    size_t size() const {
        return count;
    }
    nb::object array(std::vector<double>&& numbers) const {
        auto* owned = new std::vector<double>(std::move(numbers));
        nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
        return nb::cast(Array<double>(owned->data(), axes.size(), axes.data(), owner));
    }
    nb::object copied(const double* vector) const {
        return array(std::vector<double>(vector, vector + count));
    }

  private:
    std::vector<size_t> axes;
    size_t count = 0;
};

/// Displacements of the atoms: along straight lines, and of small molecules that turn, as a whole.
class StraightSteps : public Steps {
  public:
    StraightSteps(std::vector<int64_t>&& molecules, MoleculeFrames&& turning)
        : molecules(std::move(molecules)), turning(std::move(turning)) {}

    nb::object begin(const nb::object&) const override {
        return turns() ? chartOf(turning.laboratory()) : nb::make_tuple();
    }
    void learnShape(const PythonPoint& point) override {
        shape.learn(point.forces);
    }
    size_t size() const override {
        return shape.size();
    }
    std::pair<nb::object, nb::object> moved(const PythonPoint& from, const double* step) const override {
        MoleculeFrames::Frames frames = framesAt(from);
        nb::object positions = shape.array(turning.moved(vectorOf(from.positions), frames, step));
        return {std::move(positions), turns() ? chartOf(std::move(frames)) : from.chart};
    }
    void taken(const PythonPoint& before, const PythonPoint& after, double* step) const override {
        turning.taken(vectorOf(before.positions), vectorOf(after.positions), step);
    }
    std::shared_ptr<const double> forces(const PythonPoint& point) const override {
        if (!turns())
            return sharedNumbers(point.forces);
        std::vector<double> turned = vectorOf(point.forces);
        turning.enter(framesAt(point), turned.data());
        return sharedVector(std::move(turned));
    }
    void solve(const nb::object& metric, const PythonPoint& chart, double* vector) const override {
        inLaboratory(chart, vector, [&] {
            if (const auto* factors = ownOf<MoleculeFactors>(metric, "factors")) {
                nb::gil_scoped_release release;
                factors->solve(vector);
            } else
                take(metric.attr("solve")(shape.copied(vector)), size(), vector);
        });
    }
    void project(const nb::object& projection, const PythonPoint& place, double* step) const override {
        inLaboratory(place, step, [&] {
            if (auto* constraints = ownOf<Constraints>(projection, "constraints")) {
                nb::gil_scoped_release release;
                constraints->project(place.positions.data(), step);
            } else
                take(projection(place.point.attr("positions"), shape.copied(step)), size(), step);
        });
    }
    double longest(const PythonPoint&, const double* step) const override {
        return longestVector(step, size() / 3);
    }
    double longestWithin(const PythonPoint&, const double* step) const override {
        return longestWithinMolecules(step, size() / 3, molecules);
    }

  private:
    /// Whether small molecules turn: the chart of a point then is their frames.
    bool turns() const {
        return !turning.empty();
    }
    static nb::object chartOf(MoleculeFrames::Frames&& frames) {
        const size_t count = frames.size() / 9;
        return nb::cast(arrayOf(std::move(frames), {count, 3, 3}));
    }
    MoleculeFrames::Frames framesAt(const PythonPoint& point) const {
        return turns() ? vectorOf(numbersOf(point.chart)) : MoleculeFrames::Frames();
    }
    /// Does something with a vector at a point while it stands in the laboratory.
    template <class Action> void inLaboratory(const PythonPoint& point, double* vector, const Action& action) const {
        const MoleculeFrames::Frames frames = framesAt(point);
        turning.leave(frames, vector);
        action();
        turning.enter(frames, vector);
    }

    Shape shape;
    std::vector<int64_t> molecules;
    MoleculeFrames turning;
};

/// Whatever Python's coordinates make of them.
class PythonSteps : public Steps {
  public:
    explicit PythonSteps(nb::object coordinates) : coordinates(std::move(coordinates)) {}

    nb::object begin(const nb::object& point) const override {
        return coordinates.attr("begin")(point.attr("positions"));
    }
    void learnShape(const PythonPoint& point) override {
        shape.learn(forcesOf(point));
    }
    size_t size() const override {
        return shape.size();
    }
    std::pair<nb::object, nb::object> moved(const PythonPoint& from, const double* step) const override {
        const nb::object found =
            coordinates.attr("moved")(from.chart, from.point.attr("positions"), shape.copied(step));
        return {found[0], found[1]};
    }
    void taken(const PythonPoint& before, const PythonPoint& after, double* step) const override {
        take(coordinates.attr("step_taken")(before.point, after.point, shape.copied(step)), size(), step);
    }
    std::shared_ptr<const double> forces(const PythonPoint& point) const override {
        return sharedNumbers(forcesOf(point));
    }
    void solve(const nb::object& metric, const PythonPoint& chart, double* vector) const override {
        take(coordinates.attr("solve")(metric, chart.chart, shape.copied(vector)), size(), vector);
    }
    void project(const nb::object& projection, const PythonPoint& place, double* step) const override {
        const nb::object positions = place.point.attr("positions");
        take(coordinates.attr("project")(projection, place.chart, positions, shape.copied(step)), size(), step);
    }
    double longest(const PythonPoint& place, const double* step) const override {
        return howLong("longest", place, step);
    }
    double longestWithin(const PythonPoint& place, const double* step) const override {
        return howLong("longest_within", place, step);
    }

  private:
    Numbers<double> forcesOf(const PythonPoint& point) const {
        return numbersOf(coordinates.attr("forces")(point.chart, point.point));
    }
    double howLong(const char* method, const PythonPoint& place, const double* step) const {
        return nb::cast<double>(
            coordinates.attr(method)(place.chart, place.point.attr("positions"), shape.copied(step)));
    }

    nb::object coordinates;
    Shape shape;
};

/// Angles of torsions and displacements of the atoms, see `search.torsion_coordinates`.
///
/// The chart is that of Python: a tuple of one array of frames.
class TorsionSteps : public Steps {
  public:
    explicit TorsionSteps(nb::object given)
        : kept(std::move(given)), coordinates(*nb::inst_ptr<TorsionCoordinates>(kept)) {}

    nb::object begin(const nb::object&) const override {
        const size_t count = coordinates.numAtoms();
        std::vector<double> frames(9 * count);
        for (size_t k = 0; k < 3 * count; k++)
            frames[3 * k + k % 3] = 1;
        return nb::make_tuple(arrayOf(std::move(frames), {count, 3, 3}));
    }
    void learnShape(const PythonPoint& point) override {
        requireSize(point.positions, 3 * coordinates.numAtoms(), "positions");
    }
    size_t size() const override {
        return coordinates.size();
    }
    std::pair<nb::object, nb::object> moved(const PythonPoint& from, const double* step) const override {
        const size_t count = coordinates.numAtoms();
        std::vector<double> positions(3 * count), frames(9 * count);
        coordinates.moved(framesOf(from).data(), from.positions.data(), step, positions.data(), frames.data());
        return {nb::cast(arrayOf(std::move(positions), {count, 3})),
                nb::make_tuple(arrayOf(std::move(frames), {count, 3, 3}))};
    }
    void taken(const PythonPoint&, const PythonPoint&, double*) const override {}
    std::shared_ptr<const double> forces(const PythonPoint& point) const override {
        std::vector<double> found(size());
        coordinates.forces(framesOf(point).data(), point.positions.data(), point.forces.data(), found.data());
        return sharedVector(std::move(found));
    }
    void solve(const nb::object& metric, const PythonPoint& chart, double* vector) const override {
        const Numbers<double> frames = framesOf(chart);
        const auto* torsions = ownOf<TorsionMetric>(metric, "torsions");
        const auto* factors = ownOf<MoleculeFactors>(metric, "factors");
        coordinates.intoSpace(frames.data(), vector);
        if (torsions != nullptr && factors != nullptr && torsions->isFactorized()) {
            torsions->solve(vector);
            factors->solve(vector + coordinates.numTorsions());
        } else
            take(metric.attr("solve")(copied(vector, size())), size(), vector);
        coordinates.outOfSpace(frames.data(), vector);
    }
    void project(const nb::object& projection, const PythonPoint& place, double* step) const override {
        const Numbers<double> frames = framesOf(place);
        double* moves = step + coordinates.numTorsions();
        coordinates.intoSpace(frames.data(), step);
        if (auto* constraints = ownOf<Constraints>(projection, "constraints"))
            constraints->project(place.positions.data(), moves);
        else {
            const size_t count = coordinates.numAtoms();
            const nb::object vectors = nb::cast(arrayOf(std::vector<double>(moves, step + size()), {count, 3}));
            take(projection(place.point.attr("positions"), vectors), 3 * count, moves);
        }
        coordinates.outOfSpace(frames.data(), step);
    }
    double longest(const PythonPoint& place, const double* step) const override {
        return coordinates.longest(framesOf(place).data(), place.positions.data(), step);
    }
    double longestWithin(const PythonPoint& place, const double* step) const override {
        // The molecules of a search stay.
        return longest(place, step);
    }

  private:
    Numbers<double> framesOf(const PythonPoint& point) const {
        Numbers<double> frames = numbersOf(point.chart[0]);
        requireSize(frames, 9 * coordinates.numAtoms(), "the chart");
        requireSize(point.positions, 3 * coordinates.numAtoms(), "positions");
        return frames;
    }
    static nb::object copied(const double* vector, size_t size) {
        return nb::cast(arrayOf(std::vector<double>(vector, vector + size), {size}));
    }

    nb::object kept;
    const TorsionCoordinates& coordinates;
};

} // namespace

std::unique_ptr<Steps> stepsOf(nb::object coordinates, std::vector<int64_t>&& molecules, MoleculeFrames&& turning) {
    if (coordinates.is_none())
        return std::make_unique<StraightSteps>(std::move(molecules), std::move(turning));
    if (nb::isinstance<TorsionCoordinates>(coordinates))
        return std::make_unique<TorsionSteps>(std::move(coordinates));
    return std::make_unique<PythonSteps>(std::move(coordinates));
}

} // namespace openmm_reparam
