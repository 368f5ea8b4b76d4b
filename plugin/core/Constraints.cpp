#include "Constraints.h"

#include <Eigen/SparseCholesky>
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <stdexcept>

#include "Threads.h"

using namespace std;

namespace openmm_reparam {

namespace {

using Sparse = Eigen::SparseMatrix<double>;
using Vector = Eigen::VectorXd;

double dot(const double* a, const double* b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/// How often two constraints share a particle: counted negative where their signs differ.
double sharedParticles(const int64_t* c, const int64_t* d) {
    return (c[0] == d[0]) + (c[1] == d[1]) - (c[0] == d[1]) - (c[1] == d[0]);
}

/// Representatives of the groups that pairs join.
class Groups {
  public:
    explicit Groups(size_t size) : parents(size) {
        iota(parents.begin(), parents.end(), int64_t(0));
    }

    int64_t find(int64_t i) {
        while (parents[i] != i)
            i = parents[i] = parents[parents[i]];
        return i;
    }

    void join(int64_t i, int64_t j) {
        parents[find(j)] = find(i);
    }

  private:
    vector<int64_t> parents;
};

/// Inverse of a symmetric positive definite matrix (Gauss and Jordan); its largest entry, infinite where there is none.
template <class Size> double invert(double* a, Size size) {
    double largest = 0;
    for (size_t k = 0; k < size; k++) {
        const double pivot = a[k * size + k];
        if (!(pivot > 0))
            return numeric_limits<double>::infinity();
        for (size_t i = 0; i < size; i++) {
            if (i == k)
                continue;
            const double factor = a[i * size + k] / pivot;
            for (size_t j = 0; j < size; j++)
                if (j != k)
                    a[i * size + j] -= factor * a[k * size + j];
            a[i * size + k] = -factor;
        }
        for (size_t j = 0; j < size; j++)
            a[k * size + j] = j == k ? 1 / pivot : a[k * size + j] / pivot;
    }
    for (size_t k = 0; k < size * size; k++)
        largest = max(largest, isfinite(a[k]) ? abs(a[k]) : numeric_limits<double>::infinity());
    return largest;
}

vector<double> product(const vector<double>& a, const vector<double>& b, size_t size) {
    vector<double> c(size * size, 0.0);
    for (size_t i = 0; i < size; i++)
        for (size_t k = 0; k < size; k++)
            for (size_t j = 0; j < size; j++)
                c[i * size + j] += a[i * size + k] * b[k * size + j];
    return c;
}

/// What stands for the inverse where a matrix is singular.
vector<double> pseudoInverse(const vector<double>& gram, size_t size) {
    vector<double> regular = gram;
    for (size_t k = 0; k < size; k++)
        regular[k * size + k] += Constraints::REGULARIZATION;
    invert(regular.data(), size);
    vector<double> refined = regular;
    for (int n = 0; n < Constraints::REFINEMENTS; n++) {
        const vector<double> missing = product(regular, product(gram, refined, size), size);
        for (size_t k = 0; k < refined.size(); k++)
            refined[k] += regular[k] - missing[k];
    }
    return refined;
}

} // namespace

/// The groups that are factorized together as one sparse matrix: they begin at `first`.
struct Constraints::Large {
    size_t first;
    vector<pair<int, int>> coupled; ///< by their places from `first` on
    Sparse gram;
    Eigen::SimplicialLDLT<Sparse> factors;
};

Constraints::Constraints(const int64_t* given, const double* givenLengths, size_t count, size_t size)
    : numParticles(size), places(count), directions(3 * count), distances(count) {
    Groups joined(size);
    for (size_t c = 0; c < count; c++) {
        if (min(given[2 * c], given[2 * c + 1]) < 0 || max(given[2 * c], given[2 * c + 1]) >= int64_t(size))
            throw invalid_argument("a constraint has a particle that does not exist");
        joined.join(given[2 * c], given[2 * c + 1]);
    }
    vector<size_t> sizes(size, 0);
    vector<int64_t> group(count);
    for (size_t c = 0; c < count; c++)
        sizes[group[c] = joined.find(given[2 * c])]++;
    const auto isLarge = [&](size_t c) { return sizes[group[c]] > LARGEST_BLOCK; };
    iota(places.begin(), places.end(), size_t(0));
    stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) {
        return make_pair(isLarge(a), group[a]) < make_pair(isLarge(b), group[b]);
    });
    for (const size_t c : places) {
        pairs.insert(pairs.end(), {given[2 * c], given[2 * c + 1]});
        lengths.push_back(givenLengths[c]);
    }
    size_t at = 0, room = 0;
    for (; at < count && !isLarge(places[at]); at += sizes[group[places[at]]]) {
        groups.push_back(at);
        inverseAt.push_back(room);
        room += sizes[group[places[at]]] * sizes[group[places[at]]];
    }
    groups.push_back(at);
    inverses.resize(room);
    if (at == count)
        return;
    large = make_unique<Large>();
    large->first = at;
    vector<vector<int>> ofParticle(size);
    for (size_t c = at; c < count; c++)
        for (int end = 0; end < 2; end++)
            ofParticle[pairs[2 * c + end]].push_back(int(c - at));
    for (const auto& sharing : ofParticle)
        for (const int c : sharing)
            for (const int d : sharing)
                large->coupled.emplace_back(c, d);
    sort(large->coupled.begin(), large->coupled.end());
    large->coupled.erase(unique(large->coupled.begin(), large->coupled.end()), large->coupled.end());
}

