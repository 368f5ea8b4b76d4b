/// What the preconditioner is made of.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <array>

#include "Contacts.h"
#include "InternalCoordinates.h"
#include "MoleculeStiffness.h"
#include "OpenMM.h"
#include "StiffTerms.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

Contacts contacts(const Numbers<double>& particles, const Numbers<int64_t>& molecules, const Numbers<bool>& couples,
                  const Numbers<bool>& moves, const PairSet& excluded, const Numbers<int64_t>& pairs,
                  const Numbers<double>& exceptions, const Numbers<int64_t>& sites, const Numbers<double>& weights) {
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
    for (size_t k = 0; k < weights.size(); k++)
        atoms.sites.push_back({sites.data()[2 * k], sites.data()[2 * k + 1], weights.data()[k]});
    PairParameters own{vectorOf(pairs), {}, {}, {}};
    for (size_t k = 0; k < pairs.size() / 2; k++) {
        own.products.push_back(exceptions.data()[3 * k]);
        own.sigmas.push_back(exceptions.data()[3 * k + 1]);
        own.epsilons.push_back(exceptions.data()[3 * k + 2]);
    }
    return Contacts(std::move(atoms), excluded, std::move(own));
}

nb::object contactStiffness(const Contacts& contacts, const Numbers<double>& positions,
                            const std::optional<Numbers<double>>& box) {
    requireSize(positions, 3 * contacts.size(), "positions");
    ContactStiffness found = contacts.evaluate(positions.data(), vectorsOf(box));
    const size_t count = found.pairs.size() / 2;
    return nb::make_tuple(arrayOf(std::move(found.blocks), {contacts.size(), 3, 3}),
                          arrayOf(std::move(found.pairs), {count, 2}),
                          arrayOf(std::move(found.curvatures), {count, 5}));
}

std::vector<TermAtoms> termAtoms(const std::vector<Numbers<int64_t>>& terms, size_t size) {
    std::vector<TermAtoms> kinds;
    for (const auto& atoms : terms) {
        kinds.push_back({vectorOf(atoms), atoms.ndim() == 2 ? atoms.shape(1) : 1});
        for (const int64_t atom : kinds.back().atoms)
            if (atom < 0 || atom >= int64_t(size))
                throw std::invalid_argument("a term has an atom that does not exist");
    }
    return kinds;
}

MoleculeAssembler assembler(const Numbers<bool>& moves, const std::vector<Numbers<int64_t>>& terms,
                            const std::vector<Numbers<int64_t>>& coupled) {
    const size_t size = moves.size();
    return MoleculeAssembler({moves.data(), moves.data() + size}, termAtoms(terms, size), termAtoms(coupled, size));
}

MoleculeStiffness assembled(MoleculeAssembler& assembler, const std::vector<Numbers<double>>& rows,
                            const Numbers<double>& blocks, const Numbers<int64_t>& pairs,
                            const Numbers<double>& curvatures, const Numbers<int64_t>& otherPairs,
                            const Numbers<double>& otherBlocks) {
    std::vector<const double*> numbers;
    if (rows.size() != assembler.termAtoms().size())
        throw std::invalid_argument("there must be rows of every kind of terms");
    for (size_t kind = 0; kind < rows.size(); kind++) {
        requireSize(rows[kind], 3 * assembler.termAtoms()[kind].atoms.size(), "rows");
        numbers.push_back(rows[kind].data());
    }
    const size_t count = pairs.size() / 2, others = otherPairs.size() / 2;
    requireSize(blocks, 9 * assembler.molecules().size, "blocks");
    requireSize(curvatures, 5 * count, "curvatures");
    requireSize(otherBlocks, 9 * others, "blocks of others");
    return assembler.assemble(numbers, blocks.data(), {count, pairs.data(), curvatures.data()},
                              {others, otherPairs.data(), otherBlocks.data()});
}

nb::object molecules(const MoleculeAssembler& assembler) {
    std::vector<int64_t> labels = assembler.molecules().molecules;
    const size_t size = labels.size();
    return nb::cast(arrayOf(std::move(labels), {size}));
}

nb::object isLarge(const MoleculeAssembler& assembler) {
    std::vector<uint8_t> large = assembler.molecules().isLarge;
    const size_t size = large.size();
    return nb::cast(arrayOf(std::move(large), {size}));
}

nb::object blocksOf(const MoleculeStiffness& stiffness) {
    MoleculeStiffness::Blocks found = stiffness.blocks();
    const size_t count = found.rows.size();
    return nb::make_tuple(arrayOf(std::move(found.rows), {count}), arrayOf(std::move(found.columns), {count}),
                          arrayOf(std::move(found.values), {count, 3, 3}));
}

