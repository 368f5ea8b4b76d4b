#include "SmallInverses.h"

#include <atomic>
#include <cmath>
#include <type_traits>

#include "Threads.h"

using namespace std;

namespace openmm_reparam {

namespace {

/// Writes the lower triangle of the inverse of a matrix plus a shift; whether that is positive definite.
///
/// `l` and `k` are room for as many numbers as the matrix has.
bool invertOne(const double* matrix, size_t width, double shift, double* l, double* k, double* inverse) {
    // L, and its inverse K: that of the matrix is K^T K.
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j <= i; j++) {
            double rest = matrix[i * width + j] + (i == j ? shift : 0.0);
            for (size_t p = 0; p < j; p++)
                rest -= l[i * width + p] * l[j * width + p];
            if (i > j)
                l[i * width + j] = rest / l[j * width + j];
            else if (rest > 0 && isfinite(rest))
                l[i * width + i] = sqrt(rest);
            else
                return false;
        }
    for (size_t i = 0; i < width; i++) {
        const double pivot = k[i * width + i] = 1 / l[i * width + i];
        for (size_t j = 0; j < i; j++) {
            double sum = 0;
            for (size_t p = j; p < i; p++)
                sum += l[i * width + p] * k[p * width + j];
            k[i * width + j] = -sum * pivot;
        }
    }
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t p = i; p < width; p++)
                sum += k[p * width + i] * k[p * width + j];
            *inverse++ = sum;
        }
    return true;
}

} // namespace

optional<SmallInverses> SmallInverses::invert(const double* matrices, size_t count, size_t width, double shift) {
    SmallInverses found;
    found.count = count;
    found.width = width;
    const size_t numbers = width * (width + 1) / 2;
    found.inverses.resize(count * numbers);
    atomic<bool> definite = true;
    inParallel(count, [&](size_t begin, size_t end) {
        vector<double> l(width * width), k(width * width);
        for (size_t m = begin; m < end && definite; m++)
            if (!invertOne(matrices + m * width * width, width, shift, l.data(), k.data(),
                           &found.inverses[m * numbers]))
                definite = false;
    });
    return definite ? optional(move(found)) : nullopt;
}

namespace {

/// Multiplies a symmetric matrix, of which there is the lower triangle, with numbers.
template <class Width> void multiply(const double* row, Width width, const double* vector, double* product) {
    for (size_t i = 0; i < width; row += ++i) {
        double sum = row[i] * vector[i];
        for (size_t j = 0; j < i; j++) {
            sum += row[j] * vector[j];
            product[j] += row[j] * vector[i];
        }
        product[i] = sum;
    }
}

} // namespace

void SmallInverses::solve(size_t matrix, const double* vector, double* solution) const {
    const double* triangle = &inverses[matrix * (width * (width + 1) / 2)];
    // Waters are by far the most: their loops are unrolled.
    if (width == 9)
        multiply(triangle, integral_constant<size_t, 9>(), vector, solution);
    else
        multiply(triangle, width, vector, solution);
}

} // namespace openmm_reparam
