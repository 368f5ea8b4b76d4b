#include "BlockCholesky.h"

#include <Eigen/OrderingMethods>
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>

using namespace std;

namespace openmm_reparam {

namespace {

vector<int32_t> minimumDegree(const BlockPattern& pattern) {
    using Matrix = Eigen::SparseMatrix<float, Eigen::ColMajor, int>;
    const int size = int(pattern.size());
    vector<Eigen::Triplet<float, int>> entries;
    entries.reserve(2 * pattern.columns.size());
    for (int i = 0; i < size; i++)
        for (size_t at = pattern.starts[i]; at < pattern.starts[i + 1]; at++) {
            entries.emplace_back(i, pattern.columns[at], 1.0f);
            if (pattern.columns[at] != i)
                entries.emplace_back(pattern.columns[at], i, 1.0f);
        }
    Matrix graph(size, size);
    graph.setFromTriplets(entries.begin(), entries.end());
    Eigen::PermutationMatrix<Eigen::Dynamic, Eigen::Dynamic, int> order;
    Eigen::AMDOrdering<int>()(graph, order);
    // Its indices name, place by place, the row that is eliminated there.
    vector<int32_t> place(size);
    for (int k = 0; k < size; k++)
        place[order.indices()[k]] = k;
    return place;
}

/// a -= b c^T
void subtractProduct(double* a, const double* b, const double* c) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            a[3 * i + j] -= b[3 * i] * c[3 * j] + b[3 * i + 1] * c[3 * j + 1] + b[3 * i + 2] * c[3 * j + 2];
}

/// a b^T of a lower triangle b
void timesTransposed(const double* a, const double* b, double* product) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double sum = 0;
            for (int k = 0; k <= j; k++)
                sum += a[3 * i + k] * b[3 * j + k];
            product[3 * i + j] = sum;
        }
}

/// Inverse of the Cholesky factor of a block; whether that is positive definite.
bool invertFactor(const double* a, double* inverse) {
    double l[9];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j <= i; j++) {
            double rest = a[3 * i + j];
            for (int k = 0; k < j; k++)
                rest -= l[3 * i + k] * l[3 * j + k];
            if (i > j)
                l[3 * i + j] = rest / l[4 * j];
            else if (rest > 0 && isfinite(rest))
                l[4 * i] = sqrt(rest);
            else
                return false;
        }
    fill_n(inverse, 9, 0.0);
    for (int i = 0; i < 3; i++) {
        inverse[4 * i] = 1 / l[4 * i];
        for (int j = 0; j < i; j++) {
            double sum = 0;
            for (int k = j; k < i; k++)
                sum += l[3 * i + k] * inverse[3 * k + j];
            inverse[3 * i + j] = -sum / l[4 * i];
        }
    }
    return true;
}

} // namespace

Elimination::Elimination(shared_ptr<const BlockPattern> given) : pattern(move(given)), operations(0) {
    const size_t size = pattern->size();
    place = minimumDegree(*pattern);
    entryStarts.assign(size + 1, 0);
    diagonals.resize(size);
    const auto forEntries = [&](const auto& visit) {
        for (size_t i = 0; i < size; i++)
            for (size_t at = pattern->starts[i]; at < pattern->starts[i + 1]; at++)
                visit(place[i], place[pattern->columns[at]], at);
    };
    forEntries([&](int32_t i, int32_t j, size_t at) {
        if (i == j)
            diagonals[i] = at;
        else
            entryStarts[max(i, j) + 1]++;
    });
    for (size_t k = 0; k < size; k++)
        entryStarts[k + 1] += entryStarts[k];
    entries.resize(entryStarts[size]);
    vector<size_t> next(entryStarts.begin(), entryStarts.end() - 1);
    forEntries([&](int32_t i, int32_t j, size_t at) {
        if (i != j)
            entries[next[max(i, j)]++] = {min(i, j), i < j, at};
    });
    // The elimination tree (Liu, SIAM J. Matrix Anal. Appl. 1990, 11, 134).
    parent.assign(size, -1);
    vector<int32_t> ancestor(size, -1);
    for (size_t k = 0; k < size; k++)
        for (size_t e = entryStarts[k]; e < entryStarts[k + 1]; e++)
            for (int32_t i = entries[e].column; i != -1 && i != int32_t(k);) {
                const int32_t up = ancestor[i];
                ancestor[i] = int32_t(k);
                if (up == -1)
                    parent[i] = int32_t(k);
                i = up;
            }
    starts.assign(size + 1, 0);
    vector<int32_t> marks(size, -1), stack(size);
    for (size_t k = 0; k < size; k++)
        for (size_t top = reach(int32_t(k), marks, stack); top < size; top++)
            starts[stack[top] + 1]++;
    for (size_t k = 0; k < size; k++) {
        operations += 0.5 * double(starts[k + 1]) * double(starts[k + 1] + 1);
        starts[k + 1] += starts[k];
    }
}

