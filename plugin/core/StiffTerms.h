#pragma once

#include <cstdint>
#include <vector>

#include "SystemReader.h"

namespace openmm_reparam {

/// kJ/mol/nm^2: about the stiffness of a C-H or O-H bond, which a constraint usually stands for.
constexpr double CONSTRAINT_STIFFNESS = 4e5;

/// Terms of one kind whose second derivatives are known in closed form: bonds, angles, torsions.
///
/// Each is a row of a Jacobian R, sqrt(E'') grad(q): their Gauss-Newton Hessian is R^T R. What is negative is left out.
class StiffTerms {
  public:
    /// Those of a force; none where they are not known in closed form.
    static std::vector<StiffTerms> ofForce(const OpenMM::Force& force);

    /// A System's constraints, as springs; none where it has none.
    static std::vector<StiffTerms> ofConstraints(const OpenMM::System& system);

    /// Atoms of each row.
    const Table<int64_t>& atoms() const {
        return particles;
    }
    size_t count() const {
        return particles.values.size() / particles.columns;
    }

    /// Writes 3 numbers for each atom of each row. Finite wherever the positions are, where atoms coincide, too.
    void rows(const double* positions, const double* box, double* rows) const;

  private:
    enum class Kind { Bond, OnOneSpot, Angle, PeriodicTorsion, RyckaertBellemans };

    StiffTerms(Kind kind, bool periodic) : kind(kind), periodic(periodic) {}

    double secondDerivative(size_t term, double value) const;

    Kind kind;
    bool periodic;
    Table<int64_t> particles;
    Table<double> parameters;
};

/// The vector to the nearest image, in OpenMM's reduced boxes; the vector itself where there is no box.
void toNearestImage(double* vector, const double* box);

} // namespace openmm_reparam
