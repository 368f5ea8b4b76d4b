"""Contexts of searches on small Systems."""

import numpy as np
import pytest

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import MinimaDatabase, SearchContext, SearchSettings, Situation
from openmm_reparam.search.torsions import TorsionTopology


def search_context(context, settings=None, *, seed=0, topology=None, **others):
    """Return what a search on an OpenMM Context works with."""
    potential = Potential(context, topology)
    rng = np.random.default_rng(seed)
    return SearchContext.of(Evaluator(potential), settings or SearchSettings(), rng, **others)


@pytest.fixture
def make_context():
    """Return what makes a `SearchContext` of an OpenMM Context."""
    return search_context


@pytest.fixture
def make_situation():
    """Return what makes a `Situation` at some positions."""

    def make(positions, amplitude=0.2, stagnation=0.0, refining=False, database=None):
        if database is None:
            database = MinimaDatabase(np.arange(len(positions)))
        return Situation(positions, amplitude, stagnation, refining, database)

    return make


@pytest.fixture
def prepared():
    """Return what makes the potential of a molecule, on the Reference platform."""

    def make(molecule):
        return Potential(molecule.simulation("Reference").context, molecule.topology)

    return make


@pytest.fixture(scope="module")
def chain():
    """Return a peptide with rings, its potential, and its torsions."""
    molecule = peptide("AWPFR", "random-coil", seed=1)
    potential = Potential(molecule.simulation("Reference").context, molecule.topology)
    return molecule, potential, TorsionTopology(potential, bond_graph(potential))
