#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "Contacts.h"
#include "SmallInverses.h"
#include "Stiffness.h"

namespace openmm_reparam {

/// Which atoms make a molecule, as far as terms bond them, and which molecules have dense blocks of their own.
///
/// Small ones (waters, ions, small solvents) are batches of one size each, all others one sparse matrix.
struct MoleculeLayout {
    /// Molecules up to this many atoms have dense blocks.
    static constexpr size_t LARGEST_SMALL_MOLECULE = 6;

    struct Batch {
        size_t width;               ///< atoms of each molecule
        std::vector<int64_t> atoms; ///< of one molecule after the other
    };

    size_t size;
    std::vector<uint8_t> moves;
    std::vector<int64_t> still;     ///< atoms that do not move
    std::vector<int64_t> molecules; ///< label of each atom's, counted from 0
    std::vector<uint8_t> isLarge;   ///< of each atom: whether contacts may couple it
    std::vector<Batch> batches;
    std::vector<int64_t> large;     ///< atoms of the sparse matrix
    /// Place of each atom among `large`, or in its batch.
    std::vector<int64_t> place;
    std::vector<int32_t> batchOf;   ///< of each atom, -1 of large ones
};

/// The inverse of a stiffness with a shift of its diagonal.
class MoleculeFactors {
  public:
    /// Multiplies 3 numbers an atom, in place; zero on atoms that do not move.
    void solve(double* vectors) const;

    size_t size() const {
        return layout->size;
    }
    double shift() const {
        return usedShift;
    }

  private:
    friend class MoleculeStiffness;

    std::shared_ptr<const MoleculeLayout> layout;
    std::vector<SmallInverses> small;
    std::optional<BlockCholesky> large;
    double usedShift = 0;
};

/// Positive semi-definite stiffness of all atoms, kJ/mol/nm^2.
class MoleculeStiffness {
  public:
    /// No shift is larger.
    static constexpr double MAX_SHIFT = 1e12;

    /// Blocks (i, j) that are there, each of a pair that is coupled both ways.
    struct Blocks {
        std::vector<int64_t> rows, columns;
        std::vector<double> values; ///< 9 for each
    };

    /// Factors with the smallest shift, tripled from the one given, that is enough; none where `MAX_SHIFT` is not.
    std::optional<MoleculeFactors> factorize(double shift) const;

    Blocks blocks() const;

    /// Products of 3 x 3 blocks that a factorization of the sparse matrix takes.
    double operations() const;

  private:
    friend class MoleculeAssembler;

    bool attempt(double shift, MoleculeFactors& factors) const;

    std::shared_ptr<const MoleculeLayout> layout;
    std::vector<std::vector<double>> small; ///< dense matrices of each batch
    std::optional<Stiffness> large;
};

/// Sums up the stiffness of bonded terms, contacts, and matrices that are given.
class MoleculeAssembler {
  public:
    /// `terms` are those of every kind of `size` atoms, `coupled` atoms that given blocks couple.
    MoleculeAssembler(std::vector<uint8_t> moves, std::vector<TermAtoms> terms, const std::vector<TermAtoms>& coupled);

    /// `rows` holds for every kind 3 numbers for each atom of each term, `atomBlocks` 9 for each atom.
    MoleculeStiffness assemble(const std::vector<const double*>& rows, const double* atomBlocks,
                               const CoupledPairs& contacts, const GivenBlocks& others);

    const MoleculeLayout& molecules() const {
        return *layout;
    }
    const std::vector<TermAtoms>& termAtoms() const {
        return terms;
    }

  private:
    std::shared_ptr<const MoleculeLayout> layout;
    std::vector<TermAtoms> terms;
    std::vector<std::vector<size_t>> largeTerms; ///< of every kind, those of the sparse matrix
    std::optional<StiffnessAssembler> large;
};

} // namespace openmm_reparam