size_t Elimination::reach(int32_t k, vector<int32_t>& marks, vector<int32_t>& stack) const {
    size_t top = stack.size();
    marks[k] = k;
    for (size_t e = entryStarts[k]; e < entryStarts[k + 1]; e++) {
        size_t length = 0;
        for (int32_t i = entries[e].column; marks[i] != k; i = parent[i]) {
            stack[length++] = i;
            marks[i] = k;
        }
        while (length > 0)
            stack[--top] = stack[--length];
    }
    return top;
}

optional<BlockCholesky> BlockCholesky::factorize(const BlockMatrix& matrix, shared_ptr<const Elimination> elimination,
                                                 double shift) {
    const Elimination& order = *elimination;
    const size_t size = order.place.size(), count = order.starts[size];
    BlockCholesky factor;
    factor.elimination = elimination;
    factor.rows.resize(count);
    factor.inverses.resize(9 * size);
    factor.work.resize(3 * size);
    factor.blocks.resize(9 * count);
    vector<double>& blocks = factor.blocks;
    vector<double> row(9 * size, 0.0);
    vector<size_t> next(order.starts.begin(), order.starts.end() - 1);
    vector<int32_t> marks(size, -1), stack(size);
    // Row by row (up-looking): Davis, "Direct Methods for Sparse Linear Systems", SIAM 2006, chapter 4.
    for (size_t k = 0; k < size; k++) {
        size_t top = order.reach(int32_t(k), marks, stack);
        for (size_t e = order.entryStarts[k]; e < order.entryStarts[k + 1]; e++) {
            const auto& entry = order.entries[e];
            for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++)
                    row[9 * entry.column + 3 * a + b] =
                        matrix.values[9 * entry.block + (entry.transposed ? 3 * b + a : 3 * a + b)];
        }
        double diagonal[9];
        copy_n(&matrix.values[9 * order.diagonals[k]], 9, diagonal);
        for (int a = 0; a < 3; a++)
            diagonal[4 * a] += shift;
        for (; top < size; top++) {
            const int32_t i = stack[top];
            double own[9];
            timesTransposed(&row[9 * i], &factor.inverses[9 * i], own);
            fill_n(&row[9 * i], 9, 0.0);
            for (size_t at = order.starts[i]; at < next[i]; at++)
                subtractProduct(&row[9 * factor.rows[at]], own, &blocks[9 * at]);
            subtractProduct(diagonal, own, own);
            const size_t at = next[i]++;
            factor.rows[at] = int32_t(k);
            copy_n(own, 9, &blocks[9 * at]);
        }
        if (!invertFactor(diagonal, &factor.inverses[9 * k]))
            return nullopt;
    }
    return factor;
}

void BlockCholesky::solve(double* vector, const std::vector<int64_t>& places) const {
    const Elimination& order = *elimination;
    const size_t size = order.place.size();
    for (size_t i = 0; i < size; i++)
        copy_n(vector + 3 * places[i], 3, &work[3 * order.place[i]]);
    for (size_t j = 0; j < size; j++) {
        const double* inverse = &inverses[9 * j];
        double* x = &work[3 * j];
        x[2] = inverse[6] * x[0] + inverse[7] * x[1] + inverse[8] * x[2];
        x[1] = inverse[3] * x[0] + inverse[4] * x[1];
        x[0] = inverse[0] * x[0];
        for (size_t at = order.starts[j]; at < order.starts[j + 1]; at++) {
            const double* l = &blocks[9 * at];
            double* y = &work[3 * rows[at]];
            for (int a = 0; a < 3; a++)
                y[a] -= l[3 * a] * x[0] + l[3 * a + 1] * x[1] + l[3 * a + 2] * x[2];
        }
    }
    for (size_t j = size; j-- > 0;) {
        double* x = &work[3 * j];
        for (size_t at = order.starts[j]; at < order.starts[j + 1]; at++) {
            const double* l = &blocks[9 * at];
            const double* y = &work[3 * rows[at]];
            for (int a = 0; a < 3; a++)
                x[a] -= l[a] * y[0] + l[3 + a] * y[1] + l[6 + a] * y[2];
        }
        const double* inverse = &inverses[9 * j];
        x[0] = inverse[0] * x[0] + inverse[3] * x[1] + inverse[6] * x[2];
        x[1] = inverse[4] * x[1] + inverse[7] * x[2];
        x[2] = inverse[8] * x[2];
    }
    for (size_t i = 0; i < size; i++)
        copy_n(&work[3 * order.place[i]], 3, vector + 3 * places[i]);
}

} // namespace openmm_reparam
