#include "SystemReader.h"

#include "OpenMM.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

namespace {

/// Terms with room for a number of rows.
class TermsBuilder {
  public:
    TermsBuilder(int rows, size_t particles, size_t parameters) {
        terms.particles.columns = particles;
        terms.parameters.columns = parameters;
        terms.particles.values.reserve(rows * particles);
        terms.parameters.values.reserve(rows * parameters);
    }

    void add(initializer_list<int> particles, initializer_list<double> parameters = {}) {
        terms.particles.values.insert(terms.particles.values.end(), particles.begin(), particles.end());
        terms.parameters.values.insert(terms.parameters.values.end(), parameters.begin(), parameters.end());
    }

    void add(const vector<int>& particles) {
        terms.particles.values.insert(terms.particles.values.end(), particles.begin(), particles.end());
    }

    Terms terms;
};

Terms read(const HarmonicBondForce& force) {
    TermsBuilder builder(force.getNumBonds(), 2, 2);
    for (int k = 0; k < force.getNumBonds(); k++) {
        int i, j;
        double length, constant;
        force.getBondParameters(k, i, j, length, constant);
        builder.add({i, j}, {length, constant});
    }
    return builder.terms;
}

Terms read(const HarmonicAngleForce& force) {
    TermsBuilder builder(force.getNumAngles(), 3, 2);
    for (int t = 0; t < force.getNumAngles(); t++) {
        int i, j, k;
        double angle, constant;
        force.getAngleParameters(t, i, j, k, angle, constant);
        builder.add({i, j, k}, {angle, constant});
    }
    return builder.terms;
}

Terms read(const PeriodicTorsionForce& force) {
    TermsBuilder builder(force.getNumTorsions(), 4, 3);
    for (int t = 0; t < force.getNumTorsions(); t++) {
        int i, j, k, l, periodicity;
        double phase, constant;
        force.getTorsionParameters(t, i, j, k, l, periodicity, phase, constant);
        builder.add({i, j, k, l}, {double(periodicity), phase, constant});
    }
    return builder.terms;
}

Terms read(const RBTorsionForce& force) {
    TermsBuilder builder(force.getNumTorsions(), 4, 6);
    for (int t = 0; t < force.getNumTorsions(); t++) {
        int i, j, k, l;
        double c[6];
        force.getTorsionParameters(t, i, j, k, l, c[0], c[1], c[2], c[3], c[4], c[5]);
        builder.add({i, j, k, l}, {c[0], c[1], c[2], c[3], c[4], c[5]});
    }
    return builder.terms;
}

Terms read(const CustomBondForce& force) {
    TermsBuilder builder(force.getNumBonds(), 2, 0);
    vector<double> parameters;
    for (int k = 0; k < force.getNumBonds(); k++) {
        int i, j;
        force.getBondParameters(k, i, j, parameters);
        builder.add({i, j});
    }
    return builder.terms;
}

Terms read(const CustomAngleForce& force) {
    TermsBuilder builder(force.getNumAngles(), 3, 0);
    vector<double> parameters;
    for (int t = 0; t < force.getNumAngles(); t++) {
        int i, j, k;
        force.getAngleParameters(t, i, j, k, parameters);
        builder.add({i, j, k});
    }
    return builder.terms;
}

Terms read(const CustomTorsionForce& force) {
    TermsBuilder builder(force.getNumTorsions(), 4, 0);
    vector<double> parameters;
    for (int t = 0; t < force.getNumTorsions(); t++) {
        int i, j, k, l;
        force.getTorsionParameters(t, i, j, k, l, parameters);
        builder.add({i, j, k, l});
    }
    return builder.terms;
}

Terms read(const CMAPTorsionForce& force) {
    TermsBuilder builder(force.getNumTorsions(), 8, 0);
    for (int t = 0; t < force.getNumTorsions(); t++) {
        int map, a[8];
        force.getTorsionParameters(t, map, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        builder.add({a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]});
    }
    return builder.terms;
}

Terms read(const CustomCompoundBondForce& force) {
    TermsBuilder builder(force.getNumBonds(), force.getNumParticlesPerBond(), 0);
    vector<int> particles;
    vector<double> parameters;
    for (int k = 0; k < force.getNumBonds(); k++) {
        force.getBondParameters(k, particles, parameters);
        builder.add(particles);
    }
    return builder.terms;
}

Terms read(const CustomExternalForce& force) {
    TermsBuilder builder(force.getNumParticles(), 1, 0);
    vector<double> parameters;
    for (int k = 0; k < force.getNumParticles(); k++) {
        int i;
        force.getParticleParameters(k, i, parameters);
        builder.add({i});
    }
    return builder.terms;
}

/// Reads a force if it is of one of these classes.
template <class... Classes> optional<Terms> readAs(const Force& force) {
    optional<Terms> found;
    const auto attempt = [&](const auto* own) {
        if (own != nullptr && !found)
            found = read(*own);
    };
    (attempt(dynamic_cast<const Classes*>(&force)), ...);
    return found;
}

void addScaled(double* row, double value, initializer_list<double> scales) {
    for (const double scale : scales)
        *row++ += value * scale;
}

double valueOf(const map<string, double>& globals, const string& name) {
    const auto found = globals.find(name);
    return found == globals.end() ? 0.0 : found->second;
}

/// How far a virtual site follows each of its parents; what turns it out of their plane is left out.
vector<double> weightsOf(const VirtualSite& site) {
    vector<double> weights(site.getNumParticles(), 0.0);
    if (const auto* two = dynamic_cast<const TwoParticleAverageSite*>(&site))
        weights = {two->getWeight(0), two->getWeight(1)};
    else if (const auto* three = dynamic_cast<const ThreeParticleAverageSite*>(&site))
        weights = {three->getWeight(0), three->getWeight(1), three->getWeight(2)};
    else if (const auto* plane = dynamic_cast<const OutOfPlaneSite*>(&site))
        weights = {1 - plane->getWeight12() - plane->getWeight13(), plane->getWeight12(), plane->getWeight13()};
    else if (const auto* local = dynamic_cast<const LocalCoordinatesSite*>(&site))
        local->getOriginWeights(weights);
    return weights;
}

} // namespace

