#include "MoleculeStiffness.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

#include "Threads.h"

using namespace std;

namespace openmm_reparam {

namespace {

/// Labels of connected atoms, counted from 0 in the order of their first atoms.
vector<int64_t> connected(size_t size, const vector<TermAtoms>& terms, const vector<TermAtoms>& coupled) {
    vector<int64_t> parent(size);
    iota(parent.begin(), parent.end(), int64_t(0));
    const auto find = [&](int64_t i) {
        while (parent[i] != i)
            i = parent[i] = parent[parent[i]];
        return i;
    };
    for (const auto* kinds : {&terms, &coupled})
        for (const TermAtoms& kind : *kinds)
            for (size_t at = 0; at < kind.atoms.size(); at++) {
                const int64_t a = find(kind.atoms[at]), b = find(kind.atoms[at - at % kind.width]);
                parent[max(a, b)] = min(a, b);
            }
    vector<int64_t> labels(size);
    int64_t next = 0;
    for (size_t i = 0; i < size; i++)
        labels[i] = find(int64_t(i)) == int64_t(i) ? next++ : labels[find(int64_t(i))];
    return labels;
}

shared_ptr<const MoleculeLayout> layoutOf(vector<uint8_t> moves, const vector<TermAtoms>& terms,
                                          const vector<TermAtoms>& coupled) {
    auto layout = make_shared<MoleculeLayout>();
    const size_t size = layout->size = moves.size();
    layout->moves = move(moves);
    for (size_t i = 0; i < size; i++)
        if (!layout->moves[i])
            layout->still.push_back(int64_t(i));
    layout->molecules = connected(size, terms, coupled);
    const auto& labels = layout->molecules;
    const size_t count = size == 0 ? 0 : size_t(*max_element(labels.begin(), labels.end())) + 1;
    vector<vector<int64_t>> members(count);
    for (size_t i = 0; i < size; i++)
        members[labels[i]].push_back(int64_t(i));
    vector<uint8_t> large(count);
    for (size_t m = 0; m < count; m++)
        large[m] = members[m].size() > MoleculeLayout::LARGEST_SMALL_MOLECULE;
    for (const TermAtoms& kind : coupled)
        for (const int64_t atom : kind.atoms)
            large[labels[atom]] = 1;
    layout->isLarge.resize(size);
    layout->place.resize(size);
    layout->batchOf.assign(size, -1);
    map<size_t, MoleculeLayout::Batch> batches;
    for (size_t m = 0; m < count; m++)
        if (!large[m])
            batches[members[m].size()].width = members[m].size();
    for (size_t i = 0; i < size; i++) {
        layout->isLarge[i] = large[labels[i]];
        if (!large[labels[i]])
            continue;
        layout->place[i] = int64_t(layout->large.size());
        layout->large.push_back(int64_t(i));
    }
    for (size_t m = 0; m < count; m++) {
        if (large[m])
            continue;
        auto batch = batches.find(members[m].size());
        for (const int64_t atom : members[m]) {
            layout->place[atom] = int64_t(batch->second.atoms.size());
            layout->batchOf[atom] = int32_t(distance(batches.begin(), batch));
            batch->second.atoms.push_back(atom);
        }
    }
    for (auto& [width, batch] : batches)
        layout->batches.push_back(move(batch));
    return layout;
}

} // namespace

void MoleculeFactors::solve(double* vectors) const {
    if (large)
        large->solve(vectors, layout->large);
    for (size_t b = 0; b < small.size(); b++) {
        const auto& [width, atoms] = layout->batches[b];
        const SmallInverses& inverses = small[b];
        inParallel(atoms.size() / width, [&, width = width, &atoms = atoms](size_t begin, size_t end) {
            double own[3 * MoleculeLayout::LARGEST_SMALL_MOLECULE];
            double solved[3 * MoleculeLayout::LARGEST_SMALL_MOLECULE];
            for (size_t m = begin; m < end; m++) {
                const int64_t* members = &atoms[m * width];
                for (size_t k = 0; k < width; k++)
                    copy_n(vectors + 3 * members[k], 3, own + 3 * k);
                inverses.solve(m, own, solved);
                for (size_t k = 0; k < width; k++)
                    copy_n(solved + 3 * k, 3, vectors + 3 * members[k]);
            }
        });
    }
    for (const int64_t atom : layout->still)
        fill_n(vectors + 3 * atom, 3, 0.0);
}

bool MoleculeStiffness::attempt(double shift, MoleculeFactors& factors) const {
    factors.small.clear();
    factors.usedShift = shift;
    for (size_t b = 0; b < small.size(); b++) {
        const size_t width = layout->batches[b].width, count = layout->batches[b].atoms.size() / width;
        auto inverses = SmallInverses::invert(small[b].data(), count, 3 * width, shift);
        if (!inverses)
            return false;
        factors.small.push_back(move(*inverses));
    }
    if (!large)
        return true;
    factors.large = BlockCholesky::factorize(large->matrix, large->elimination, shift);
    return factors.large.has_value();
}

optional<MoleculeFactors> MoleculeStiffness::factorize(double shift) const {
    MoleculeFactors factors;
    factors.layout = layout;
    if (!(shift > 0))
        throw invalid_argument("the shift must be positive");
    for (; shift <= MAX_SHIFT; shift *= 3)
        if (attempt(shift, factors))
            return factors;
    return nullopt;
}

double MoleculeStiffness::operations() const {
    return large ? large->elimination->operations : 0.0;
}

MoleculeStiffness::Blocks MoleculeStiffness::blocks() const {
    Blocks found;
    const auto add = [&](int64_t i, int64_t j, const auto& entry) {
        found.rows.push_back(i);
        found.columns.push_back(j);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                found.values.push_back(entry(a, b));
    };
    for (size_t n = 0; n < small.size(); n++) {
        const auto& [width, atoms] = layout->batches[n];
        for (size_t k = 0; k < atoms.size(); k++)
            for (size_t l = k - k % width; l < k - k % width + width; l++) {
                const double* block = &small[n][9 * k * width + 3 * (l % width)];
                add(atoms[k], atoms[l], [&, row = 3 * width](int a, int b) { return block[a * row + b]; });
            }
    }
    if (!large)
        return found;
    const BlockPattern& pattern = *large->matrix.pattern;
    const size_t count = found.rows.size() + 2 * pattern.columns.size() - pattern.size();
    found.rows.reserve(count);
    found.columns.reserve(count);
    found.values.reserve(9 * count);
    for (size_t i = 0; i < pattern.size(); i++)
        for (size_t at = pattern.starts[i]; at < pattern.starts[i + 1]; at++) {
            const int64_t row = layout->large[i], column = layout->large[pattern.columns[at]];
            const double* block = &large->matrix.values[9 * at];
            add(row, column, [&](int a, int b) { return block[3 * a + b]; });
            if (row != column)
                add(column, row, [&](int a, int b) { return block[3 * b + a]; });
        }
    return found;
}

MoleculeAssembler::MoleculeAssembler(vector<uint8_t> moves, vector<TermAtoms> given, const vector<TermAtoms>& coupled)
    : layout(layoutOf(move(moves), given, coupled)), terms(move(given)), largeTerms(terms.size()) {
    if (layout->large.empty())
        return;
    vector<TermAtoms> local;
    for (size_t kind = 0; kind < terms.size(); kind++) {
        const auto& [atoms, width] = terms[kind];
        local.push_back({{}, width});
        for (size_t t = 0; t < atoms.size() / width; t++) {
            if (!layout->isLarge[atoms[t * width]])
                continue;
            largeTerms[kind].push_back(t);
            for (size_t k = 0; k < width; k++)
                local.back().atoms.push_back(layout->place[atoms[t * width + k]]);
        }
    }
    large.emplace(layout->large.size(), move(local));
}

MoleculeStiffness MoleculeAssembler::assemble(const vector<const double*>& rows, const double* atomBlocks,
                                              const CoupledPairs& contacts, const GivenBlocks& others) {
    MoleculeStiffness found;
    found.layout = layout;
    for (const auto& [width, atoms] : layout->batches)
        found.small.emplace_back(9 * width * atoms.size(), 0.0);
    // Where the block of two atoms of one small molecule begins, and how long a row of its matrix is.
    const auto block = [&](int64_t i, int64_t j) {
        const size_t width = layout->batches[layout->batchOf[i]].width;
        return pair(&found.small[layout->batchOf[i]][9 * layout->place[i] * width + 3 * (layout->place[j] % width)],
                    3 * width);
    };
    for (size_t kind = 0; kind < terms.size(); kind++) {
        const auto& [atoms, width] = terms[kind];
        for (size_t first = 0; first < atoms.size(); first += width) {
            if (layout->isLarge[atoms[first]])
                continue;
            for (size_t m = 0; m < width; m++)
                for (size_t n = 0; n < width; n++) {
                    const auto [begin, row] = block(atoms[first + m], atoms[first + n]);
                    const double *u = rows[kind] + 3 * (first + m), *v = rows[kind] + 3 * (first + n);
                    for (int a = 0; a < 3; a++)
                        for (int b = 0; b < 3; b++)
                            begin[a * row + b] += u[a] * v[b];
                }
        }
    }
    for (size_t i = 0; i < layout->size; i++) {
        if (layout->isLarge[i])
            continue;
        const auto [begin, row] = block(int64_t(i), int64_t(i));
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                begin[a * row + b] += atomBlocks[9 * i + 3 * a + b];
    }
    if (!large)
        return found;
    vector<vector<double>> chosen(terms.size());
    vector<const double*> largeRows;
    for (size_t kind = 0; kind < terms.size(); kind++) {
        const size_t numbers = 3 * terms[kind].width;
        for (const size_t t : largeTerms[kind])
            chosen[kind].insert(chosen[kind].end(), rows[kind] + t * numbers, rows[kind] + (t + 1) * numbers);
        largeRows.push_back(chosen[kind].data());
    }
    vector<double> blocks;
    for (const int64_t atom : layout->large)
        blocks.insert(blocks.end(), atomBlocks + 9 * atom, atomBlocks + 9 * (atom + 1));
    const auto places = [&](const int64_t* atoms, size_t count) {
        vector<int64_t> found(2 * count);
        for (size_t k = 0; k < 2 * count; k++)
            found[k] = layout->place[atoms[k]];
        return found;
    };
    const vector<int64_t> pairs = places(contacts.atoms, contacts.count), given = places(others.atoms, others.count);
    found.large = large->assemble(largeRows, blocks.data(), {contacts.count, pairs.data(), contacts.curvatures},
                                  {others.count, given.data(), others.values});
    return found;
}

} // namespace openmm_reparam
