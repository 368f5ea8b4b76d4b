#include "BlockMatrix.h"

#include <algorithm>
#include <numeric>

using namespace std;

namespace openmm_reparam {

double* BlockMatrix::block(int64_t i, int64_t j) {
    const auto& columns = pattern->columns;
    const auto begin = columns.begin() + pattern->starts[i], end = columns.begin() + pattern->starts[i + 1];
    return &values[9 * (lower_bound(begin, end, int32_t(j)) - columns.begin())];
}

void PatternBuilder::add(int64_t i, int64_t j) {
    auto& row = rows[max(i, j)];
    const int32_t column = int32_t(min(i, j));
    const auto place = lower_bound(row.begin(), row.end(), column);
    if (place == row.end() || *place != column)
        row.insert(place, column);
}

void PatternBuilder::add(const BlockPattern& pattern) {
    for (size_t i = 0; i < pattern.size(); i++)
        for (size_t at = pattern.starts[i]; at < pattern.starts[i + 1]; at++)
            add(i, pattern.columns[at]);
}

shared_ptr<const BlockPattern> PatternBuilder::build() {
    auto pattern = make_shared<BlockPattern>();
    pattern->starts.push_back(0);
    for (size_t i = 0; i < rows.size(); i++) {
        add(i, i);
        pattern->columns.insert(pattern->columns.end(), rows[i].begin(), rows[i].end());
        pattern->starts.push_back(pattern->columns.size());
    }
    return pattern;
}

} // namespace openmm_reparam
