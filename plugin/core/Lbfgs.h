#pragma once

#include <vector>

#include "CurvaturePairs.h"
#include "Landscape.h"
#include "LineSearch.h"
#include "StepBound.h"

namespace openmm_reparam {

struct LbfgsOptions {
    size_t memory = 12;                             ///< pairs kept
    double maxStep = 0.05;                          ///< no atom moves further in one step, in nm
    double largestStep = 0.05;                      ///< that bound doubles up to this one, see `StepBound`
    int fewestBetweenUpdates = 20, mostBetweenUpdates = 50; ///< accepted steps between updates of the metric

    /// Molecules that turn leave their contacts sooner than they bend.
    void updateSooner() {
        fewestBetweenUpdates = 10;
        mostBetweenUpdates = 20;
    }
};

/// Preconditioned L-BFGS, and where it stands between two steps: all that it goes on from.
///
/// Limited-memory BFGS (Nocedal, Math. Comp. 1980, 35, 773) whose initial inverse Hessian is a preconditioner P^-1. On
/// constrained Systems gradient and direction are projected on the tangent space and every trial is retracted (Absil,
/// Mahony, Sepulchre, "Optimization Algorithms on Matrix Manifolds", 2008). Between updates the metric is kept; it is
/// updated earlier once the curvature along a step is more than 3 times, or less than a third of what P says.
class Lbfgs {
  public:
    /// A step along plain forces moves no atom further than this (nm) the first time.
    static constexpr double FIRST_STEP = 1e-3;

    /// Vectors have `size` numbers; the metric has been updated at the start, whose forces are known.
    Lbfgs(const LbfgsOptions& options, const Place& start, size_t size);

    /// Takes one step on the landscape. Throws `LineSearchError` where no direction lowers the energy any more.
    void step(Landscape& landscape);

    LbfgsOptions options;
    size_t size;
    Place place;
    Place chart;          ///< where the metric was updated last
    CurvaturePairs pairs;
    StepBound bound;
    double ratio = 1;     ///< what P makes of the newest pair's curvature, over what it is
    int age = 0;          ///< steps since the metric was updated
    int failures = 0;     ///< line searches in a row that have failed
    int dropped = 0;      ///< pairs in a row that were taken for a clash left behind
    int blocked = 0;      ///< steps in a row that were refused at first
    double coarse = 1;    ///< what the noise is multiplied with
    double timid = FIRST_STEP; ///< how far a step along plain forces moves an atom, in nm

  private:
    Direction direction(Landscape& landscape);
    StepBound::Length firstLength(Landscape& landscape, const std::vector<double>& vector) const;
    void beginAnew(Landscape& landscape, const std::string& why);
    void accept(Landscape& landscape, Trial&& trial, double promised, bool atOnce, bool held);
    void keep(Landscape& landscape, const CurvaturePair& pair);
    void update(Landscape& landscape);
    CurvaturePairs::Solver solver(Landscape& landscape) const;
};

} // namespace openmm_reparam
