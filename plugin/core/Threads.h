#pragma once

#include <cstddef>
#include <functional>

namespace openmm_reparam {

/// Calls `work(begin, end)` for pieces of [0, count), on several threads where `count` is large.
///
/// Pieces may be worked on in any order and at once: each is to write what no other reads or writes. Work must not throw.
/// As many threads are used as OPENMM_CPU_THREADS says, or else OMP_NUM_THREADS, or else as there are cores for this
/// process, eight at most. Where another caller uses them, and in a process forked off, the calling thread does all.
void inParallel(size_t count, const std::function<void(size_t begin, size_t end)>& work);

/// Fewer are the calling thread's alone: waking others takes longer.
constexpr size_t FEWEST_IN_PARALLEL = 2048;

} // namespace openmm_reparam
