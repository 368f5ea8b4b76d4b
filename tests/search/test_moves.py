"""Moves along low-frequency modes and of rotamers: sizes, shares, candidates."""

import numpy as np
import openmm as mm
import pytest
import scipy.sparse.linalg
from openmm import app, unit

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import MinimaDatabase, SearchSettings
from openmm_reparam.search.acceptance import Walker
from openmm_reparam.search.explorers import mode_explorer
from openmm_reparam.search.moves import REFINED_MINIMA, RotamerMove
from openmm_reparam.search.quench import Quench
from openmm_reparam.search.torsion_angles import ShapeAngles

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


@pytest.fixture
def chain(make_context):
    """Return what makes the search context of a peptide."""

    def make(**settings):
        simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
        seed = settings.pop("seed", 0)
        return make_context(simulation.context, SearchSettings(**settings), seed=seed)

    return make


def explorer_of(context):
    return mode_explorer(context, Preconditioner(context.potential))


def test_mode_moves_of_many_atoms_without_torsions(make_context, make_situation):
    field = app.ForceField("amber14/tip3p.xml")
    water = app.Modeller(app.Topology(), [] * unit.nanometer)
    water.addSolvent(field, boxSize=mm.Vec3(2.4, 2.4, 2.4) * unit.nanometer)
    system = field.createSystem(water.topology, nonbondedMethod=app.PME, rigidWater=False)
    platform = mm.Platform.getPlatform("CPU")
    openmm_context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    openmm_context.setPositions(water.positions)
    settings = SearchSettings(modes=8, amplitude=0.02)
    context = make_context(openmm_context, settings, topology=water.topology)
    potential, explorer = context.potential, explorer_of(context)
    x = potential.positions()
    assert x.size > 3000
    assert explorer.num_torsions == 0
    refined = explorer.move.propose(make_situation(x, 0.02, refining=True))
    proposal = explorer.move.propose(make_situation(x, 0.02))
    assert refined.uses_amplitude
    assert proposal.uses_amplitude
    step = proposal.candidates[0] - x
    assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(0.02, rel=1e-6)
    assert potential.counter.total == 0
    assert np.abs(step.mean(axis=0)).max() < 1e-6, "no translation of everything"
    # With the three translations left out, the eighth lowest is below the eleventh of all.
    stiffness = Preconditioner(potential).stiffness(x)
    eigenvalues = np.sort(scipy.sparse.linalg.eigsh(stiffness, 11, sigma=-100)[0])
    step = step.ravel() / np.linalg.norm(step)
    assert step @ (stiffness @ step) < 1.01 * eigenvalues[-1]


@pytest.mark.parametrize(
    ("asked", "refining", "share"), [(0, False, 0), (1, False, 1), (0, True, 0.9)]
)
def test_rotamer_moves_have_the_share_asked_for_and_nine_in_ten_when_refining(
    chain, make_situation, asked, refining, share
):
    context = chain(rotamer_share=asked)
    explorer, x = explorer_of(context), context.potential.positions()
    situation = make_situation(x, 0.1, refining=refining)
    proposals = [explorer.move.propose(situation) for _ in range(200)]
    of_rotamers = [not proposal.uses_amplitude for proposal in proposals]
    assert np.mean(of_rotamers) == pytest.approx(share, abs=0.06)
    moved = [positions for proposal in proposals[:20] for positions in proposal.candidates]
    assert all(np.abs(positions - x).max() > 1e-3 for positions in moved)
    assert context.potential.counter.total == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_proposals_follow_the_minima_told(chain, make_situation, share):
    energies = {"at first": [], "told": []}
    for seed in range(10):
        context = chain(rotamer_share=share, candidates=0, seed=seed)
        explorer, x = explorer_of(context), context.potential.positions()
        angles = ShapeAngles(context.topology)
        first = angles(x)

        def height(positions, angles=angles, first=first):
            """Height of a landscape that falls in one direction of every torsion."""
            return np.sin(angles(positions) - first).sum()

        situation = make_situation(x, 0.2, stagnation=1.0)
        for when in energies:
            (proposed,) = explorer.move.propose(situation).candidates
            energies[when].append(height(proposed))
            for _ in range(100 if when == "at first" else 0):
                start = explorer.reseed(x)
                explorer.move.tell(start, height(start))
    assert np.mean(energies["told"]) < np.mean(energies["at first"]) - 0.5


