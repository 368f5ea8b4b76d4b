/// What C++ programs call, so that Python's tests compare it with `minimize_reparam` on the same Contexts.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "OpenMM.h"
#include "openmm_reparam/LocalMinimizer.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

nb::object minimize(uintptr_t context, double tolerance, int maxIterations) {
    OpenMMReparam::MinimizationResult result;
    {
        nb::gil_scoped_release release;
        result = OpenMMReparam::LocalMinimizer::minimize(*reinterpret_cast<OpenMM::Context*>(context), tolerance,
                                                         maxIterations);
    }
    return nb::make_tuple(result.converged, result.message, result.initialEnergy, result.energy, result.rmsForce,
                          result.iterations, result.forceEvaluations);
}

} // namespace

void bindLocalMinimizer(nb::module_& module) {
    module.def("local_minimize", &minimize, "context"_a, "tolerance"_a, "max_iterations"_a);
}

} // namespace openmm_reparam
