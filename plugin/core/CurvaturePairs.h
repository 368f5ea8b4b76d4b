#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace openmm_reparam {

double dot(const double* a, const double* b, size_t size);

/// A step s, the fall y of the forces along it, and s.y.
struct CurvaturePair {
    std::vector<double> step, change;
    double curvature;
};

/// Curvature that the last steps have met, and the inverse Hessian made of it.
///
/// Pairs of many numbers are kept in single precision: of those, the recursion takes as long as memory takes to read.
class CurvaturePairs {
  public:
    /// Pairs of so many numbers, and of less, are kept in double precision.
    static constexpr size_t LARGEST_IN_DOUBLE = 5000;

    /// v -> P^-1 v, in place.
    using Solver = std::function<void(double*)>;

    explicit CurvaturePairs(size_t memory);

    /// Keeps a pair; the oldest goes where there is no room.
    void add(const CurvaturePair& pair);
    void clear();
    size_t count() const;

    /// A pair as it is kept; the newest is last.
    CurvaturePair pair(size_t k) const;

    /// Multiplies a vector with the inverse Hessian (Nocedal, Math. Comp. 1980, 35, 773).
    ///
    /// The initial one is P^-1, times `ratio` where there are pairs: `curvatureRatio` of the newest.
    void multiply(std::vector<double>& vector, const Solver& solve, double ratio) const;

  private:
    template <class T> struct Kept {
        std::vector<T> step, change;
        double curvature;
    };
    template <class T> using Memory = std::vector<std::shared_ptr<Kept<T>>>;

    template <class T> void append(Memory<T>& pairs, const CurvaturePair& pair);
    template <class T> static std::vector<double> towardsOldest(double* vector, size_t size, const Memory<T>& pairs);
    template <class T>
    static void towardsNewest(double* vector, size_t size, const Memory<T>& pairs, const std::vector<double>& weights);

    size_t memory;
    // One of them is empty. Copies share what does not change.
    Memory<float> singles;
    Memory<double> doubles;
};

/// s.y / y.P^-1 y of a pair: what P makes of the curvature along a step, over what it is.
double curvatureRatio(const CurvaturePair& pair, const CurvaturePairs::Solver& solve);

} // namespace openmm_reparam
