#pragma once

#include <vector>

namespace OpenMM {
class Context;
}

namespace openmm_reparam {

/// Sets positions, 3 in nm for each particle, and where asked for places virtual sites by their parents.
void setPositions(OpenMM::Context& context, const double* positions, bool virtualSites);

/// The positions, never wrapped into the box.
std::vector<double> positionsOf(const OpenMM::Context& context);

/// The periodic box vectors in nm, row by row.
std::vector<double> boxOf(const OpenMM::Context& context);

/// Energy in kJ/mol of force groups (a bit mask) at positions; `forces` in kJ/mol/nm is made to fit.
double evaluate(OpenMM::Context& context, const double* positions, int groups, bool virtualSites,
                std::vector<double>& forces);

/// Positions after OpenMM has satisfied the constraints.
std::vector<double> constrained(OpenMM::Context& context, const double* positions, double tolerance,
                                bool virtualSites);

} // namespace openmm_reparam
