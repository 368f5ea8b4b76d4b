/// Torsions of a search: how they move atoms, a descent's coordinates along them, and their metric.

#include <nanobind/nanobind.h>

#include "TorsionCoordinates.h"
#include "TorsionMetric.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

TorsionMotions torsionMotions(const Numbers<int64_t>& axes, const Numbers<int64_t>& parents,
                              const Numbers<int64_t>& order, const Numbers<int64_t>& ranges,
                              const Numbers<int64_t>& innermost) {
    return TorsionMotions({vectorOf(axes), vectorOf(parents), vectorOf(order), vectorOf(ranges), vectorOf(innermost)});
}

template <class Motions> void requireAtoms(const Motions& motions, const Numbers<double>& numbers, const char* name) {
    requireSize(numbers, 3 * motions.numAtoms(), name);
}

nb::object jacobian(const TorsionMotions& motions, const Numbers<double>& positions, const Numbers<int64_t>& chosen,
                    const Numbers<int64_t>& atoms) {
    requireAtoms(motions, positions, "positions");
    constexpr int64_t NOWHERE = -1;
    std::vector<int64_t> places(motions.numAtoms(), NOWHERE);
    for (size_t k = 0; k < atoms.size(); k++)
        places.at(size_t(atoms.data()[k])) = int64_t(k);
    const std::vector<double> axes = motions.axes(positions.data());
    const size_t columns = chosen.size();
    std::vector<double> found(3 * atoms.size() * columns);
    for (size_t column = 0; column < columns; column++) {
        if (size_t(chosen.data()[column]) >= motions.count())
            throw std::invalid_argument("a torsion does not exist");
        motions.forMoved(axes, positions.data(), size_t(chosen.data()[column]), [&](int64_t atom, const double* moved) {
            for (size_t d = 0; d < 3 && places[atom] != NOWHERE; d++)
                found[(3 * size_t(places[atom]) + d) * columns + column] = moved[d];
        });
    }
    return nb::cast(arrayOf(std::move(found), {atoms.size(), 3, columns}));
}

nb::object firstOrder(const TorsionMotions& motions, const Numbers<double>& positions, const Numbers<double>& angles) {
    requireAtoms(motions, positions, "positions");
    requireSize(angles, motions.count(), "angles");
    std::vector<double> found(3 * motions.numAtoms());
    motions.firstOrder(positions.data(), angles.data(), found.data());
    return nb::cast(arrayOf(std::move(found), {motions.numAtoms(), 3}));
}

nb::object torquesOf(const TorsionMotions& motions, const Numbers<double>& positions, const Numbers<double>& forces) {
    requireAtoms(motions, positions, "positions");
    requireAtoms(motions, forces, "forces");
    std::vector<double> found(motions.count());
    motions.torques(positions.data(), forces.data(), found.data());
    return nb::cast(arrayOf(std::move(found), {motions.count()}));
}

nb::object rotated(const TorsionMotions& motions, const Numbers<double>& positions, const Numbers<double>& angles) {
    requireAtoms(motions, positions, "positions");
    requireSize(angles, motions.count(), "angles");
    const size_t size = motions.numAtoms();
    std::vector<double> moved(3 * size), frames(9 * size);
    motions.rotate(positions.data(), angles.data(), moved.data(), frames.data());
    return nb::make_tuple(arrayOf(std::move(moved), {size, 3}), arrayOf(std::move(frames), {size, 3, 3}));
}

void requireFrames(const TorsionCoordinates& coordinates, const Numbers<double>& frames) {
    requireSize(frames, 9 * coordinates.numAtoms(), "frames");
}

nb::object moved(const TorsionCoordinates& coordinates, const Numbers<double>& frames,
                 const Numbers<double>& positions, const Numbers<double>& step) {
    requireFrames(coordinates, frames);
    requireAtoms(coordinates, positions, "positions");
    requireSize(step, coordinates.size(), "the step");
    const size_t size = coordinates.numAtoms();
    std::vector<double> newPositions(3 * size), newFrames(9 * size);
    coordinates.moved(frames.data(), positions.data(), step.data(), newPositions.data(), newFrames.data());
    return nb::make_tuple(arrayOf(std::move(newPositions), {size, 3}), arrayOf(std::move(newFrames), {size, 3, 3}));
}

