#pragma once

#include <string>

namespace OpenMM {
class Context;
class MinimizationReporter;
} // namespace OpenMM

namespace OpenMMReparam {

/// How a minimization ended.
struct MinimizationResult {
    bool converged;        ///< whether the RMS force reached the tolerance
    std::string message;   ///< why it ended
    double initialEnergy;  ///< kJ/mol
    double energy;         ///< kJ/mol
    double rmsForce;       ///< kJ/mol/nm, over the atoms that move, tangent to the constraints
    int iterations;        ///< accepted steps
    int forceEvaluations;
};

/// Finds a local minimum of a Context's energy with fewer force evaluations than OpenMM::LocalEnergyMinimizer.
///
/// L-BFGS, preconditioned by the force field's bonds, angles, torsions, constraints and close non-bonded pairs. As
/// with OpenMM's own, only positions change: constraints hold to the integrator's tolerance, massless particles stay,
/// virtual sites follow their parents, molecules are never re-imaged. Only force groups that the integrator integrates
/// count.
///
/// A step that would let unbonded atoms fall onto each other is refused, and the final energy never lies above the
/// start's. What only Python's `minimize_reparam` does: resolving clashes in a start, harmonic continuation of bonds,
/// carrying molecules that restraints pull far, stiffness of custom bonded forces, surrogates, reparametrizations and
/// searches.
class LocalMinimizer {
  public:
    /// Minimizes the energy of a Context from its positions, and writes the result back to it.
    ///
    /// @param context        whose positions change
    /// @param tolerance      RMS force to reach, kJ/mol/nm
    /// @param maxIterations  steps at most; no limit where 0
    /// @param reporter       called after each step as OpenMM calls it; true stops with what is reached
    ///
    /// @throws std::invalid_argument  a tolerance that is not positive, a negative limit; nothing can move
    /// @throws std::runtime_error     a position, energy or force of the start is not finite, or constraints cannot be
    ///                                satisfied; the message names the worst atoms
    ///
    /// After any exception, the reporter's included, the Context has the positions it had before.
    static MinimizationResult minimize(OpenMM::Context& context, double tolerance = 10, int maxIterations = 0,
                                       OpenMM::MinimizationReporter* reporter = nullptr);
};

} // namespace OpenMMReparam
