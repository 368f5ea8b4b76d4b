#pragma once

#include <functional>

namespace openmm_reparam {

/// How far a step may move an atom, in nm: further where steps keep their promise.
///
/// Only whole molecules go further: within one, no atom moves beyond the smallest bound relative to the others, so that
/// none is torn.
struct StepBound {
    /// How a step ended.
    struct Step {
        double length;        ///< in units of its direction
        bool atOnce;          ///< whether its first trial was taken
        bool held;            ///< whether the bound held that back
        double fall;          ///< of the energy, kJ/mol
        double promised;      ///< that to first order
        double curvature;     ///< step times change of forces, kJ/mol
    };
    struct Length {
        double length; ///< in units of a direction
        bool held;     ///< whether the bound holds it back
    };

    StepBound(double smallest, double largest) : smallest(smallest), largest(largest), current(smallest) {}

    void reset();

    /// The step to try along a direction that moves an atom `longest` far, and `within` far relative to its molecule.
    Length length(double longest, const std::function<double()>& within) const;

    void after(const Step& step);

    double smallest, largest, current;
    int kept = 0;      ///< steps in a row that were held back and kept their promise
    bool flat = false; ///< whether the energy had no curvature along the last step
};

} // namespace openmm_reparam
