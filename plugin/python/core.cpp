/// The Python module openmm_reparam._core. OpenMM's objects come as the addresses that their SWIG proxies hold.

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>

#include "OpenMM.h"
#include "SystemReader.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace openmm_reparam;

namespace {

template <class T> const T& objectAt(uintptr_t address) {
    return *reinterpret_cast<const T*>(address);
}

nb::object particles(uintptr_t system) {
    Particles found = readParticles(objectAt<OpenMM::System>(system));
    const size_t size = found.masses.size();
    return nb::make_tuple(arrayOf(std::move(found.masses), {size}), arrayOf(std::move(found.virtualSites), {size}));
}

nb::object constraints(uintptr_t system) {
    Terms found = readConstraints(objectAt<OpenMM::System>(system));
    const size_t count = found.parameters.values.size();
    return nb::make_tuple(arrayOf(std::move(found.particles)), arrayOf(std::move(found.parameters.values), {count}));
}

nb::object virtualSiteParents(uintptr_t system) {
    return nb::cast(arrayOf(readVirtualSiteParents(objectAt<OpenMM::System>(system))));
}

nb::object bondedTerms(uintptr_t force) {
    std::optional<Terms> found = readBondedTerms(objectAt<OpenMM::Force>(force));
    if (!found)
        return nb::none();
    const size_t rows = found->particles.values.size() / found->particles.columns;
    const size_t columns = found->parameters.columns;
    return nb::make_tuple(arrayOf(std::move(found->particles)),
                          arrayOf(std::move(found->parameters.values), {rows, columns}));
}

nb::object nonbonded(uintptr_t force, const std::map<std::string, double>& globals) {
    NonbondedTable found = readNonbonded(objectAt<OpenMM::NonbondedForce>(force), globals);
    return nb::make_tuple(arrayOf(std::move(found.particles)), arrayOf(std::move(found.exceptionPairs)),
                          arrayOf(std::move(found.exceptions)));
}

nb::object exclusions(uintptr_t force) {
    return nb::cast(arrayOf(readExclusions(objectAt<OpenMM::CustomNonbondedForce>(force))));
}

} // namespace

NB_MODULE(_core, module) {
    module.def("particles", &particles);
    module.def("constraints", &constraints);
    module.def("virtual_site_parents", &virtualSiteParents);
    module.def("bonded_terms", &bondedTerms);
    module.def("nonbonded", &nonbonded);
    module.def("exclusions", &exclusions);
}
