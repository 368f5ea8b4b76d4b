#include "Stiffness.h"

#include <algorithm>
#include <numeric>

using namespace std;

namespace openmm_reparam {

namespace {

/// Adds u v^T to the block of (i, j), or its transpose where that is what the lower triangle has.
void addOuter(double* block, int64_t i, int64_t j, const double* u, const double* v, double factor) {
    if (i < j)
        swap(u, v);
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            block[3 * a + b] += factor * (u[a] * v[b]);
}

void addOuter(BlockMatrix& matrix, int64_t i, int64_t j, const double* u, const double* v, double factor) {
    addOuter(matrix.block(max(i, j), min(i, j)), i, j, u, v, factor);
}

/// Adds radial u u^T + transverse (1 - u u^T).
void addWall(BlockMatrix& matrix, int64_t atom, const double* curvature) {
    double* block = matrix.block(atom, atom);
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++)
            block[3 * a + b] += (curvature[3] - curvature[4]) * (curvature[a] * curvature[b]);
        block[4 * a] += curvature[4];
    }
}

} // namespace

StiffnessAssembler::StiffnessAssembler(size_t size, vector<TermAtoms> given) : numAtoms(size), terms(move(given)) {
    PatternBuilder builder(size);
    for (const TermAtoms& kind : terms)
        for (size_t first = 0; first < kind.atoms.size(); first += kind.width)
            for (size_t a = 0; a < kind.width; a++)
                for (size_t b = 0; b < a; b++)
                    builder.add(kind.atoms[first + a], kind.atoms[first + b]);
    bonded = builder.build();
    for (const TermAtoms& kind : terms) {
        places.emplace_back();
        for (size_t first = 0; first < kind.atoms.size(); first += kind.width)
            for (size_t a = 0; a < kind.width; a++)
                for (size_t b = 0; b <= a; b++) {
                    const auto [low, high] = minmax(kind.atoms[first + a], kind.atoms[first + b]);
                    places.back().push_back(int32_t(bonded->place(high, low)));
                }
    }
}

Stiffness StiffnessAssembler::assemble(const vector<const double*>& rows, const double* atomBlocks,
                                       const CoupledPairs& contacts, const GivenBlocks& others) {
    // The stiffest first; those without curvature along the pair couple nothing.
    vector<size_t> order(contacts.count);
    iota(order.begin(), order.end(), size_t(0));
    const auto radial = [&](size_t k) { return contacts.curvatures[5 * k + 3]; };
    stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return radial(a) > radial(b); });
    vector<size_t> coupled = order;
    while (!coupled.empty() && radial(coupled.back()) <= 0)
        coupled.pop_back();
    const size_t stretched = coupled.size();
    Stiffness found;
    while (true) {
        found.elimination = elimination(coupled, contacts, others);
        if (coupled.empty() || found.elimination->operations <= MOST_OPERATIONS * numAtoms)
            break;
        coupled.resize(coupled.size() < numAtoms / 8 ? 0 : coupled.size() / 2);
    }
    last = found.elimination;
    found.matrix.pattern = found.elimination->pattern;
    BlockMatrix& matrix = found.matrix;
    matrix.values.assign(9 * matrix.pattern->columns.size(), 0.0);
    addTerms(rows, matrix);
    for (size_t i = 0; i < numAtoms; i++) {
        double* block = matrix.block(i, i);
        for (int d = 0; d < 9; d++)
            block[d] += atomBlocks[9 * i + d];
    }
    for (size_t n = 0; n < order.size(); n++) {
        const int64_t i = contacts.atoms[2 * order[n]], j = contacts.atoms[2 * order[n] + 1];
        const double* curvature = contacts.curvatures + 5 * order[n];
        if (n < coupled.size()) {
            addOuter(matrix, i, i, curvature, curvature, curvature[3]);
            addOuter(matrix, j, j, curvature, curvature, curvature[3]);
            addOuter(matrix, i, j, curvature, curvature, -curvature[3]);
        } else if (coupled.size() < stretched) {
            addWall(matrix, i, curvature);
            addWall(matrix, j, curvature);
        }
    }
    for (size_t k = 0; k < others.count; k++) {
        const int64_t i = others.atoms[2 * k], j = others.atoms[2 * k + 1];
        if (i < j)
            continue;
        double* block = matrix.block(i, j);
        for (int d = 0; d < 9; d++)
            block[d] += others.values[9 * k + d];
    }
    return found;
}

/// Sums up the terms where the pattern of these alone has their blocks, which is known, then copies those.
void StiffnessAssembler::addTerms(const vector<const double*>& rows, BlockMatrix& matrix) const {
    vector<double> sums(9 * bonded->columns.size());
    for (size_t kind = 0; kind < terms.size(); kind++) {
        const size_t width = terms[kind].width;
        const int32_t* place = places[kind].data();
        for (size_t first = 0; first < terms[kind].atoms.size(); first += width)
            for (size_t a = 0; a < width; a++)
                for (size_t b = 0; b <= a; b++) {
                    const int64_t i = terms[kind].atoms[first + a], j = terms[kind].atoms[first + b];
                    const double *u = rows[kind] + 3 * (first + a), *v = rows[kind] + 3 * (first + b);
                    double* block = &sums[9 * *place++];
                    addOuter(block, i, j, u, v, 1.0);
                    if (a != b && i == j)
                        addOuter(block, i, j, v, u, 1.0);
                }
    }
    for (size_t i = 0; i < numAtoms; i++) {
        size_t to = matrix.pattern->starts[i];
        for (size_t from = bonded->starts[i]; from < bonded->starts[i + 1]; from++, to++) {
            while (matrix.pattern->columns[to] != bonded->columns[from])
                to++;
            copy_n(&sums[9 * from], 9, &matrix.values[9 * to]);
        }
    }
}

shared_ptr<const Elimination> StiffnessAssembler::elimination(const vector<size_t>& coupled,
                                                              const CoupledPairs& contacts, const GivenBlocks& others) {
    PatternBuilder builder(numAtoms);
    builder.add(*bonded);
    for (const size_t k : coupled)
        builder.add(contacts.atoms[2 * k], contacts.atoms[2 * k + 1]);
    for (size_t k = 0; k < others.count; k++)
        builder.add(others.atoms[2 * k], others.atoms[2 * k + 1]);
    auto pattern = builder.build();
    // The analysis of the last update is good for the same pattern.
    return last && *last->pattern == *pattern ? last : make_shared<const Elimination>(move(pattern));
}

} // namespace openmm_reparam