nb::object solved(const MoleculeFactors& factors, const Numbers<double>& vectors) {
    requireSize(vectors, 3 * factors.size(), "vectors");
    std::vector<double> solution = vectorOf(vectors);
    {
        nb::gil_scoped_release release;
        factors.solve(solution.data());
    }
    return nb::cast(arrayOf(std::move(solution), {factors.size(), 3}));
}

nb::object atomsOf(const StiffTerms& terms) {
    return nb::cast(arrayOf(Table<int64_t>(terms.atoms())));
}

nb::object rowsOf(const StiffTerms& terms, const Numbers<double>& positions,
                  const std::optional<Numbers<double>>& box) {
    const Table<int64_t>& atoms = terms.atoms();
    for (const int64_t atom : atoms.values)
        if (size_t(3 * atom) >= positions.size())
            throw std::invalid_argument("positions are too few for the terms");
    std::vector<double> rows(3 * atoms.values.size());
    terms.rows(positions.data(), vectorsOf(box), rows.data());
    return nb::cast(arrayOf(std::move(rows), {terms.count(), atoms.columns, 3}));
}

/// Values and gradients of internal coordinates, made from one vector of each between atoms.
template <size_t ATOMS, class Coordinate>
nb::object internalCoordinates(const std::array<const Numbers<double>*, ATOMS - 1>& vectors,
                               const Coordinate& coordinate) {
    const size_t count = vectors[0]->size() / 3;
    for (const auto* vector : vectors)
        requireSize(*vector, 3 * count, "vectors");
    std::vector<double> values(count), gradients(3 * ATOMS * count);
    for (size_t t = 0; t < count; t++)
        values[t] = coordinate(3 * t, &gradients[3 * ATOMS * t]);
    return nb::make_tuple(arrayOf(std::move(values), {count}), arrayOf(std::move(gradients), {count, ATOMS, 3}));
}

nb::object distances(const Numbers<double>& ij) {
    return internalCoordinates<2>({&ij}, [&](size_t t, double* g) { return distance(ij.data() + t, g); });
}

nb::object angles(const Numbers<double>& ij, const Numbers<double>& kj) {
    return internalCoordinates<3>(
        {&ij, &kj}, [&](size_t t, double* g) { return angle(ij.data() + t, kj.data() + t, g); });
}

nb::object dihedrals(const Numbers<double>& ij, const Numbers<double>& kj, const Numbers<double>& kl) {
    return internalCoordinates<4>({&ij, &kj, &kl}, [&](size_t t, double* g) {
        return dihedral(ij.data() + t, kj.data() + t, kl.data() + t, g);
    });
}

} // namespace

void bindPreconditioner(nb::module_& module) {
    nb::class_<Contacts>(module, "Contacts")
        .def(nb::new_(&contacts))
        .def("evaluate", &contactStiffness, "positions"_a, "box"_a.none());
    nb::class_<StiffTerms>(module, "StiffTerms")
        .def_prop_ro("atoms", &atomsOf)
        .def("rows", &rowsOf, "positions"_a, "box"_a.none());
    module.def("force_terms", [](uintptr_t force) {
        return StiffTerms::ofForce(*reinterpret_cast<const OpenMM::Force*>(force));
    }, "force"_a);
    module.def("constraint_terms", [](uintptr_t system) {
        return StiffTerms::ofConstraints(*reinterpret_cast<const OpenMM::System*>(system));
    }, "system"_a);
    module.def("distances", &distances, "ij"_a);
    module.def("angles", &angles, "ij"_a, "kj"_a);
    module.def("dihedrals", &dihedrals, "ij"_a, "kj"_a, "kl"_a);
    nb::class_<MoleculeFactors>(module, "MoleculeFactors")
        .def_prop_ro("shift", &MoleculeFactors::shift)
        .def("solve", &solved, "vectors"_a);
    nb::class_<MoleculeStiffness>(module, "MoleculeStiffness")
        .def("blocks", &blocksOf)
        .def_prop_ro("operations", &MoleculeStiffness::operations)
        .def("factorize", &MoleculeStiffness::factorize, "shift"_a);
    nb::class_<MoleculeAssembler>(module, "MoleculeAssembler")
        .def(nb::new_(&assembler), "moves"_a, "terms"_a, "coupled"_a)
        .def_prop_ro("molecules", &molecules)
        .def_prop_ro("large", &isLarge)
        .def("assemble", &assembled, "rows"_a, "blocks"_a, "pairs"_a, "curvatures"_a, "other_pairs"_a,
             "other_blocks"_a);
    module.attr("MAX_SHIFT") = MoleculeStiffness::MAX_SHIFT;
}

} // namespace openmm_reparam
