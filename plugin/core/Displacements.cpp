#include "Displacements.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace std;

namespace openmm_reparam {

namespace {

double square(const double* v) {
    return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
}

} // namespace

double longestVector(const double* vectors, size_t size) {
    double longest = 0;
    for (size_t i = 0; i < size; i++)
        longest = max(longest, square(vectors + 3 * i));
    return sqrt(longest);
}

double longestWithinMolecules(const double* vectors, size_t size, const vector<int64_t>& molecules) {
    const auto labelOf = [&](size_t i) { return molecules.empty() ? 0 : size_t(molecules[i]); };
    const size_t count = molecules.empty() ? 1 : size_t(*max_element(molecules.begin(), molecules.end())) + 1;
    vector<double> means(3 * count), sizes(count);
    for (size_t i = 0; i < size; i++) {
        sizes[labelOf(i)]++;
        for (int d = 0; d < 3; d++)
            means[3 * labelOf(i) + d] += vectors[3 * i + d];
    }
    double longest = 0;
    for (size_t i = 0; i < size; i++) {
        double v[3];
        for (int d = 0; d < 3; d++)
            v[d] = vectors[3 * i + d] - means[3 * labelOf(i) + d] / sizes[labelOf(i)];
        longest = max(longest, square(v));
    }
    return sqrt(longest);
}

double largestNumber(const double* numbers, size_t size) {
    double largest = 0;
    bool finite = true;
    for (size_t i = 0; i < size; i++) {
        const double found = abs(numbers[i]);
        finite = finite && found <= numeric_limits<double>::max();
        largest = max(largest, found);
    }
    return finite ? largest : numeric_limits<double>::infinity();
}

} // namespace openmm_reparam
