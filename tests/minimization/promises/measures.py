"""What OpenMM and NumPy say of a Context, without the package."""

import itertools

import numpy as np
import openmm as mm


def moving(system):
    """Return which particles a minimizer may move, (N,) bool."""
    particles = range(system.getNumParticles())
    return np.array(
        [system.getParticleMass(i)._value > 0 and not system.isVirtualSite(i) for i in particles]
    )


def fixed(system):
    """Return which particles are massless and no virtual sites, (N,) bool."""
    sites = [system.isVirtualSite(i) for i in range(system.getNumParticles())]
    return ~moving(system) & ~np.array(sites)


def constraint_errors(system, positions):
    """Return the relative errors of the constraints on atoms that move, (M,)."""
    moves, errors = moving(system), [0.0]
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        if moves[i] or moves[j]:
            distance = np.linalg.norm(positions[i] - positions[j])
            errors.append(abs(distance - length._value) / length._value)
    return np.array(errors)


def projected_rms(system, positions, forces):
    """Return the RMS of (N, 3) forces without their part along the constraints' gradients."""
    moves = moving(system)
    free = np.where(moves[:, None], forces, 0.0).ravel()
    rows = []
    for k in range(system.getNumConstraints()):
        i, j, _ = system.getConstraintParameters(k)
        if moves[i]:
            row = np.zeros_like(positions)
            row[i] = (positions[i] - positions[j]) / np.linalg.norm(positions[i] - positions[j])
            row[j] = -row[i]
            rows.append(row.ravel())
    if rows:
        gradients = np.array(rows).T
        free = free - gradients @ np.linalg.lstsq(gradients, free, rcond=1e-9)[0]
    return np.sqrt(free @ free / moves.sum())


def bare_charges(system, groups):
    """Return the pairs of opposite charges that no Lennard-Jones core keeps apart."""
    pairs = []
    for force in system.getForces():
        if not isinstance(force, mm.NonbondedForce) or force.getForceGroup() not in groups:
            continue
        every = range(force.getNumParticles())
        kinds = [[q._value for q in force.getParticleParameters(i)] for i in every]
        products = {
            (i, j): (kinds[i][0] * kinds[j][0], kinds[i][2] * kinds[j][2])
            for i, j in itertools.combinations(every, 2)
        }
        for k in range(force.getNumExceptions()):
            i, j, product, _, depth = force.getExceptionParameters(k)
            products[min(i, j), max(i, j)] = product._value, depth._value
        pairs += [pair for pair, (product, depth) in products.items() if product < 0 and depth == 0]
    return pairs


def pair_distances(context, positions, pairs):
    """Return the distances of pairs in nm, (P,), over all periodic images."""
    vectors = np.array([positions[i] - positions[j] for i, j in pairs])
    if context.getSystem().usesPeriodicBoundaryConditions():
        box = np.array(context.getState().getPeriodicBoxVectors(asNumpy=True)._value)
        vectors -= np.round(vectors @ np.linalg.inv(box)) @ box
        shifts = np.array(list(itertools.product([-1, 0, 1], repeat=3))) @ box
        return np.linalg.norm(vectors[:, None] + shifts, axis=2).min(axis=1)
    return np.linalg.norm(vectors, axis=1)
