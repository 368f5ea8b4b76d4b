/// What a descent does between two of its steps, with the interpreter's lock free where that takes time.

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "Constraints.h"
#include "ContextAccess.h"
#include "CurvaturePairs.h"
#include "OpenMM.h"
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

nb::object evaluateIn(uintptr_t address, const Numbers<double>& positions, int groups, bool virtualSites) {
    OpenMM::Context& context = contextAt(address);
    requireParticles(context, positions);
    std::vector<double> forces;
    const double energy =
        withoutLock([&] { return evaluate(context, positions.data(), groups, virtualSites, forces); });
    const size_t size = forces.size() / 3;
    return nb::make_tuple(energy, arrayOf(std::move(forces), {size, 3}));
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

nb::object approached(Constraints& constraints, const Numbers<double>& positions) {
    requireSize(positions, 3 * constraints.size(), "positions");
    std::vector<double> found = vectorOf(positions);
    constraints.approach(found.data());
    return nb::cast(arrayOf(std::move(found), {constraints.size(), 3}));
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
    module.def("evaluate", &evaluateIn, "context"_a, "positions"_a, "groups"_a, "virtual_sites"_a);
    module.def("constrained", &constrainedIn, "context"_a, "positions"_a, "tolerance"_a, "virtual_sites"_a);
    nb::class_<Constraints>(module, "Constraints")
        .def(nb::new_(&constraintsOf), "pairs"_a, "lengths"_a, "size"_a)
        .def("errors", &errorsOf, "positions"_a)
        .def("project", &projected, "positions"_a, "vectors"_a)
        .def("approach", &approached, "positions"_a);
    module.def("dot", &dotOf, "a"_a, "b"_a);
}

} // namespace openmm_reparam
