/// What a descent does between two of its steps, with the interpreter's lock free where that takes time.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <limits>

#include "CollapseCheck.h"
#include "Constraints.h"
#include "ContextAccess.h"
#include "CurvaturePairs.h"
#include "Displacements.h"
#include "OpenMM.h"
#include "Retraction.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

OpenMM::Context& contextAt(uintptr_t address) {
    return *reinterpret_cast<OpenMM::Context*>(address);
}

/// Calls OpenMM without the interpreter's lock; whatever it throws is an OpenMMException, as from its own module.
template <class Call> auto withoutLock(const Call& call) {
    nb::gil_scoped_release release;
    try {
        return call();
    } catch (const std::exception& error) {
        throw OpenMM::OpenMMException(error.what());
    }
}

void requireParticles(OpenMM::Context& context, const Numbers<double>& positions) {
    requireSize(positions, 3 * size_t(context.getSystem().getNumParticles()), "positions");
}

void setPositionsIn(uintptr_t address, const Numbers<double>& positions, bool virtualSites) {
    OpenMM::Context& context = contextAt(address);
    requireParticles(context, positions);
    withoutLock([&] {
        setPositions(context, positions.data(), virtualSites);
        return 0;
    });
}

nb::object positionsIn(uintptr_t address) {
    std::vector<double> found = withoutLock([&] { return positionsOf(contextAt(address)); });
    const size_t size = found.size() / 3;
    return nb::cast(arrayOf(std::move(found), {size, 3}));
}

nb::object boxIn(uintptr_t address) {
    return nb::cast(arrayOf(boxOf(contextAt(address)), {3, 3}));
}

nb::object evaluateIn(uintptr_t address, const Numbers<double>& positions, int groups, bool virtualSites,
                      const std::optional<Numbers<bool>>& moves) {
    OpenMM::Context& context = contextAt(address);
    requireParticles(context, positions);
    std::vector<double> forces;
    const double energy =
        withoutLock([&] { return evaluate(context, positions.data(), groups, virtualSites, forces); });
    const size_t size = forces.size() / 3;
    if (moves) {
        requireSize(*moves, size, "moves");
        for (size_t i = 0; i < size; i++)
            if (!moves->data()[i])
                std::fill_n(&forces[3 * i], 3, 0.0);
    }
    const double largest = largestNumber(forces.data(), forces.size());
    return nb::make_tuple(energy, arrayOf(std::move(forces), {size, 3}), largest);
}

nb::object constrainedIn(uintptr_t address, const Numbers<double>& positions, double tolerance, bool virtualSites) {
    OpenMM::Context& context = contextAt(address);
    requireParticles(context, positions);
    std::vector<double> found =
        withoutLock([&] { return constrained(context, positions.data(), tolerance, virtualSites); });
    const size_t size = found.size() / 3;
    return nb::cast(arrayOf(std::move(found), {size, 3}));
}

Constraints constraintsOf(const Numbers<int64_t>& pairs, const Numbers<double>& lengths, size_t size) {
    requireSize(pairs, 2 * lengths.size(), "pairs");
    return Constraints(pairs.data(), lengths.data(), lengths.size(), size);
}

nb::object errorsOf(const Constraints& constraints, const Numbers<double>& positions) {
    requireSize(positions, 3 * constraints.size(), "positions");
    std::vector<double> errors(constraints.count());
    constraints.errors(positions.data(), errors.data());
    return nb::cast(arrayOf(std::move(errors), {constraints.count()}));
}

nb::object projected(Constraints& constraints, const Numbers<double>& positions, const Numbers<double>& vectors) {
    requireSize(positions, 3 * constraints.size(), "positions");
    requireSize(vectors, 3 * constraints.size(), "vectors");
    std::vector<double> found = vectorOf(vectors);
    {
        nb::gil_scoped_release release;
        constraints.project(positions.data(), found.data());
    }
    return nb::cast(arrayOf(std::move(found), {constraints.size(), 3}));
}

nb::object retracted(Constraints& constraints, uintptr_t address, const Numbers<double>& positions, double tolerance,
                     bool virtualSites) {
    requireSize(positions, 3 * constraints.size(), "positions");
    OpenMM::Context& context = contextAt(address);
    requireParticles(context, positions);
    Retracted found =
        withoutLock([&] { return retract(context, constraints, positions.data(), tolerance, virtualSites); });
    return nb::make_tuple(arrayOf(std::move(found.positions), {constraints.size(), 3}), found.error, found.worst);
}

CollapseCheck collapseCheck(const std::optional<Numbers<double>>& particles, const Numbers<int64_t>& exceptionPairs,
                            const Numbers<double>& exceptions, const PairSet& excluded, const Numbers<bool>& moves,
                            const Numbers<bool>& movable) {
    std::optional<PairEnergies> known;
    if (particles) {
        requireSize(exceptions, exceptionPairs.size() / 2 * 3, "exceptions");
        known.emplace(NonbondedTable{
            {vectorOf(*particles), 3}, {vectorOf(exceptionPairs), 2}, {vectorOf(exceptions), 3}});
    }
    return CollapseCheck(std::move(known), excluded, {moves.data(), moves.data() + moves.size()},
                         {movable.data(), movable.data() + movable.size()});
}

