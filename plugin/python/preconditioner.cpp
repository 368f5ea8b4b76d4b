/// What the preconditioner is made of.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "BlockCholesky.h"
#include "Contacts.h"
#include "SmallInverses.h"
#include "Stiffness.h"
#include "arrays.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmm_reparam {

namespace {

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
                            const std::optional<Numbers<double>>& box) {
    requireSize(positions, 3 * contacts.size(), "positions");
    ContactStiffness found = contacts.evaluate(positions.data(), vectorsOf(box));
    const size_t count = found.pairs.size() / 2;
    return nb::make_tuple(arrayOf(std::move(found.blocks), {contacts.size(), 3, 3}),
                          arrayOf(std::move(found.pairs), {count, 2}),
                          arrayOf(std::move(found.curvatures), {count, 5}));
}

StiffnessAssembler assembler(size_t size, const std::vector<Numbers<int64_t>>& terms) {
    std::vector<TermAtoms> kinds;
    for (const auto& atoms : terms) {
        kinds.push_back({vectorOf(atoms), atoms.ndim() == 2 ? atoms.shape(1) : 1});
        for (const int64_t atom : kinds.back().atoms)
            if (atom < 0 || atom >= int64_t(size))
                throw std::invalid_argument("a term has an atom that does not exist");
    }
    return StiffnessAssembler(size, std::move(kinds));
}

Stiffness assembled(StiffnessAssembler& assembler, const std::vector<Numbers<double>>& rows,
                    const Numbers<double>& blocks, const Numbers<int64_t>& pairs, const Numbers<double>& curvatures,
                    const Numbers<int64_t>& otherPairs, const Numbers<double>& otherBlocks) {
    std::vector<const double*> numbers;
    if (rows.size() != assembler.termAtoms().size())
        throw std::invalid_argument("there must be rows of every kind of terms");
    for (size_t kind = 0; kind < rows.size(); kind++) {
        requireSize(rows[kind], 3 * assembler.termAtoms()[kind].atoms.size(), "rows");
        numbers.push_back(rows[kind].data());
    }
    const size_t count = pairs.size() / 2, others = otherPairs.size() / 2;
    requireSize(blocks, 9 * assembler.size(), "blocks");
    requireSize(curvatures, 5 * count, "curvatures");
    requireSize(otherBlocks, 9 * others, "blocks of others");
    return assembler.assemble(numbers, blocks.data(), {count, pairs.data(), curvatures.data()},
                              {others, otherPairs.data(), otherBlocks.data()});
}

/// Rows, columns and values of the lower triangle's blocks.
nb::object blocksOf(const Stiffness& stiffness) {
    const BlockPattern& pattern = *stiffness.matrix.pattern;
    std::vector<int64_t> rows, columns(pattern.columns.begin(), pattern.columns.end());
    for (size_t i = 0; i < pattern.size(); i++)
        rows.insert(rows.end(), pattern.starts[i + 1] - pattern.starts[i], int64_t(i));
    std::vector<double> values = stiffness.matrix.values;
    const size_t count = rows.size();
    return nb::make_tuple(arrayOf(std::move(rows), {count}), arrayOf(std::move(columns), {count}),
                          arrayOf(std::move(values), {count, 3, 3}));
}

nb::object solved(const BlockCholesky& factor, const Numbers<double>& vectors) {
    requireSize(vectors, 3 * factor.size(), "vectors");
    std::vector<double> solution = vectorOf(vectors);
    factor.solve(solution.data());
    return nb::cast(arrayOf(std::move(solution), {factor.size(), 3}));
}

std::optional<SmallInverses> smallInverses(const Numbers<double>& stiffness, double shift) {
    if (stiffness.ndim() != 3 || stiffness.shape(1) != stiffness.shape(2))
        throw std::invalid_argument("stiffness must be (M, w, w)");
    return SmallInverses::invert(stiffness.data(), stiffness.shape(0), stiffness.shape(1), shift);
}

nb::object smallSolved(const SmallInverses& inverses, const Numbers<double>& vectors) {
    requireSize(vectors, inverses.size(), "vectors");
    std::vector<double> solution(vectors.size());
    inverses.solve(vectors.data(), solution.data());
    return nb::cast(arrayOf(std::move(solution), {vectors.size() / 3, 3}));
}

} // namespace

void bindPreconditioner(nb::module_& module) {
    nb::class_<Contacts>(module, "Contacts")
        .def(nb::new_(&contacts))
        .def("evaluate", &contactStiffness, "positions"_a, "box"_a.none());
    nb::class_<Stiffness>(module, "Stiffness")
        .def("blocks", &blocksOf)
        .def_prop_ro("operations", [](const Stiffness& stiffness) { return stiffness.elimination->operations; })
        .def_prop_ro("fill", [](const Stiffness& stiffness) { return stiffness.elimination->starts.back(); })
        .def("factorize", [](const Stiffness& stiffness, double shift) {
            return BlockCholesky::factorize(stiffness.matrix, stiffness.elimination, shift);
        }, "shift"_a);
    nb::class_<StiffnessAssembler>(module, "StiffnessAssembler")
        .def(nb::new_(&assembler), "size"_a, "terms"_a)
        .def("assemble", &assembled, "rows"_a, "blocks"_a, "pairs"_a, "curvatures"_a, "other_pairs"_a,
             "other_blocks"_a);
    nb::class_<BlockCholesky>(module, "BlockCholesky").def("solve", &solved, "vectors"_a);
    nb::class_<SmallInverses>(module, "SmallInverses").def("solve", &smallSolved, "vectors"_a);
    module.def("small_inverses", &smallInverses, "stiffness"_a, "shift"_a);
}

} // namespace openmm_reparam
