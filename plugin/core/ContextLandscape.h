#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CollapseCheck.h"
#include "Constraints.h"
#include "Landscape.h"
#include "MoleculeFrames.h"
#include "Preconditioner.h"

namespace OpenMM {
class Context;
class Integrator;
} // namespace OpenMM

namespace openmm_reparam {

/// The energy of a Context's atoms on the manifold of its constraints: small molecules turn as a whole, other atoms
/// move along straight lines.
class ContextLandscape : public Landscape {
  public:
    /// Positions, retracted onto the constraints, and forces, tangent to them; the same forces in the frames there.
    struct Point {
        std::vector<double> positions, forces;
        MoleculeFrames::Frames frames;
        std::vector<double> turnedForces;
    };

    explicit ContextLandscape(OpenMM::Context& context);
    ~ContextLandscape() override;

    /// Evaluates a configuration near given positions. Throws `NonFinite`, whose message names the worst atoms.
    Place at(const std::vector<double>& positions);
    static const Point& pointOf(const Place& place);

    /// RMS force over the atoms that move, kJ/mol/nm.
    double rms(const Place& place) const;
    /// Largest relative error of a constraint.
    double constraintError(const Place& place) const;
    size_t numMoving() const {
        return moving;
    }
    /// Whether most atoms turn with their molecules.
    bool isLiquid() const {
        return turning.prevail();
    }
    int numEvaluations() const {
        return evaluations;
    }

    Place moved(const Place& from, const double* step) override;
    std::shared_ptr<const double> forces(const Place& place) override;
    void stepTaken(const Place& before, const Place& after, double* step) override;
    bool refuses(const Place& before, const Place& after, double promised) override;
    double noise(double energy) override;
    void project(const Place& place, double* step) override;
    double longest(const Place& place, const double* step) override;
    double longestWithin(const Place& place, const double* step) override;
    bool hasMetric() const override;
    bool metricIsComplete() const override;
    bool updateMetric(const Place& place) override;
    void raiseShift() override;
    void solve(const Place& chart, double* vector) override;

  private:
    Place at(const std::vector<double>& positions, MoleculeFrames::Frames frames);
    double evaluateAt(const std::vector<double>& positions, std::vector<double>& forces);
    void requireFinite(const std::vector<double>& positions, double energy, const std::vector<double>& forces) const;
    OpenMM::Context& onTheCpu();

    OpenMM::Context& context;
    size_t size;
    int groups;
    bool virtualSites = false, fixedPoint = false, informed = false;
    double tolerance, relativeNoise;
    std::vector<uint8_t> moves;
    size_t moving = 0;
    int evaluations = 0;
    std::optional<std::vector<double>> box;
    std::optional<Constraints> constraints;
    std::vector<int64_t> constrainedPairs;
    std::optional<CollapseCheck> collapse;
    std::optional<Preconditioner> preconditioner;
    MoleculeFrames turning;
    std::unique_ptr<OpenMM::Integrator> cpuIntegrator;
    std::unique_ptr<OpenMM::Context> cpuContext;
};

} // namespace openmm_reparam
