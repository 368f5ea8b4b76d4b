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

template <class T> void add(double* v, double factor, const T* a, size_t size) {
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

template <class T> vector<double> towardsOldest(double* v, size_t size, const vector<CurvaturePair<T>>& pairs) {
    vector<double> weights(pairs.size());
    if (pairs.empty())
        return weights;
    double product = innerProduct(pairs.back().step, v, size);
    for (size_t k = pairs.size(); k-- > 0;) {
        weights[k] = product / pairs[k].curvature;
        if (k > 0)
            product = addAndDot(v, -weights[k], pairs[k].change, pairs[k - 1].step, size);
        else
            add(v, -weights[k], pairs[k].change, size);
    }
    return weights;
}

template <class T>
void towardsNewest(double* v, size_t size, const vector<CurvaturePair<T>>& pairs, const vector<double>& weights) {
    if (pairs.empty())
        return;
    double product = innerProduct(pairs[0].change, v, size);
    for (size_t k = 0; k < pairs.size(); k++) {
        const double factor = weights[k] - product / pairs[k].curvature;
        if (k + 1 < pairs.size())
            product = addAndDot(v, factor, pairs[k].step, pairs[k + 1].change, size);
        else
            add(v, factor, pairs[k].step, size);
    }
}

template vector<double> towardsOldest(double*, size_t, const vector<CurvaturePair<float>>&);
template vector<double> towardsOldest(double*, size_t, const vector<CurvaturePair<double>>&);
template void towardsNewest(double*, size_t, const vector<CurvaturePair<float>>&, const vector<double>&);
template void towardsNewest(double*, size_t, const vector<CurvaturePair<double>>&, const vector<double>&);

} // namespace openmm_reparam
