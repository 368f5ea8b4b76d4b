"""Random chains of a few particles, as a hypothesis strategy; no forces yet."""

from dataclasses import dataclass

import numpy as np
import openmm as mm
from hypothesis import strategies as st

MASSES = st.sampled_from([12.0, 1.0, 72.0])
# (charge, well depth): neutral, polar, ions, hydrogens without a core, bare charges, dummies.
KINDS = st.sampled_from([(0.0, 0.5), (-0.6, 0.6), (1.0, 0.3), (0.4, 0.0), (-0.8, 0.0), (0.0, 0.0)])
SIGMA = 0.3
LONE_SITES = 2


@dataclass
class Model:
    """A System's particles: a chain of atoms, then virtual sites and anchors.

    ``chain`` is the number of atoms in the chain, ``positions`` is (N, 3) in nm as built.
    ``kinds`` holds the charge and the well depth of every particle, ``excluded`` the pairs that
    feel no non-bonded force, ``scaled`` those that feel half. ``zero_length`` bonds leave angles
    and torsions undefined.
    """

    system: mm.System
    positions: np.ndarray
    chain: int
    kinds: list
    excluded: set
    scaled: list
    anchored: list
    box: np.ndarray | None
    cutoff: bool
    zero_length: bool

    def runs(self, length):
        """Return all runs of so many neighbours in the chain."""
        return [tuple(range(i, i + length)) for i in range(self.chain - length + 1)]

    def constrained(self):
        """Return the pairs that are held by a constraint."""
        system = self.system
        count = system.getNumConstraints()
        return {tuple(system.getConstraintParameters(k)[:2]) for k in range(count)}

    def add_particle(self, mass, position, kind):
        """Add a particle and return its index."""
        self.positions = np.vstack([self.positions, position])
        self.kinds.append(kind)
        return self.system.addParticle(mass)


@st.composite
def models(draw):
    """Chains of 2 to 10 atoms, two virtual sites or anchors at most, in a box or without."""
    model = Model(
        system=mm.System(),
        positions=np.empty((0, 3)),
        chain=draw(st.integers(2, 10)),
        kinds=[],
        excluded=set(),
        scaled=[],
        anchored=[],
        box=draw(boxes()),
        cutoff=draw(st.booleans()),
        zero_length=draw(st.integers(0, 4)) == 4,
    )
    if model.box is not None:
        model.system.setDefaultPeriodicBoxVectors(*model.box)
    some_massless = draw(st.booleans())
    for i in range(model.chain):
        massless = some_massless and draw(st.integers(0, 3)) == 3
        place = [0.13 * i, 0.05 * (i % 2), 0.02 * (i % 3)]
        model.add_particle(0.0 if massless else draw(MASSES), place, draw(KINDS))
    model.excluded |= set(model.runs(2)) | {(i, k) for i, _, k in model.runs(3)}
    if draw(st.booleans()):
        model.scaled = [(i, k) for i, _, _, k in model.runs(4)]
    if draw(st.booleans()):
        _add_constraints(draw, model)
    for _ in range(draw(st.integers(0, LONE_SITES))):
        draw(st.sampled_from([_add_anchor, _add_virtual_site]))(draw, model)
    return model


@st.composite
def boxes(draw):
    """Box vectors in nm, (3, 3): none, rectangular, a truncated octahedron's."""
    shape = draw(st.sampled_from([None, None, "rectangular", "octahedral"]))
    if shape is None:
        return None
    third, root = 1 / 3, np.sqrt(2)
    octahedral = [[1, 0, 0], [third, 2 * root / 3, 0], [-third, root / 3, np.sqrt(6) / 3]]
    return 2.5 * np.array(np.diag([1, 1.1, 1.2]) if shape == "rectangular" else octahedral)


def _add_constraints(draw, model):
    """Add constraints along the chain; OpenMM allows none of a massless and a moving atom."""
    masses = [model.system.getParticleMass(i)._value for i in range(model.chain)]
    for i, j in model.runs(2):
        if (masses[i] > 0) == (masses[j] > 0) and draw(st.booleans()):
            model.system.addConstraint(i, j, draw(st.sampled_from([0.1, 0.15])))
    for i, j, k in model.runs(3):
        if {(i, j), (j, k)} <= model.constrained() and draw(st.integers(0, 2)) == 2:
            model.system.addConstraint(i, k, 0.16)


def _add_anchor(draw, model):
    """Add a massless particle that holds an atom by a bond of length zero, on it or beside it."""
    atom = draw(st.integers(0, model.chain - 1))
    away = draw(st.sampled_from([0.0, 0.05]))
    anchor = model.add_particle(0.0, model.positions[atom] + [0, 0, away], (0.0, 0.0))
    model.anchored.append((atom, anchor))
    model.excluded.add((atom, anchor))


def _add_virtual_site(draw, model):
    sites = [mm.TwoParticleAverageSite(0, 1, 0.3, 0.7)]
    if model.chain > 2:
        weights = mm.Vec3(0.4, 0.3, 0.3), mm.Vec3(-1, 0.5, 0.5), mm.Vec3(-1, 1, 0)
        sites += [
            mm.ThreeParticleAverageSite(0, 1, 2, 0.2, 0.3, 0.5),
            mm.OutOfPlaneSite(0, 1, 2, 0.3, 0.3, 1.5),
            mm.LocalCoordinatesSite(0, 1, 2, *weights, mm.Vec3(0.02, 0.03, 0.05)),
        ]
    site = draw(st.sampled_from(sites))
    index = model.add_particle(0.0, np.zeros(3), draw(KINDS))
    model.system.setVirtualSite(index, site)
    model.excluded |= {(site.getParticle(k), index) for k in range(site.getNumParticles())}
