#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace openmm_reparam {

/// Which 3 x 3 blocks of the lower triangle of a symmetric matrix are there: columns by rows, in rising order.
///
/// The diagonal always is, as the last of its row.
struct BlockPattern {
    std::vector<size_t> starts;
    std::vector<int32_t> columns;

    size_t size() const {
        return starts.size() - 1;
    }

    /// Where the block of row i and column j <= i is; it must be there.
    size_t place(int64_t i, int64_t j) const;

    bool operator==(const BlockPattern& other) const {
        return starts == other.starts && columns == other.columns;
    }
};

/// A symmetric matrix of 3 x 3 blocks, one row of them for each atom.
struct BlockMatrix {
    std::shared_ptr<const BlockPattern> pattern;
    std::vector<double> values; ///< 9 for each block, row by row

    /// The block of row i and column j <= i; it must be there.
    double* block(int64_t i, int64_t j);
};

/// Atoms of the terms of one kind.
struct TermAtoms {
    std::vector<int64_t> atoms;
    size_t width;
};

/// Collects blocks.
class PatternBuilder {
  public:
    explicit PatternBuilder(size_t size) : rows(size) {}

    void add(int64_t i, int64_t j);
    void add(const BlockPattern& pattern);
    std::shared_ptr<const BlockPattern> build();

  private:
    std::vector<std::vector<int32_t>> rows;
};

} // namespace openmm_reparam
