#include "TorsionCoordinates.h"

#include <algorithm>

#include "Displacements.h"

using namespace std;

namespace openmm_reparam {

namespace {

/// Multiplies a vector with a 3 x 3 matrix, in place.
void multiply(const double* matrix, double* v) {
    const double x = v[0], y = v[1], z = v[2];
    for (int d = 0; d < 3; d++)
        v[d] = matrix[3 * d] * x + matrix[3 * d + 1] * y + matrix[3 * d + 2] * z;
}

void multiplyTransposed(const double* matrix, double* v) {
    const double x = v[0], y = v[1], z = v[2];
    for (int d = 0; d < 3; d++)
        v[d] = matrix[d] * x + matrix[3 + d] * y + matrix[6 + d] * z;
}

} // namespace

void TorsionCoordinates::intoSpace(const double* frames, double* vector) const {
    for (size_t i = 0; i < numAtoms(); i++)
        multiply(frames + 9 * i, vector + numTorsions() + 3 * i);
}

void TorsionCoordinates::outOfSpace(const double* frames, double* vector) const {
    for (size_t i = 0; i < numAtoms(); i++)
        multiplyTransposed(frames + 9 * i, vector + numTorsions() + 3 * i);
}

void TorsionCoordinates::moved(const double* frames, const double* positions, const double* step,
                               double* newPositions, double* newFrames) const {
    vector<double> displaced(step, step + size());
    intoSpace(frames, displaced.data());
    double* places = &displaced[numTorsions()];
    for (size_t i = 0; i < 3 * numAtoms(); i++)
        places[i] += positions[i];
    motions.rotate(places, step, newPositions, newFrames);
    for (size_t i = 0; i < numAtoms(); i++) {
        double rotation[9];
        copy_n(newFrames + 9 * i, 9, rotation);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                newFrames[9 * i + 3 * a + b] = rotation[3 * a] * frames[9 * i + b] +
                                               rotation[3 * a + 1] * frames[9 * i + 3 + b] +
                                               rotation[3 * a + 2] * frames[9 * i + 6 + b];
    }
}

void TorsionCoordinates::forces(const double* frames, const double* positions, const double* forces,
                                double* found) const {
    motions.torques(positions, forces, found);
    copy_n(forces, 3 * numAtoms(), found + numTorsions());
    outOfSpace(frames, found);
}

double TorsionCoordinates::longest(const double* frames, const double* positions, const double* step) const {
    vector<double> moves(step, step + size()), turned(3 * numAtoms());
    intoSpace(frames, moves.data());
    motions.firstOrder(positions, step, turned.data());
    for (size_t i = 0; i < turned.size(); i++)
        turned[i] += moves[numTorsions() + i];
    return longestVector(turned.data(), numAtoms());
}

} // namespace openmm_reparam