using Box = std::optional<Numbers<double>>;

std::vector<std::tuple<int64_t, int64_t, double>> collapsedPairs(const CollapseCheck& check,
                                                                 const Numbers<double>& positions,
                                                                 const std::optional<Numbers<double>>& before,
                                                                 const Box& box, double cutoff, bool unknown) {
    requireSize(positions, 3 * check.size(), "positions");
    if (before)
        requireSize(*before, 3 * check.size(), "positions");
    std::vector<std::tuple<int64_t, int64_t, double>> found;
    for (const auto& [i, j, distance] :
         check.pairs(positions.data(), before ? before->data() : nullptr, vectorsOf(box), cutoff, unknown))
        found.emplace_back(i, j, distance);
    return found;
}

CollapseCheck::Configuration configuration(const CollapseCheck& check, double energy, const Numbers<double>& positions,
                                           const Numbers<double>& forces) {
    requireSize(positions, 3 * check.size(), "positions");
    requireSize(forces, 3 * check.size(), "forces");
    return {energy, positions.data(), forces.data()};
}

bool isSound(const CollapseCheck& check, const Numbers<double>& positions, const Numbers<double>& forces,
             const Box& box) {
    return check.isSound(configuration(check, 0, positions, forces), vectorsOf(box));
}

bool refusesStep(const CollapseCheck& check, double energyBefore, const Numbers<double>& before, double energyAfter,
                 const Numbers<double>& after, const Numbers<double>& forces, double promised, const Box& box) {
    requireSize(before, 3 * check.size(), "positions");
    return check.refuses({energyBefore, before.data(), nullptr}, configuration(check, energyAfter, after, forces),
                         promised, vectorsOf(box));
}

double largestDifference(const Numbers<double>& a, const Numbers<double>& b) {
    requireSize(b, a.size(), "the other array");
    double largest = 0;
    for (size_t i = 0; i < a.size(); i++)
        largest = std::max(largest, std::abs(a.data()[i] - b.data()[i]));
    return largest;
}

bool allFinite(const Numbers<double>& numbers) {
    return largestNumber(numbers.data(), numbers.size()) < std::numeric_limits<double>::infinity();
}

double dotOf(const Numbers<double>& a, const Numbers<double>& b) {
    requireSize(b, a.size(), "vector");
    return dot(a.data(), b.data(), a.size());
}

void translate(const std::exception_ptr& error, void*) {
    try {
        std::rethrow_exception(error);
    } catch (const OpenMM::OpenMMException& raised) {
        PyErr_SetString(nb::module_::import_("openmm").attr("OpenMMException").ptr(), raised.what());
    }
}

} // namespace

void bindDescent(nb::module_& module) {
    nb::register_exception_translator(&translate);
    module.def("set_positions", &setPositionsIn, "context"_a, "positions"_a, "virtual_sites"_a);
    module.def("positions", &positionsIn, "context"_a);
    module.def("evaluate", &evaluateIn, "context"_a, "positions"_a, "groups"_a, "virtual_sites"_a,
               "moves"_a.none());
    module.def("box", &boxIn, "context"_a);
    module.def("constrained", &constrainedIn, "context"_a, "positions"_a, "tolerance"_a, "virtual_sites"_a);
    nb::class_<Constraints>(module, "Constraints")
        .def(nb::new_(&constraintsOf), "pairs"_a, "lengths"_a, "size"_a)
        .def("errors", &errorsOf, "positions"_a)
        .def("project", &projected, "positions"_a, "vectors"_a)
        .def("retract", &retracted, "context"_a, "positions"_a, "tolerance"_a, "virtual_sites"_a);
    nb::class_<CollapseCheck>(module, "CollapseCheck")
        .def(nb::new_(&collapseCheck), "particles"_a.none(), "exception_pairs"_a, "exceptions"_a, "excluded"_a,
             "moves"_a, "movable"_a)
        .def("pairs", &collapsedPairs, "positions"_a, "before"_a.none(), "box"_a.none(), "cutoff"_a, "unknown"_a)
        .def("sound", &isSound, "positions"_a, "forces"_a, "box"_a.none())
        .def("refuses", &refusesStep, "energy_before"_a, "before"_a, "energy_after"_a, "after"_a, "forces"_a,
             "promised"_a, "box"_a.none());
    module.def("largest_difference", &largestDifference, "a"_a, "b"_a);
    module.def("all_finite", &allFinite, "numbers"_a);
    module.def("dot", &dotOf, "a"_a, "b"_a);
}

} // namespace openmm_reparam
