#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "BlockCholesky.h"
#include "BlockMatrix.h"

namespace openmm_reparam {

/// Pairs of atoms that may be coupled, with the curvature of each.
struct CoupledPairs {
    size_t count;
    const int64_t* atoms;     ///< 2 for each
    const double* curvatures; ///< unit vector, radial and transverse curvature: 5 for each
};

/// Blocks (i, j) that are added as they are.
struct GivenBlocks {
    size_t count;
    const int64_t* atoms;
    const double* values; ///< 9 for each
};

/// A stiffness, and the order in which it is factorized.
struct Stiffness {
    BlockMatrix matrix;
    std::shared_ptr<const Elimination> elimination;
};

/// Sums up the stiffness of bonded terms and contacts, so that its factors stay sparse.
///
/// The stiffest contacts couple their atoms, as many as keep the factorization within `MOST_OPERATIONS` block products
/// an atom; of the others, each atom is held by the other one as if that stood still.
class StiffnessAssembler {
  public:
    static constexpr double MOST_OPERATIONS = 1000;

    /// `terms` are those of every kind of bonded ones.
    StiffnessAssembler(size_t size, std::vector<TermAtoms> terms);

    /// `rows` holds for every kind 3 numbers for each atom of each term: square root of the constant times gradient.
    Stiffness assemble(const std::vector<const double*>& rows, const double* atomBlocks, const CoupledPairs& contacts,
                       const GivenBlocks& others);

    size_t size() const {
        return numAtoms;
    }

    const std::vector<TermAtoms>& termAtoms() const {
        return terms;
    }

  private:
    std::shared_ptr<const Elimination> elimination(const std::vector<size_t>& coupled, const CoupledPairs& contacts,
                                                   const GivenBlocks& others);
    void addTerms(const std::vector<const double*>& rows, BlockMatrix& matrix) const;

    size_t numAtoms;
    std::vector<TermAtoms> terms;
    /// Of every kind, where `bonded` has the blocks of each term's pairs of atoms.
    std::vector<std::vector<int32_t>> places;
    std::shared_ptr<const BlockPattern> bonded;
    std::shared_ptr<const Elimination> last;
};

} // namespace openmm_reparam
