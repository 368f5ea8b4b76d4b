"""Bonds that form on the way: surrogate and features stood for others."""

import numpy as np
import pytest

from openmm_reparam import minimize_reparam
from openmm_reparam.geometry.covalent_radii import bonded_pairs
from openmm_reparam.surrogates.oracles import molecule_simulation

Chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
AllChem = pytest.importorskip("rdkit.Chem.AllChem", reason="rdkit is not installed")
pytest.importorskip("tblite.interface", reason="tblite is not installed")


@pytest.fixture(scope="module")
def zwitterion():
    """Glycine's, which gives its proton back where there is no water."""
    molecule = Chem.AddHs(Chem.MolFromSmiles("C(C(=O)[O-])[NH3+]"))
    AllChem.EmbedMolecule(molecule, randomSeed=2)
    AllChem.MMFFOptimizeMolecule(molecule, maxIters=10_000)
    return molecule, molecule.GetConformer().GetPositions() / 10


@pytest.mark.parametrize("surrogate", [None, "mmff", "gfnff"])
def test_a_proton_that_moves_is_followed(zwitterion, surrogate):
    """To the neutral molecule's minimum, in no more evaluations than a local minimizer takes."""
    molecule, start = zwitterion
    if surrogate == "gfnff":
        pytest.importorskip("gfnff", reason="gfnff is not installed")
    simulation = molecule_simulation(molecule, "gfn2", start)
    result = minimize_reparam(simulation, tolerance=1, surrogate=surrogate)
    assert result.converged
    assert result.force_evaluations <= 30
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    state = simulation.context.getState(positions=True)
    bonds = bonded_pairs(numbers, state.getPositions(asNumpy=True)._value)
    on_oxygen = [pair for pair in bonds.tolist() if set(numbers[pair]) == {1, 8}]
    assert len(on_oxygen) == 1
