/// The Python module openmm_reparam._core. OpenMM's objects come as the addresses that their SWIG proxies hold.

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "NearPairs.h"
#include "OpenMM.h"
#include "SystemReader.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace openmm_reparam;

namespace openmm_reparam {
void bindDescent(nb::module_& module);
void bindLbfgs(nb::module_& module);
void bindLocalMinimizer(nb::module_& module);
void bindPreconditioner(nb::module_& module);
void bindTorsions(nb::module_& module);
}

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

nb::object virtualSites(uintptr_t system) {
    Terms found = readVirtualSites(objectAt<OpenMM::System>(system));
    const size_t count = found.parameters.values.size();
    return nb::make_tuple(arrayOf(std::move(found.particles)), arrayOf(std::move(found.parameters.values), {count}));
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

nb::object nearPairs(const Numbers<double>& positions, double cutoff, const std::optional<Numbers<double>>& box,
                     const PairSet* excluded, const std::optional<Numbers<int64_t>>& names) {
    std::vector<int64_t> first, second;
    std::vector<double> vectors;
    const size_t size = positions.size() / 3;
    if (names && names->size() != size)
        throw std::invalid_argument("there must be a name for each point");
    forNearPairs(positions.data(), size, cutoff, vectorsOf(box), [&](int64_t i, int64_t j, const double* v) {
        if (names) {
            i = names->data()[i];
            j = names->data()[j];
        }
        if (excluded != nullptr && excluded->contains(i, j))
            return;
        first.push_back(i);
        second.push_back(j);
        vectors.insert(vectors.end(), v, v + 3);
    });
    const size_t count = first.size();
    return nb::make_tuple(arrayOf(std::move(first), {count}), arrayOf(std::move(second), {count}),
                          arrayOf(std::move(vectors), {count, 3}));
}

PairSet pairSet(const Numbers<int64_t>& pairs, size_t size) {
    return PairSet(pairs.data(), pairs.size() / 2, size);
}

nb::object findPairs(const PairSet& set, const Numbers<int64_t>& i, const Numbers<int64_t>& j) {
    std::vector<int64_t> found;
    for (size_t k = 0; k < std::min(i.size(), j.size()); k++)
        found.push_back(set.find(i.data()[k], j.data()[k]));
    const size_t count = found.size();
    return nb::cast(arrayOf(std::move(found), {count}));
}

} // namespace

NB_MODULE(_core, module) {
    // Objects that are alive when the interpreter ends are no fault; a test watches for leaks.
    nb::set_leak_warnings(false);
    module.def("particles", &particles);
    module.def("constraints", &constraints);
    module.def("virtual_sites", &virtualSites);
    module.def("bonded_terms", &bondedTerms);
    module.def("nonbonded", &nonbonded);
    module.def("exclusions", &exclusions);

    nb::class_<PairSet>(module, "PairSet")
        .def(nb::new_(&pairSet), nb::arg("pairs"), nb::arg("size"))
        .def("find", &findPairs, nb::arg("i"), nb::arg("j"));
    module.def("near_pairs", &nearPairs, nb::arg("positions"), nb::arg("cutoff"), nb::arg("box").none(),
               nb::arg("excluded").none() = nb::none(), nb::arg("names").none() = nb::none());
    bindDescent(module);
    bindLbfgs(module);
    bindLocalMinimizer(module);
    bindPreconditioner(module);
    bindTorsions(module);
}
