#include "NearPairs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

using namespace std;

namespace openmm_reparam {

PairSet::PairSet(const int64_t* pairs, size_t count, size_t size) : starts(size + 1, 0), larger(count), places(count) {
    for (size_t k = 0; k < count; k++) {
        const int64_t lower = min(pairs[2 * k], pairs[2 * k + 1]), upper = max(pairs[2 * k], pairs[2 * k + 1]);
        if (lower < 0 || upper >= int64_t(size))
            throw invalid_argument("a pair has a particle that does not exist");
        starts[lower + 1]++;
    }
    for (size_t i = 0; i < size; i++)
        starts[i + 1] += starts[i];
    vector<size_t> next(starts.begin(), starts.end() - 1);
    for (size_t k = 0; k < count; k++) {
        const size_t at = next[min(pairs[2 * k], pairs[2 * k + 1])]++;
        larger[at] = max(pairs[2 * k], pairs[2 * k + 1]);
        places[at] = k;
    }
}

int64_t PairSet::find(int64_t i, int64_t j) const {
    const int64_t lower = min(i, j), upper = max(i, j);
    for (size_t at = starts[lower]; at < starts[lower + 1]; at++)
        if (larger[at] == upper)
            return places[at];
    return -1;
}

namespace {

using Cell = array<int64_t, 3>;

// Coordinates of cells are kept in bounds, whatever the positions are.
constexpr double FURTHEST_CELL = 1e12;

int64_t floorDivide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/// Numbers of cells by their coordinates: those of a block, or, where points are strewn, of what holds any by a hash.
class CellTable {
  public:
    CellTable() = default;

    /// For cells from `low` to `high`.
    CellTable(const Cell& low, const Cell& high, size_t points) : low(low) {
        double all = 1;
        for (int k = 0; k < 3; k++)
            all *= double(high[k] - low[k]) + 1;
        dense = all <= 8.0 * points + 64;
        if (dense) {
            for (int k = 0; k < 3; k++)
                count[k] = high[k] - low[k] + 1;
            numCells = size_t(all);
            return;
        }
        size_t slots = 16;
        while (slots < 2 * points)
            slots *= 2;
        table.assign(slots, -1);
    }

    /// Number of a cell, -1 where it holds no point.
    int64_t find(const Cell& cell) const {
        if (!dense)
            return table[slotOf(cell)];
        int64_t number = 0;
        for (int k = 0; k < 3; k++) {
            const int64_t place = cell[k] - low[k];
            if (place < 0 || place >= count[k])
                return -1;
            number = number * count[k] + place;
        }
        return number;
    }

    int64_t add(const Cell& cell) {
        if (dense)
            return find(cell);
        const size_t slot = slotOf(cell);
        if (table[slot] < 0) {
            table[slot] = numCells++;
            cells.push_back(cell);
        }
        return table[slot];
    }

    Cell coordinates(int64_t number) const {
        if (!dense)
            return cells[number];
        Cell cell;
        for (int k = 2; k >= 0; k--) {
            cell[k] = low[k] + number % count[k];
            number /= count[k];
        }
        return cell;
    }

    size_t size() const {
        return numCells;
    }

  private:
    size_t slotOf(const Cell& cell) const {
        const uint64_t mixed = uint64_t(cell[0]) * 0x9E3779B97F4A7C15u ^ uint64_t(cell[1]) * 0xC2B2AE3D27D4EB4Fu ^
                               uint64_t(cell[2]) * 0x165667B19E3779F9u;
        size_t slot = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9u >> 20 & (table.size() - 1);
        while (table[slot] >= 0 && cells[table[slot]] != cell)
            slot = (slot + 1) & (table.size() - 1);
        return slot;
    }

    bool dense = false;
    Cell low, count;
    size_t numCells = 0;
    vector<int64_t> table;
    vector<Cell> cells;
};

/// Points sorted into cells, no narrower than the cutoff along any axis where that is possible.
class Grid {
  public:
    Grid(const double* positions, size_t size, double cutoff, const double* box)
        : points(3 * size), order(size), box(box) {
        chooseCells(positions, size, cutoff);
        vector<Cell> places(size);
        vector<double> wrapped(3 * size);
        Cell low{0, 0, 0}, high{0, 0, 0};
        for (size_t i = 0; i < size; i++) {
            places[i] = place(positions + 3 * i, &wrapped[3 * i]);
            for (int k = 0; k < 3; k++) {
                low[k] = i == 0 ? places[i][k] : min(low[k], places[i][k]);
                high[k] = i == 0 ? places[i][k] : max(high[k], places[i][k]);
            }
        }
        table = CellTable(low, high, size);
        vector<int64_t> cellOf(size);
        for (size_t i = 0; i < size; i++)
            cellOf[i] = table.add(places[i]);
        starts.assign(table.size() + 1, 0);
        for (const int64_t cell : cellOf)
            starts[cell + 1]++;
        for (size_t c = 0; c < table.size(); c++)
            starts[c + 1] += starts[c];
        vector<size_t> next(starts.begin(), starts.end() - 1);
        for (size_t i = 0; i < size; i++) {
            const size_t at = next[cellOf[i]]++;
            order[at] = i;
            copy_n(&wrapped[3 * i], 3, &points[3 * at]);
        }
    }

