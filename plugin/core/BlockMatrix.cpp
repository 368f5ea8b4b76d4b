#include "BlockMatrix.h"

#include <algorithm>
#include <numeric>

using namespace std;

namespace openmm_reparam {

size_t BlockPattern::place(int64_t i, int64_t j) const {
    const auto begin = columns.begin() + starts[i], end = columns.begin() + starts[i + 1];
    return lower_bound(begin, end, int32_t(j)) - columns.begin();
}

double* BlockMatrix::block(int64_t i, int64_t j) {
    return &values[9 * pattern->place(i, j)];
}

void PatternBuilder::add(int64_t i, int64_t j) {
    auto& row = rows[max(i, j)];
    const int32_t column = int32_t(min(i, j));
    const auto place = lower_bound(row.begin(), row.end(), column);
    if (place == row.end() || *place != column)
        row.insert(place, column);
}

void PatternBuilder::add(const BlockPattern& pattern) {
    const auto at = [&](size_t i) { return pattern.columns.begin() + pattern.starts[i]; };
    for (size_t i = 0; i < pattern.size(); i++) {
        if (rows[i].empty())
            rows[i].assign(at(i), at(i + 1));
        else
            for (auto column = at(i); column != at(i + 1); ++column)
                add(i, *column);
    }
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