Constraints::~Constraints() = default;
Constraints::Constraints(Constraints&&) noexcept = default;

void Constraints::errors(const double* positions, double* found) const {
    for (size_t c = 0; c < count(); c++) {
        double v[3];
        for (int d = 0; d < 3; d++)
            v[d] = positions[3 * pairs[2 * c] + d] - positions[3 * pairs[2 * c + 1] + d];
        const double error = abs(sqrt(dot(v, v)) - lengths[c]) / lengths[c];
        found[places[c]] = isnan(error) ? numeric_limits<double>::infinity() : error;
    }
}

void Constraints::factorize(const double* positions) {
    if (equal(factorizedAt.begin(), factorizedAt.end(), positions) && !factorizedAt.empty())
        return;
    inParallel(count(), [&](size_t begin, size_t end) {
        for (size_t c = begin; c < end; c++) {
            double* v = &directions[3 * c];
            for (int d = 0; d < 3; d++)
                v[d] = positions[3 * pairs[2 * c] + d] - positions[3 * pairs[2 * c + 1] + d];
            distances[c] = sqrt(dot(v, v));
            // Particles on one spot have no direction: nothing is done along their constraint.
            for (int d = 0; d < 3; d++)
                v[d] /= max(distances[c], numeric_limits<double>::min());
        }
    });
    const auto gramOf = [&](size_t c, size_t d) {
        return sharedParticles(&pairs[2 * c], &pairs[2 * d]) * dot(&directions[3 * c], &directions[3 * d]);
    };
    inParallel(groups.size() - 1, [&](size_t begin, size_t end) {
        vector<double> gram;
        for (size_t g = begin; g < end; g++) {
            const size_t first = groups[g], size = groups[g + 1] - first;
            gram.resize(size * size);
            for (size_t c = 0; c < size; c++)
                for (size_t d = 0; d < size; d++)
                    gram[c * size + d] = gramOf(first + c, first + d);
            double* inverse = copy(gram.begin(), gram.end(), &inverses[inverseAt[g]]) - gram.size();
            // Rigid waters are by far the most: their loops are unrolled.
            const double largest = size == 3 ? invert(inverse, integral_constant<size_t, 3>()) : invert(inverse, size);
            if (largest < LARGEST_INVERSE)
                continue;
            const vector<double> instead = pseudoInverse(gram, size);
            copy(instead.begin(), instead.end(), inverse);
        }
    });
    if (large) {
        const int size = int(count() - large->first);
        vector<Eigen::Triplet<double>> entries;
        for (const auto& [c, d] : large->coupled)
            entries.emplace_back(c, d, gramOf(large->first + c, large->first + d));
        large->gram.resize(size, size);
        large->gram.setFromTriplets(entries.begin(), entries.end());
        large->factors.setShift(REGULARIZATION);
        large->factors.compute(large->gram);
    }
    factorizedAt.assign(positions, positions + 3 * numParticles);
}

template <class Right> void Constraints::solveAndSubtract(const Right& right, double* vectors) const {
    const auto subtract = [&](size_t c, double multiplier) {
        double *first = vectors + 3 * pairs[2 * c], *second = vectors + 3 * pairs[2 * c + 1];
        for (int d = 0; d < 3; d++) {
            const double change = multiplier * directions[3 * c + d];
            first[d] -= change;
            second[d] += change;
        }
    };
    inParallel(groups.size() - 1, [&](size_t begin, size_t end) {
        double asked[LARGEST_BLOCK], multipliers[LARGEST_BLOCK];
        for (size_t g = begin; g < end; g++) {
            const size_t first = groups[g], size = groups[g + 1] - first;
            const double* inverse = &inverses[inverseAt[g]];
            for (size_t c = 0; c < size; c++)
                asked[c] = right(first + c);
            for (size_t c = 0; c < size; c++) {
                multipliers[c] = 0;
                for (size_t d = 0; d < size; d++)
                    multipliers[c] += inverse[c * size + d] * asked[d];
            }
            for (size_t c = 0; c < size; c++)
                subtract(first + c, multipliers[c]);
        }
    });
    if (!large)
        return;
    vector<double> all(count() - large->first), solved(all.size());
    for (size_t c = 0; c < all.size(); c++)
        all[c] = right(large->first + c);
    solveLarge(all.data(), solved.data());
    for (size_t c = 0; c < all.size(); c++)
        subtract(large->first + c, solved[c]);
}

void Constraints::solveLarge(const double* right, double* solution) const {
    const size_t size = count() - large->first;
    const Vector asked = Eigen::Map<const Vector>(right, size);
    Vector found = Vector::Zero(size);
    for (int n = 0; n <= REFINEMENTS; n++)
        found += large->factors.solve(asked - large->gram * found);
    copy(found.begin(), found.end(), solution);
}

void Constraints::project(const double* positions, double* vectors) {
    factorize(positions);
    const auto rate = [&](size_t c) {
        const double *first = vectors + 3 * pairs[2 * c], *second = vectors + 3 * pairs[2 * c + 1];
        double change = 0;
        for (int d = 0; d < 3; d++)
            change += directions[3 * c + d] * (first[d] - second[d]);
        return change;
    };
    solveAndSubtract(rate, vectors);
}

void Constraints::approach(double* positions) {
    factorize(positions);
    solveAndSubtract([&](size_t c) { return distances[c] - lengths[c]; }, positions);
}

} // namespace openmm_reparam