    /// Calls visit(i, j, vector) for every pair nearer than the cutoff, in whichever order of i and j.
    template <class Visit> void forNear(double cutoff, const Visit& visit) const {
        for (size_t c = 0; c < table.size(); c++) {
            if (starts[c] == starts[c + 1])
                continue;
            const Cell cell = table.coordinates(c);
            for (int64_t x = 0; x <= reach[0]; x++)
                for (int64_t y = x == 0 ? 0 : -reach[1]; y <= reach[1]; y++)
                    for (int64_t z = x == 0 && y == 0 ? 0 : -reach[2]; z <= reach[2]; z++)
                        forNearIn(c, cell, {x, y, z}, cutoff * cutoff, visit);
        }
    }

  private:
    void chooseCells(const double* positions, size_t size, double cutoff) {
        for (size_t i = 0; i < 3 * size; i++)
            if (!isfinite(positions[i]))
                throw invalid_argument("a position is not finite");
        edge = cutoff;
        if (box == nullptr)
            return;
        // Heights of the box over its faces; its vectors are those of a lower triangle.
        const double a = box[0], b = box[4], c = box[8], bx = box[3], cx = box[6], cy = box[7];
        const double inverse[3] = {
            hypot(1 / a, bx / (a * b), (bx * cy - b * cx) / (a * b * c)), hypot(1 / b, cy / (b * c)), 1 / c};
        const double room = cbrt(a * b * c / max<size_t>(size, 1));
        for (int k = 0; k < 3; k++) {
            const double height = 1 / inverse[k];
            count[k] = max<int64_t>(1, int64_t(height / max(cutoff, room)));
            reach[k] = int64_t(ceil(cutoff * count[k] / height));
        }
    }

    /// Where a point lies: in the box where there is one.
    Cell place(const double* x, double* wrapped) const {
        Cell cell;
        copy_n(x, 3, wrapped);
        if (box == nullptr) {
            for (int k = 0; k < 3; k++)
                cell[k] = int64_t(floor(clamp(x[k] / edge, -FURTHEST_CELL, FURTHEST_CELL)));
            return cell;
        }
        // Fractions of the box, from the last vector to the first.
        double rest[3] = {x[0], x[1], x[2]};
        for (int k = 2; k >= 0; k--) {
            const double fraction = rest[k] / box[4 * k], whole = floor(fraction);
            for (int d = 0; d <= k; d++) {
                rest[d] -= fraction * box[3 * k + d];
                wrapped[d] -= whole * box[3 * k + d];
            }
            cell[k] = min(count[k] - 1, int64_t((fraction - whole) * count[k]));
        }
        return cell;
    }

    template <class Visit>
    void forNearIn(size_t c, const Cell& cell, const Cell& offset, double square, const Visit& visit) const {
        Cell there;
        double shift[3] = {0, 0, 0};
        for (int k = 0; k < 3; k++) {
            there[k] = cell[k] + offset[k];
            if (box == nullptr)
                continue;
            const int64_t whole = floorDivide(there[k], count[k]);
            there[k] -= whole * count[k];
            for (int d = 0; d <= k; d++)
                shift[d] += whole * box[3 * k + d];
        }
        const int64_t other = table.find(there);
        if (other < 0)
            return;
        const bool own = offset == Cell{0, 0, 0};
        for (size_t p = starts[c]; p < starts[c + 1]; p++) {
            const double x = points[3 * p] - shift[0], y = points[3 * p + 1] - shift[1], z = points[3 * p + 2] - shift[2];
            for (size_t q = own ? p + 1 : starts[other]; q < starts[other + 1]; q++) {
                double v[3] = {x - points[3 * q], y - points[3 * q + 1], z - points[3 * q + 2]};
                if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] <= square && order[p] != order[q])
                    visit(order[p], order[q], v);
            }
        }
    }

    vector<double> points;
    vector<int64_t> order;
    CellTable table;
    vector<size_t> starts;
    const double* box;
    double edge;
    int64_t count[3] = {1, 1, 1}, reach[3] = {1, 1, 1};
};

} // namespace

void forNearPairs(const double* positions, size_t size, double cutoff, const double* box, const PairVisitor& visit) {
    Grid(positions, size, cutoff, box).forNear(cutoff, [&](int64_t i, int64_t j, double* v) {
        if (i > j) {
            swap(i, j);
            for (int d = 0; d < 3; d++)
                v[d] = -v[d];
        }
        visit(i, j, v);
    });
}

} // namespace openmm_reparam
