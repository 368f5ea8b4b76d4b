#pragma once

#include <optional>
#include <vector>

#include "Contacts.h"
#include "MoleculeStiffness.h"
#include "StiffTerms.h"

namespace OpenMM {
class Context;
}

namespace openmm_reparam {

/// P = H + mu I of a Context's force field: stiff bonded terms in closed form, constraints as springs, contacts.
///
/// Terms of custom forces are left to the pairs of the descent.
class Preconditioner {
  public:
    /// mu in kJ/mol/nm^2, about the stiffness of non-bonded surroundings: in vacuum, and in periodic boxes.
    static constexpr double SHIFT = 1e3, CONDENSED_SHIFT = 5e3;

    Preconditioner(const OpenMM::Context& context, std::vector<uint8_t> moves);

    /// Whether anything is known of the stiffness of any atom.
    bool isInformed() const {
        return contacts || !terms.empty();
    }
    /// Whether all forces are ones whose stiff terms can be read.
    bool isComplete() const {
        return complete;
    }
    const std::vector<int64_t>& molecules() const {
        return assembler->molecules().molecules;
    }

    /// Whether P could be factorized at the positions; if not, the one before stays in use.
    bool update(const double* positions, const double* box);

    /// Raises the shift tenfold, until the next update.
    void raiseShift();

    /// Multiplies with P^-1, in place.
    void solve(double* vectors) const;

  private:
    std::vector<uint8_t> moves;
    double smallestShift;
    bool complete = true, contactsArePeriodic = false;
    std::vector<StiffTerms> terms;
    std::optional<MoleculeAssembler> assembler;
    std::optional<Contacts> contacts;
    std::optional<MoleculeStiffness> stiffness;
    std::optional<MoleculeFactors> factors;
};

/// The parameters of a Context's first NonbondedForce in force groups; nothing where there is none.
std::optional<NonbondedTable> nonbondedOf(const OpenMM::Context& context, int groups);

} // namespace openmm_reparam