def test_rotamer_moves_of_several_minima_name_the_one_they_are_of(chain, make_situation):
    context = chain(candidates=12)
    explorer, rng = explorer_of(context), np.random.default_rng(1)
    start = context.potential.positions()
    database = MinimaDatabase(np.arange(len(start)))
    for number in range(30):
        positions, energy = explorer.reseed(start), rng.normal()
        assert database.add(energy, positions, 0) == number
        explorer.move.tell(positions, energy)
    situation = make_situation(start, refining=True, database=database)
    proposals = [explorer.move.propose(situation) for _ in range(10)]
    proposal = next(proposal for proposal in proposals if not proposal.uses_amplitude)
    assert len(proposal.candidates) == len(proposal.origins) == 12
    assert len(set(proposal.origins)) > 3
    lowest = {index for index, _ in database.lowest(REFINED_MINIMA)}
    for origin, moved in zip(proposal.origins, proposal.candidates, strict=True):
        # Most atoms are where they were in that minimum, and in no other.
        still = [
            (np.abs(moved - other.positions).max(axis=1) < 1e-9).sum() for other in database.minima
        ]
        assert origin in lowest
        assert still[origin] >= len(moved) - 20
        assert np.argmax(still) == origin


def test_rotamer_moves_leave_the_amplitude_alone(monkeypatch):
    sizes = []
    note = Walker.note

    def followed(walker, *arguments):
        sizes.append(walker.amplitude)
        return note(walker, *arguments)

    monkeypatch.setattr(Walker, "note", followed)
    for share in (1, 0):
        sizes.clear()
        simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
        settings = SearchSettings(rotamer_share=share, refinement=0.0)
        minimize_reparam(simulation, 1, search=settings, max_force_evaluations=1500, seed=1)
        assert len(sizes) > 5
        assert (len(set(sizes)) == 1) == (share == 1)


@pytest.mark.parametrize("candidates", [0, 4])
def test_the_lowest_of_the_candidates_is_relaxed(monkeypatch, candidates):
    simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
    judge = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    proposed, counts = [], []
    propose, quench = RotamerMove.propose, Quench.__call__

    def followed(move, situation):
        proposal = propose(move, situation)
        assert len(proposal.candidates) == 1 + int(candidates * situation.stagnation)
        proposed[:] = proposal.candidates
        return proposal

    def go_down(self, point, force):
        if proposed:
            energies = [judge.evaluate(positions)[0] for positions in proposed]
            assert point.energy == pytest.approx(min(energies), abs=1e-6)
            counts.append(len(proposed))
            proposed.clear()
        return quench(self, point, force)

    monkeypatch.setattr(RotamerMove, "propose", followed)
    monkeypatch.setattr(Quench, "__call__", go_down)
    settings = SearchSettings(candidates=candidates, rotamer_share=1, refinement=0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=2500, seed=1)
    assert len(counts) > 10
    assert (max(counts) == 1) == (candidates == 0)
    assert max(counts) <= 2 + candidates
    assert counts[0] == 1, "more the longer nothing lower is found"


@pytest.mark.slow
def test_the_lowest_minima_have_their_rotamers_moved_when_refining(monkeypatch):
    simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
    pools, propose = [], RotamerMove.propose

    def followed(move, situation):
        proposal = propose(move, situation)
        if proposal.origins is not None:
            minima = situation.database.minima
            pools.append([minima[origin].energy for origin in proposal.origins])
            lowest = sorted(minimum.energy for minimum in minima)[:REFINED_MINIMA]
            assert max(pools[-1]) <= lowest[-1]
        return proposal

    monkeypatch.setattr(RotamerMove, "propose", followed)
    settings = SearchSettings(refinement=0.5, patience=np.inf)
    result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=6000, seed=1)
    assert len(pools) > 10
    found = sorted(minimum.energy for minimum in result.minima)
    # What was moved last is among the lowest of all, or was found after it.
    assert max(pools[-1]) < np.median(found)
