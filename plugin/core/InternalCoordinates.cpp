#include "InternalCoordinates.h"

#include <algorithm>
#include <cmath>

using namespace std;

namespace openmm_reparam {

namespace {

// A vector shorter than this (nm) is rounding: it has no direction.
constexpr double NO_LENGTH = 1e-12;
// Gradients of angles and dihedrals grow as 1/length. Arms and axes shorter than this (nm), which atoms that have
// fallen onto each other have, count as this long.
constexpr double SHORTEST_ARM = 0.02;
// The square of the cross product of two bonds of 0.1 nm 6 degrees apart.
constexpr double SMALLEST_CROSS = 1e-6;

double dot(const double* a, const double* b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

void cross(const double* a, const double* b, double* c) {
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

/// The length; the unit vector is zero where there is none.
double direction(const double* v, double* unit) {
    const double length = sqrt(dot(v, v));
    for (int d = 0; d < 3; d++)
        unit[d] = length > NO_LENGTH ? v[d] / length : 0.0;
    return length;
}

} // namespace

double distance(const double* ij, double* gradient) {
    const double length = direction(ij, gradient);
    // At distance zero, where no gradient exists, that along the x axis.
    if (length <= NO_LENGTH)
        gradient[0] = 1;
    for (int d = 0; d < 3; d++)
        gradient[3 + d] = -gradient[d];
    return length;
}

double angle(const double* ij, const double* kj, double* gradient) {
    double u[3], v[3];
    const double i = max(direction(ij, u), SHORTEST_ARM), k = max(direction(kj, v), SHORTEST_ARM);
    const double cosine = clamp(dot(u, v), -1.0, 1.0), sine = sqrt(max(1 - cosine * cosine, 1e-4));
    for (int d = 0; d < 3; d++) {
        gradient[d] = (cosine * u[d] - v[d]) / (sine * i);
        gradient[6 + d] = (cosine * v[d] - u[d]) / (sine * k);
        gradient[3 + d] = -gradient[d] - gradient[6 + d];
    }
    return acos(cosine);
}

double dihedral(const double* ij, const double* kj, const double* kl, double* gradient) {
    double m[3], n[3];
    cross(ij, kj, m);
    cross(kj, kl, n);
    const double axis = sqrt(dot(kj, kj)), arm = max(axis, SHORTEST_ARM);
    const double first = axis / max(dot(m, m), SMALLEST_CROSS), last = -axis / max(dot(n, n), SMALLEST_CROSS);
    const double alongI = dot(ij, kj) / (arm * arm), alongL = dot(kl, kj) / (arm * arm);
    for (int d = 0; d < 3; d++) {
        const double i = first * m[d], l = last * n[d];
        gradient[d] = i;
        gradient[3 + d] = (alongI - 1) * i - alongL * l;
        gradient[6 + d] = (alongL - 1) * l - alongI * i;
        gradient[9 + d] = l;
    }
    return atan2(dot(ij, n) * axis, dot(m, n));
}

} // namespace openmm_reparam