Particles readParticles(const System& system) {
    Particles found;
    for (int i = 0; i < system.getNumParticles(); i++) {
        found.masses.push_back(system.getParticleMass(i));
        found.virtualSites.push_back(system.isVirtualSite(i));
    }
    return found;
}

Terms readConstraints(const System& system) {
    TermsBuilder builder(system.getNumConstraints(), 2, 1);
    for (int k = 0; k < system.getNumConstraints(); k++) {
        int i, j;
        double distance;
        system.getConstraintParameters(k, i, j, distance);
        builder.add({i, j}, {distance});
    }
    return builder.terms;
}

Terms readVirtualSites(const System& system) {
    TermsBuilder builder(0, 2, 1);
    for (int site = 0; site < system.getNumParticles(); site++) {
        if (!system.isVirtualSite(site))
            continue;
        const VirtualSite& placed = system.getVirtualSite(site);
        const vector<double> weights = weightsOf(placed);
        for (int k = 0; k < placed.getNumParticles(); k++)
            builder.add({site, placed.getParticle(k)}, {weights[k]});
    }
    return builder.terms;
}

optional<Terms> readBondedTerms(const Force& force) {
    return readAs<HarmonicBondForce, HarmonicAngleForce, PeriodicTorsionForce, RBTorsionForce, CustomBondForce,
                  CustomAngleForce, CustomTorsionForce, CMAPTorsionForce, CustomCompoundBondForce,
                  CustomExternalForce>(force);
}

NonbondedTable readNonbonded(const NonbondedForce& force, const map<string, double>& globals) {
    NonbondedTable table;
    table.particles.columns = table.exceptions.columns = 3;
    table.exceptionPairs.columns = 2;
    auto& particles = table.particles.values;
    auto& exceptions = table.exceptions.values;
    for (int i = 0; i < force.getNumParticles(); i++) {
        double charge, sigma, epsilon;
        force.getParticleParameters(i, charge, sigma, epsilon);
        particles.insert(particles.end(), {charge, sigma, epsilon});
    }
    for (int k = 0; k < force.getNumExceptions(); k++) {
        int i, j;
        double product, sigma, epsilon;
        force.getExceptionParameters(k, i, j, product, sigma, epsilon);
        table.exceptionPairs.values.insert(table.exceptionPairs.values.end(), {i, j});
        exceptions.insert(exceptions.end(), {product, sigma, epsilon});
    }
    string name;
    int index;
    double charge, sigma, epsilon;
    for (int k = 0; k < force.getNumParticleParameterOffsets(); k++) {
        force.getParticleParameterOffset(k, name, index, charge, sigma, epsilon);
        addScaled(&particles[3 * index], valueOf(globals, name), {charge, sigma, epsilon});
    }
    for (int k = 0; k < force.getNumExceptionParameterOffsets(); k++) {
        force.getExceptionParameterOffset(k, name, index, charge, sigma, epsilon);
        addScaled(&exceptions[3 * index], valueOf(globals, name), {charge, sigma, epsilon});
    }
    return table;
}

Table<int64_t> readExclusions(const CustomNonbondedForce& force) {
    Table<int64_t> found;
    found.columns = 2;
    for (int k = 0; k < force.getNumExclusions(); k++) {
        int i, j;
        force.getExclusionParticles(k, i, j);
        found.values.insert(found.values.end(), {i, j});
    }
    return found;
}

} // namespace openmm_reparam