nb::object forcesAlong(const TorsionCoordinates& coordinates, const Numbers<double>& frames,
                       const Numbers<double>& positions, const Numbers<double>& forces) {
    requireFrames(coordinates, frames);
    requireAtoms(coordinates, positions, "positions");
    requireAtoms(coordinates, forces, "forces");
    std::vector<double> found(coordinates.size());
    coordinates.forces(frames.data(), positions.data(), forces.data(), found.data());
    return nb::cast(arrayOf(std::move(found), {coordinates.size()}));
}

template <void (TorsionCoordinates::*turn)(const double*, double*) const>
nb::object turned(const TorsionCoordinates& coordinates, const Numbers<double>& frames, const Numbers<double>& vector) {
    requireFrames(coordinates, frames);
    requireSize(vector, coordinates.size(), "the vector");
    std::vector<double> found = vectorOf(vector);
    (coordinates.*turn)(frames.data(), found.data());
    return nb::cast(arrayOf(std::move(found), {coordinates.size()}));
}

double longestStep(const TorsionCoordinates& coordinates, const Numbers<double>& frames,
                   const Numbers<double>& positions, const Numbers<double>& step) {
    requireFrames(coordinates, frames);
    requireAtoms(coordinates, positions, "positions");
    requireSize(step, coordinates.size(), "the step");
    return coordinates.longest(frames.data(), positions.data(), step.data());
}

bool updated(TorsionMetric& metric, const Numbers<double>& positions, const MoleculeStiffness& stiffness) {
    requireAtoms(metric, positions, "positions");
    const MoleculeStiffness::Blocks blocks = stiffness.blocks();
    for (const int64_t row : blocks.rows)
        if (size_t(row) >= metric.numAtoms())
            throw std::invalid_argument("the stiffness is one of other atoms");
    nb::gil_scoped_release release;
    return metric.update(positions.data(), blocks);
}

nb::object solved(const TorsionMetric& metric, const Numbers<double>& torques) {
    requireSize(torques, metric.count(), "torques");
    if (!metric.isFactorized())
        throw std::runtime_error("call update first");
    std::vector<double> found = vectorOf(torques);
    metric.solve(found.data());
    return nb::cast(arrayOf(std::move(found), {metric.count()}));
}

nb::object stiffnessOf(const TorsionMetric& metric) {
    std::vector<double> values = metric.stiffness();
    return nb::cast(arrayOf(std::move(values), {metric.count(), metric.count()}));
}

} // namespace

void bindTorsions(nb::module_& module) {
    nb::class_<TorsionMotions>(module, "TorsionMotions")
        .def(nb::new_(&torsionMotions), "axes"_a, "parents"_a, "order"_a, "ranges"_a, "innermost"_a)
        .def("jacobian", &jacobian, "positions"_a, "chosen"_a, "atoms"_a)
        .def("first_order", &firstOrder, "positions"_a, "angles"_a)
        .def("torques", &torquesOf, "positions"_a, "forces"_a)
        .def("rotated", &rotated, "positions"_a, "angles"_a);
    nb::class_<TorsionCoordinates>(module, "TorsionCoordinates")
        .def(nb::init<TorsionMotions>(), "motions"_a)
        .def("moved", &moved, "frames"_a, "positions"_a, "step"_a)
        .def("forces", &forcesAlong, "frames"_a, "positions"_a, "forces"_a)
        .def("into_space", &turned<&TorsionCoordinates::intoSpace>, "frames"_a, "vector"_a)
        .def("out_of_space", &turned<&TorsionCoordinates::outOfSpace>, "frames"_a, "vector"_a)
        .def("longest", &longestStep, "frames"_a, "positions"_a, "step"_a);
    nb::class_<TorsionMetric>(module, "TorsionMetric")
        .def(nb::init<TorsionMotions>(), "motions"_a)
        .def_prop_ro("stiffness", &stiffnessOf)
        .def("update", &updated, "positions"_a, "stiffness"_a)
        .def("raise_shift", &TorsionMetric::raiseShift)
        .def("solve", &solved, "torques"_a);
    module.attr("MIN_TORSION_STIFFNESS") = double(TorsionMetric::MIN_STIFFNESS);
    module.attr("TORSION_RIDGE") = double(TorsionMetric::RELATIVE_RIDGE);
}

} // namespace openmm_reparam
