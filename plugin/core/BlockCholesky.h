#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "BlockMatrix.h"

namespace openmm_reparam {

/// In what order a pattern's rows are eliminated, and what that costs.
struct Elimination {
    /// Approximate minimum degree (Amestoy, Davis, Duff, SIAM J. Matrix Anal. Appl. 1996, 17, 886).
    explicit Elimination(std::shared_ptr<const BlockPattern> pattern);

    std::shared_ptr<const BlockPattern> pattern;
    std::vector<int32_t> place;  ///< of each row in the order
    std::vector<int32_t> parent; ///< the elimination tree; -1 of roots
    std::vector<size_t> starts;  ///< of the factor's columns, less their diagonals
    double operations;           ///< products of 3 x 3 blocks

    /// The permuted matrix by rows: the blocks left of the diagonal as (column, block, whether it is transposed).
    struct Entry {
        int32_t column;
        bool transposed;
        size_t block;
    };
    std::vector<size_t> entryStarts;
    std::vector<Entry> entries;
    std::vector<size_t> diagonals; ///< block of each row in the order

    /// Columns that row k of the factor has, so that each comes before its parent.
    ///
    /// `marks` holds a number other than k for each row that was not met, and room for as many in `stack`. Returns
    /// where in `stack` they begin.
    size_t reach(int32_t k, std::vector<int32_t>& marks, std::vector<int32_t>& stack) const;
};

/// The factor L of a positive definite matrix L L^T.
class BlockCholesky {
  public:
    /// Factorizes matrix + shift I; nothing if it is not positive definite.
    static std::optional<BlockCholesky> factorize(const BlockMatrix& matrix,
                                                  std::shared_ptr<const Elimination> elimination, double shift);

    /// Solves for three numbers a row, in place; those of a row begin at 3 times its place in `vector`.
    void solve(double* vector, const std::vector<int64_t>& places) const;

    size_t size() const {
        return inverses.size() / 9;
    }

  private:
    std::shared_ptr<const Elimination> elimination;
    std::vector<int32_t> rows;
    std::vector<double> blocks;   ///< 9 for each
    std::vector<double> inverses; ///< of the diagonal's lower triangles, 9 for each
    mutable std::vector<double> work;
};

} // namespace openmm_reparam
