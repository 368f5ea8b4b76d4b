"""The best structure of a run: sound before low, and the start before a collapse."""

import pytest

from openmm_reparam import Potential
from openmm_reparam.minimization.best import BestStructure
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.prepare.peptides import peptide


@pytest.fixture(scope="module")
def case():
    """Return an evaluator, a sound point, and a lower one: a hydroxyl's H fallen onto an O."""
    molecule = peptide("SD")
    evaluator = Evaluator(Potential(molecule.simulation("Reference").context, molecule.topology))
    sound = evaluator.evaluate(evaluator.potential.positions())
    place = {(atom.residue.name, atom.name): atom.index for atom in molecule.topology.atoms()}
    hydrogen, oxygen = place["SER", "HG"], place["ASP", "OD1"]
    x = sound.positions.copy()
    x[hydrogen] = x[oxygen] + [1e-5, 0, 0]
    fallen = evaluator.evaluate(x)
    assert fallen.energy < sound.energy
    return evaluator, sound, fallen


def at(point, energy):
    return point._replace(energy=energy)


def test_the_lowest_sound_structure_is_kept(case):
    evaluator, sound, fallen = case
    best = BestStructure(evaluator.collapse, sound)
    best.keep(fallen)
    assert best.point is sound
    lower, higher = at(sound, sound.energy - 1), at(sound, sound.energy + 1)
    best.keep(higher)
    assert best.point is sound
    best.keep(lower)
    assert best.point is lower


def test_a_sound_structure_is_better_than_a_lower_start_that_has_collapsed(case):
    evaluator, sound, fallen = case
    best = BestStructure(evaluator.collapse, fallen)
    best.keep(sound)
    assert best.point is sound


def test_a_collapse_is_refused_unless_the_start_has_it(case):
    evaluator, sound, fallen = case
    assert BestStructure(evaluator.collapse, fallen).refused(sound) == (sound, "")
    final, words = BestStructure(evaluator.collapse, sound).refused(fallen)
    assert final is sound
    assert "the start is kept" in words
    assert "HG of SER" in words
    final, words = BestStructure(evaluator.collapse, fallen).refused(fallen)
    assert final is fallen
    assert "in the start atoms" in words
