#include "Preconditioner.h"

#include "OpenMM.h"

using namespace OpenMM;
using namespace std;

namespace openmm_reparam {

namespace {

template <class... Classes> bool isOneOf(const Force& force) {
    return ((dynamic_cast<const Classes*>(&force) != nullptr) || ...);
}

/// Whether a force bonds no atoms, or only by terms that are read here.
bool isRead(const Force& force) {
    return isOneOf<HarmonicBondForce, HarmonicAngleForce, PeriodicTorsionForce, RBTorsionForce, CMAPTorsionForce,
                   NonbondedForce, CustomNonbondedForce, GBSAOBCForce, CustomGBForce, CMMotionRemover,
                   AndersenThermostat, MonteCarloBarostat, MonteCarloAnisotropicBarostat, MonteCarloMembraneBarostat>(
        force);
}

const NonbondedForce* nonbondedForce(const System& system, int groups) {
    for (int k = 0; k < system.getNumForces(); k++) {
        const auto* force = dynamic_cast<const NonbondedForce*>(&system.getForce(k));
        if (force != nullptr && (groups >> force->getForceGroup() & 1))
            return force;
    }
    return nullptr;
}

Contacts contactsOf(const NonbondedTable& table, const MoleculeLayout& layout, const System& system) {
    Contacts::Atoms atoms;
    for (size_t i = 0; i < layout.size; i++) {
        atoms.charges.push_back(table.particles.values[3 * i]);
        atoms.sigmas.push_back(table.particles.values[3 * i + 1]);
        atoms.epsilons.push_back(table.particles.values[3 * i + 2]);
    }
    atoms.molecules = layout.molecules;
    atoms.couples = layout.isLarge;
    atoms.moves = layout.moves;
    atoms.sites = carriedSites(readVirtualSites(system));
    PairParameters felt;
    const auto& pairs = table.exceptionPairs.values;
    for (size_t k = 0; k < pairs.size() / 2; k++) {
        const double* own = &table.exceptions.values[3 * k];
        if (own[0] == 0 && own[2] == 0)
            continue;
        felt.pairs.insert(felt.pairs.end(), {pairs[2 * k], pairs[2 * k + 1]});
        felt.products.push_back(own[0]);
        felt.sigmas.push_back(own[1]);
        felt.epsilons.push_back(own[2]);
    }
    return Contacts(move(atoms), PairSet(pairs.data(), pairs.size() / 2, layout.size), move(felt));
}

} // namespace

optional<NonbondedTable> nonbondedOf(const Context& context, int groups) {
    const NonbondedForce* force = nonbondedForce(context.getSystem(), groups);
    if (force == nullptr)
        return nullopt;
    return readNonbonded(*force, context.getParameters());
}

Preconditioner::Preconditioner(const Context& context, vector<uint8_t> given) : moves(move(given)) {
    const System& system = context.getSystem();
    const int groups = const_cast<Context&>(context).getIntegrator().getIntegrationForceGroups();
    smallestShift = system.usesPeriodicBoundaryConditions() ? CONDENSED_SHIFT : SHIFT;
    const auto addTerms = [&](vector<StiffTerms>&& found) {
        for (StiffTerms& kind : found)
            terms.push_back(move(kind));
    };
    for (int k = 0; k < system.getNumForces(); k++) {
        const Force& force = system.getForce(k);
        if (!(groups >> force.getForceGroup() & 1))
            continue;
        complete = complete && isRead(force);
        addTerms(StiffTerms::ofForce(force));
    }
    addTerms(StiffTerms::ofConstraints(system));
    vector<TermAtoms> atoms;
    for (const StiffTerms& kind : terms)
        atoms.push_back({kind.atoms().values, kind.atoms().columns});
    assembler.emplace(moves, move(atoms), vector<TermAtoms>());
    const auto table = nonbondedOf(context, groups);
    if (!table)
        return;
    contacts.emplace(contactsOf(*table, assembler->molecules(), system));
    contactsArePeriodic = nonbondedForce(system, groups)->usesPeriodicBoundaryConditions();
}

bool Preconditioner::update(const double* positions, const double* box) {
    vector<vector<double>> rows;
    vector<const double*> numbers;
    for (const StiffTerms& kind : terms) {
        const auto& atoms = kind.atoms().values;
        rows.emplace_back(3 * atoms.size());
        kind.rows(positions, box, rows.back().data());
        for (size_t k = 0; k < atoms.size(); k++)
            if (!moves[atoms[k]])
                fill_n(&rows.back()[3 * k], 3, 0.0);
    }
    for (const auto& kind : rows)
        numbers.push_back(kind.data());
    ContactStiffness near;
    if (contacts)
        near = contacts->evaluate(positions, contactsArePeriodic ? box : nullptr);
    else
        near.blocks.assign(9 * moves.size(), 0.0);
    MoleculeStiffness found = assembler->assemble(numbers, near.blocks.data(),
                                                  {near.pairs.size() / 2, near.pairs.data(), near.curvatures.data()},
                                                  {0, nullptr, nullptr});
    auto factorized = found.factorize(smallestShift);
    if (!factorized)
        return false;
    stiffness = move(found);
    factors = move(factorized);
    return true;
}

void Preconditioner::raiseShift() {
    if (!factors)
        return;
    if (auto stiffer = stiffness->factorize(10 * factors->shift()))
        factors = move(stiffer);
}

void Preconditioner::solve(double* vectors) const {
    factors->solve(vectors);
}

} // namespace openmm_reparam
