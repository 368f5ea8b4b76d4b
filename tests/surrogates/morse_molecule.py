"""A molecule in closed form, for tests of descents on surrogates."""

import numpy as np

from openmm_reparam.precon.model_hessian import internal_terms
from openmm_reparam.surrogates.stiff_features import StiffFeatures


class MorseMolecule:
    """Morse bonds, harmonic cosines of angles, torsions, repulsion: a molecule in closed form.

    ``scale`` multiplies equilibrium lengths, ``order`` exchanges atoms.
    """

    def __init__(self, acetic_acid, scale=1.0, order=None, depth=400.0):
        numbers, positions, bonds = acetic_acid
        self.order = np.arange(len(numbers)) if order is None else np.asarray(order)
        terms = internal_terms(numbers, positions, bonds)
        i, j = self.bonds = terms.bonds.T
        self.lengths = scale * np.linalg.norm(positions[i] - positions[j], axis=1)
        self.depth = depth
        self.features = StiffFeatures(terms, numbers, positions)
        self.centre = self.features(positions)[0]

    def __call__(self, positions):
        x = np.asarray(positions)[self.order]
        i, j = self.bonds
        vectors = x[i] - x[j]
        r = np.linalg.norm(vectors, axis=1)
        bent = np.exp(-20 * (r - self.lengths))
        energy = self.depth * ((1 - bent) ** 2).sum()
        slopes = 40 * self.depth * bent * (1 - bent)
        forces = np.zeros_like(x)
        np.add.at(forces, i, -(slopes / r)[:, None] * vectors)
        np.add.at(forces, j, (slopes / r)[:, None] * vectors)
        values, gradients = self.features(x)
        offset = values - self.centre
        offset[: len(self.lengths)] = 0.0
        energy += 0.25 * offset @ offset
        forces -= self.features.pulled_back(gradients, 0.5 * offset)
        back = np.empty_like(forces)
        back[self.order] = forces
        return float(energy), back
