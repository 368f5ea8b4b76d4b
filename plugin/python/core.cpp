/// The Python module openmm_reparam._core. OpenMM's objects come as the addresses that their SWIG proxies hold.

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "Contacts.h"
#include "NearPairs.h"
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

/// Box vectors, or null.
const double* vectorsOf(const std::optional<Numbers<double>>& box) {
    if (!box)
        return nullptr;
    if (box->size() != 9)
        throw std::invalid_argument("a box has three vectors");
    return box->data();
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

Contacts contacts(const Numbers<double>& particles, const Numbers<int64_t>& molecules, const Numbers<bool>& couples,
                  const Numbers<bool>& moves, const PairSet& excluded, const Numbers<int64_t>& pairs,
                  const Numbers<double>& exceptions) {
    const size_t size = molecules.size();
    if (particles.size() != 3 * size || couples.size() != size || moves.size() != size)
        throw std::invalid_argument("arrays of particles have different lengths");
    Contacts::Atoms atoms;
    for (size_t i = 0; i < size; i++) {
        atoms.charges.push_back(particles.data()[3 * i]);
        atoms.sigmas.push_back(particles.data()[3 * i + 1]);
        atoms.epsilons.push_back(particles.data()[3 * i + 2]);
    }
    atoms.molecules = vectorOf(molecules);
    atoms.couples.assign(couples.data(), couples.data() + size);
    atoms.moves.assign(moves.data(), moves.data() + size);
    PairParameters own{vectorOf(pairs), {}, {}, {}};
    for (size_t k = 0; k < pairs.size() / 2; k++) {
        own.products.push_back(exceptions.data()[3 * k]);
        own.sigmas.push_back(exceptions.data()[3 * k + 1]);
        own.epsilons.push_back(exceptions.data()[3 * k + 2]);
    }
    return Contacts(std::move(atoms), excluded, std::move(own));
}

nb::object contactStiffness(const Contacts& contacts, const Numbers<double>& positions,
                            const std::optional<Numbers<double>>& box, bool coupled) {
    if (positions.size() != 3 * contacts.size())
        throw std::invalid_argument("positions have the wrong shape");
    ContactStiffness found = contacts.evaluate(positions.data(), vectorsOf(box), coupled);
    const size_t count = found.pairs.size() / 2;
    return nb::make_tuple(arrayOf(std::move(found.blocks), {contacts.size(), 3, 3}),
                          arrayOf(std::move(found.pairs), {count, 2}),
                          arrayOf(std::move(found.gradients), {count, 3}));
}

} // namespace

NB_MODULE(_core, module) {
    module.def("particles", &particles);
    module.def("constraints", &constraints);
    module.def("virtual_site_parents", &virtualSiteParents);
    module.def("bonded_terms", &bondedTerms);
    module.def("nonbonded", &nonbonded);
    module.def("exclusions", &exclusions);

    nb::class_<PairSet>(module, "PairSet")
        .def(nb::new_(&pairSet), nb::arg("pairs"), nb::arg("size"))
        .def("find", &findPairs, nb::arg("i"), nb::arg("j"));
    module.def("near_pairs", &nearPairs, nb::arg("positions"), nb::arg("cutoff"), nb::arg("box").none(),
               nb::arg("excluded").none() = nb::none(), nb::arg("names").none() = nb::none());
    nb::class_<Contacts>(module, "Contacts")
        .def(nb::new_(&contacts))
        .def("evaluate", &contactStiffness, nb::arg("positions"), nb::arg("box").none(), nb::arg("coupled"));
}
