#include "CurvaturePairs.h"

#include <algorithm>

using namespace std;

namespace openmm_reparam {

namespace {

/// v += factor a, and the inner product of b with the result: the vector passes by once.
template <class T> double addAndDot(double* v, double factor, const T* a, const T* b, size_t size) {
    double sums[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (size_t k = 0; k < 4; k++) {
            v[i + k] += factor * a[i + k];
            sums[k] += b[i + k] * v[i + k];
        }
    for (; i < size; i++) {
        v[i] += factor * a[i];
        sums[0] += b[i] * v[i];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <class T> void addScaled(double* v, double factor, const T* a, size_t size) {
    for (size_t i = 0; i < size; i++)
        v[i] += factor * a[i];
}

template <class T> double innerProduct(const T* a, const double* b, size_t size) {
    double sums[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (size_t k = 0; k < 4; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < size; i++)
        sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

} // namespace

double dot(const double* a, const double* b, size_t size) {
    return innerProduct(a, b, size);
}

CurvaturePairs::CurvaturePairs(size_t memory) : memory(memory) {}

void CurvaturePairs::add(const CurvaturePair& pair) {
    if (pair.step.size() > LARGEST_IN_DOUBLE)
        append(singles, pair);
    else
        append(doubles, pair);
}

template <class T> void CurvaturePairs::append(Memory<T>& pairs, const CurvaturePair& pair) {
    shared_ptr<Kept<T>> kept;
    if (pairs.size() >= memory) {
        kept = move(pairs.front());
        pairs.erase(pairs.begin());
    }
    // Memory of the oldest is used again, unless a copy shares it: filling new pages takes longer.
    if (kept.use_count() != 1)
        kept = make_shared<Kept<T>>();
    kept->step.assign(pair.step.begin(), pair.step.end());
    kept->change.assign(pair.change.begin(), pair.change.end());
    kept->curvature = pair.curvature;
    pairs.push_back(move(kept));
}

void CurvaturePairs::clear() {
    singles.clear();
    doubles.clear();
}

size_t CurvaturePairs::count() const {
    return singles.size() + doubles.size();
}

CurvaturePair CurvaturePairs::pair(size_t k) const {
    const auto copied = [&](const auto& kept) {
        return CurvaturePair{{kept.step.begin(), kept.step.end()},
                             {kept.change.begin(), kept.change.end()},
                             kept.curvature};
    };
    return singles.empty() ? copied(*doubles.at(k)) : copied(*singles.at(k));
}

void CurvaturePairs::multiply(vector<double>& v, const Solver& solve, double ratio) const {
    const size_t size = v.size();
    vector<double> weights =
        singles.empty() ? towardsOldest(v.data(), size, doubles) : towardsOldest(v.data(), size, singles);
    solve(v.data());
    if (count() == 0)
        return;
    for (double& number : v)
        number *= ratio;
    if (singles.empty())
        towardsNewest(v.data(), size, doubles, weights);
    else
        towardsNewest(v.data(), size, singles, weights);
}

/// The first half of the recursion, from the newest pair to the oldest.
template <class T> vector<double> CurvaturePairs::towardsOldest(double* v, size_t size, const Memory<T>& pairs) {
    vector<double> weights(pairs.size());
    if (pairs.empty())
        return weights;
    double product = innerProduct(pairs.back()->step.data(), v, size);
    for (size_t k = pairs.size(); k-- > 0;) {
        weights[k] = product / pairs[k]->curvature;
        if (k > 0)
            product = addAndDot(v, -weights[k], pairs[k]->change.data(), pairs[k - 1]->step.data(), size);
        else
            addScaled(v, -weights[k], pairs[k]->change.data(), size);
    }
    return weights;
}

template <class T>
void CurvaturePairs::towardsNewest(double* v, size_t size, const Memory<T>& pairs, const vector<double>& weights) {
    double product = innerProduct(pairs[0]->change.data(), v, size);
    for (size_t k = 0; k < pairs.size(); k++) {
        const double factor = weights[k] - product / pairs[k]->curvature;
        if (k + 1 < pairs.size())
            product = addAndDot(v, factor, pairs[k]->step.data(), pairs[k + 1]->change.data(), size);
        else
            addScaled(v, factor, pairs[k]->step.data(), size);
    }
}

double curvatureRatio(const CurvaturePair& pair, const CurvaturePairs::Solver& solve) {
    vector<double> solved = pair.change;
    solve(solved.data());
    return pair.curvature / dot(pair.change.data(), solved.data(), solved.size());
}

} // namespace openmm_reparam
