#include "MoleculeFrames.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>

#include "Threads.h"

using namespace std;
using Eigen::Matrix3d;
using Eigen::Vector3d;

namespace openmm_reparam {

namespace {

using Rotation = Eigen::Matrix<double, 3, 3, Eigen::RowMajor>;

// Of the largest moment of inertia: about an axis with less, atoms stand nearly in a line (water has 0.17). Small
// displacements off that line would be large angles, in which the rotation of the line itself is lost.
constexpr double LINE = 0.05;
// Of the cube of its trace: a tensor of inertia with a smaller determinant may be that of such a line.
constexpr double NEARLY_LINE = 6e-3;

using Vectors = array<Vector3d, MoleculeFrames::LARGEST>;

/// The rotation vector of displacements about the middle, by least squares.
Vector3d rotationOf(const Vectors& arms, const Vectors& displacements, size_t count) {
    Matrix3d inertia = Matrix3d::Zero();
    Vector3d momentum = Vector3d::Zero();
    for (size_t k = 0; k < count; k++) {
        inertia += arms[k].squaredNorm() * Matrix3d::Identity() - arms[k] * arms[k].transpose();
        momentum += arms[k].cross(displacements[k]);
    }
    const double trace = inertia.trace();
    if (inertia.determinant() > NEARLY_LINE * trace * trace * trace)
        return inertia.inverse() * momentum;
    Eigen::SelfAdjointEigenSolver<Matrix3d> axes;
    axes.computeDirect(inertia);
    Vector3d found = Vector3d::Zero();
    for (int k = 0; k < 3; k++)
        if (axes.eigenvalues()[k] > LINE * axes.eigenvalues()[2])
            found += axes.eigenvectors().col(k) * (axes.eigenvectors().col(k).dot(momentum) / axes.eigenvalues()[k]);
    return found;
}

Matrix3d turn(const Vector3d& rotation) {
    const double angle = rotation.norm();
    return angle > 0 ? Eigen::AngleAxisd(angle, rotation / angle).toRotationMatrix() : Matrix3d(Matrix3d::Identity());
}

} // namespace

MoleculeFrames::MoleculeFrames(const vector<int64_t>& molecules, const vector<uint8_t>& moves) {
    const size_t count = molecules.empty() ? 0 : size_t(*max_element(molecules.begin(), molecules.end())) + 1;
    vector<vector<int64_t>> members(count);
    vector<uint8_t> held(count);
    for (size_t i = 0; i < molecules.size(); i++) {
        members[molecules[i]].push_back(int64_t(i));
        held[molecules[i]] |= !moves[i];
    }
    for (size_t m = 0; m < count; m++) {
        if (held[m] || members[m].size() < 2 || members[m].size() > LARGEST)
            continue;
        starts.push_back(atoms.size());
        atoms.insert(atoms.end(), members[m].begin(), members[m].end());
    }
    if (atoms.empty())
        return;
    starts.push_back(atoms.size());
    turns.resize(molecules.size());
    for (const int64_t atom : atoms)
        turns[atom] = 1;
}

MoleculeFrames::Frames MoleculeFrames::laboratory() const {
    Frames frames(9 * count(), 0.0);
    for (size_t m = 0; m < count(); m++)
        for (int d = 0; d < 3; d++)
            frames[9 * m + 4 * d] = 1;
    return frames;
}

vector<double> MoleculeFrames::moved(const vector<double>& from, Frames& frames, const double* step) const {
    vector<double> to(from.size());
    for (size_t i = 0; i < from.size(); i++)
        to[i] = from[i] + step[i];
    inParallel(count(), [&](size_t begin, size_t end) {
        for (size_t m = begin; m < end; m++)
            move(m, from, &frames[9 * m], step, to);
    });
    return to;
}

void MoleculeFrames::move(size_t m, const vector<double>& from, double* frameOf, const double* step,
                          vector<double>& to) const {
    const size_t width = starts[m + 1] - starts[m];
    Eigen::Map<Rotation> frame(frameOf);
    Vectors arms, displacements;
    Vector3d middle = Vector3d::Zero(), translation = Vector3d::Zero();
    for (size_t k = 0; k < width; k++) {
        const int64_t atom = atoms[starts[m] + k];
        arms[k] = Eigen::Map<const Vector3d>(&from[3 * atom]);
        displacements[k] = frame * Eigen::Map<const Vector3d>(step + 3 * atom);
        middle += arms[k] / double(width);
        translation += displacements[k] / double(width);
    }
    for (size_t k = 0; k < width; k++) {
        arms[k] -= middle;
        displacements[k] -= translation;
    }
    const Vector3d rotation = rotationOf(arms, displacements, width);
    const Matrix3d turned = turn(rotation);
    for (size_t k = 0; k < width; k++) {
        const Vector3d deformed = arms[k] + displacements[k] - rotation.cross(arms[k]);
        Eigen::Map<Vector3d> there(&to[3 * atoms[starts[m] + k]]);
        there = middle + translation + turned * deformed;
    }
    frame = (turned * frame).eval();
}

void MoleculeFrames::enter(const Frames& frames, double* vectors) const {
    inParallel(count(), [&](size_t begin, size_t end) {
        for (size_t m = begin; m < end; m++) {
            const Matrix3d turned = Eigen::Map<const Rotation>(&frames[9 * m]).transpose();
            for (size_t k = starts[m]; k < starts[m + 1]; k++) {
                Eigen::Map<Vector3d> there(vectors + 3 * atoms[k]);
                there = (turned * there).eval();
            }
        }
    });
}

void MoleculeFrames::leave(const Frames& frames, double* vectors) const {
    inParallel(count(), [&](size_t begin, size_t end) {
        for (size_t m = begin; m < end; m++) {
            const Matrix3d turned = Eigen::Map<const Rotation>(&frames[9 * m]);
            for (size_t k = starts[m]; k < starts[m + 1]; k++) {
                Eigen::Map<Vector3d> there(vectors + 3 * atoms[k]);
                there = (turned * there).eval();
            }
        }
    });
}

void MoleculeFrames::taken(const vector<double>& from, const vector<double>& to, double* step) const {
    for (size_t i = 0; i < from.size(); i++)
        if (turns.empty() || !turns[i / 3])
            step[i] = to[i] - from[i];
}

} // namespace openmm_reparam
