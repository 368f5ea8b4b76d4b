"""A search on many islands that share the minima they find.

Each island is a basin hopping search of its own, with its own random numbers, in a process of its
own. All go in rounds of as many force evaluations. After a round what they have found is merged, in
the order of the islands. In the next round every island knows it: its moves follow the energies of
all minima, and it goes to no minimum that others have visited often. Islands that lag are sent
elsewhere, see `migration.migrated`. What a round does follows from the file that the rounds before
have left and from nothing else: not from the number of workers, nor from who ends first.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from openmm import unit

from ..minimization.minimizer import ReparamMinimizer
from ..minimization.replicas import compared_atoms
from ..minimization.result import MinimizationResult
from ..minimization.settings import MinimizationSettings
from ..minimization.stages import quenching_search
from ..optimizers.stage_end import StageEnd
from ..potentials.bond_graph import bond_graph
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..search import MinimaDatabase, Minimum, SearchRecord, SearchSettings, ShapeComparison
from ..search.torsions import TorsionTopology
from ..units import whole_number
from .cluster import ClusterSettings, open_cluster
from .context_recipe import ContextRecipe
from .engine import ordered_results
from .island_round import IslandRound, RoundTask, search_round
from .migration import MIGRATION_CANDIDATES, counted_stagnation, migrated
from .minima_database import FoundMinimum, MinimaFile, StoredMinimum
from .round_budget import RoundBudget, next_round

__all__ = ["ROUND_EVALUATIONS", "IslandStage", "search_islands"]

# Force evaluations of an island in a round: ten to twenty hops.
ROUND_EVALUATIONS = 1000
# So many of the lowest minima are known to the islands.
MOST_KNOWN = 1000

# Goes through the tasks of a round, and yields what became of each, in their order.
RoundRunner = Callable[[Iterable[RoundTask]], Iterable[IslandRound]]


def search_islands(
    simulation,
    islands: int,
    max_force_evaluations: int,
    *,
    database: str | Path | None = None,
    cluster: ClusterSettings | None = None,
    round_evaluations: int = ROUND_EVALUATIONS,
    search: str | SearchSettings = "auto",
    tolerance=10 * unit.kilojoules_per_mole / unit.nanometer,
    seed: int | None = None,
    strict: bool = False,
    progress: bool | None = None,
    **settings: Any,
) -> MinimizationResult:
    """Search for deep minima on several islands that share what they find.

    Stands where ``minimize_reparam(simulation, search="auto", max_force_evaluations=...)`` stood.
    The result depends on the arguments and the platform, and not on the number of workers. Islands
    have Contexts of one thread. Where the Simulation has one thread, too, or is on the Reference
    platform, the same call gives the same numbers, to the last digit.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
        Only its positions change, and only if nothing is raised.
    islands : int
    max_force_evaluations : int
        Of all islands together, of the descents before and after them too.
    database : str or Path, optional
        A file that keeps all minima. If it is there, the same search goes on where it ended: with
        the next round, to the same minima as if it had never been interrupted.
    cluster : ClusterSettings, optional
        Worker processes. Without it the islands take turns in this process.
    round_evaluations : int
        Of one island between two exchanges.
    search : str or SearchSettings
        What each island does.
    tolerance : Quantity or float
        RMS force in kJ/mol/nm.
    seed : int, optional
        None is 0.
    strict : bool
        Raise `NotConvergedError` instead of warning.
    progress : bool, optional
        None shows a bar on a terminal.
    **settings
        Others of `ReparamMinimizer`.

    Returns
    -------
    MinimizationResult
        ``minima`` are those of all islands.

    Raises
    ------
    TypeError, ValueError
        Bad arguments; or the database holds another molecule, or another search.
    UnsupportedSystemError
        The System cannot be written as XML, which is how it gets to the islands.
    OSError
        The database cannot be read or written.
    ChildProcessError
        An island has failed, or ended its worker again and again. Rounds that are done stay in the
        database.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AG").simulation("CPU", threads=1)
    >>> result = search_islands(simulation, 2, 1500, round_evaluations=300)
    >>> result.converged, result.force_evaluations <= 1500, len(result.minima) > 1
    (True, True, True)
    """
    islands = whole_number(islands, "islands", 1)
    round_evaluations = whole_number(round_evaluations, "round_evaluations", 1)
    if search is None:
        raise ValueError("search is None; give one of the names that minimize_reparam takes")
    minimizer = ReparamMinimizer(
        simulation, search=search, seed=seed, progress=progress, **settings
    )
    limited = minimizer.settings.limited(tolerance, 0, max_force_evaluations)
    molecule = ContextRecipe.of(minimizer.context, minimizer.topology)
    identity = _identity(limited, islands, round_evaluations)
    with _opened(database, molecule, identity) as file:
        stage = functools.partial(
            IslandStage,
            molecule=molecule,
            file=file,
            islands=islands,
            round_evaluations=round_evaluations,
            cluster=cluster,
        )
        minimizer.settings = dataclasses.replace(minimizer.settings, search_stage=stage)
        return minimizer.minimize(
            tolerance, max_force_evaluations=max_force_evaluations, strict=strict
        )


class IslandStage:
    """The stage of a run in which islands search.

    Parameters
    ----------
    evaluator : Evaluator
        On the user's Context.
    settings : MinimizationSettings
        With a ``search``.
    reference : (N, 3) array
        Of the run's start, in nm.
    molecule : ContextRecipe
    file : MinimaFile
        Goes on where it ends.
    islands, round_evaluations : int
    cluster : ClusterSettings or None

    Attributes
    ----------
    name : str
    searches : bool
        True: its points are minima that need not be lower and lower.
    topology : TorsionTopology
    record : SearchRecord
        Of all islands.
    """

    searches = True
    name = "islands"

    def __init__(
        self,
        evaluator: Evaluator,
        settings: MinimizationSettings,
        reference: np.ndarray,
        *,
        molecule: ContextRecipe,
        file: MinimaFile,
        islands: int,
        round_evaluations: int,
        cluster: ClusterSettings | None,
    ) -> None:
        self._evaluator, self._settings, self._reference = evaluator, settings, reference
        self._search = quenching_search(settings)
        self._molecule, self._file, self._cluster = molecule, file, cluster
        self._islands, self._round_evaluations = islands, round_evaluations
        potential = evaluator.potential
        self.topology = TorsionTopology(potential, bond_graph(potential))
        compared = compared_atoms(potential.topology, potential.num_particles)
        self._comparison = ShapeComparison(compared, self.topology.symmetry_classes)
        self.record = SearchRecord(self._search.name)
        self._done: list[IslandRound] = []  # of the last round
        self._spent, self._taken = 0, set[int]()

    @property
    def label(self) -> str:
        """What the progress calls it."""
        return f"{self._islands} islands, {self._file.num_rounds} rounds, best"

    @property
    def database(self) -> MinimaDatabase:
        """All minima of the file."""
        minima = [_known(minimum) for minimum in self._file]
        return MinimaDatabase(self._comparison.compared, self.topology.symmetry_classes, minima)

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield the minima that the islands find; `StageEnd` says why there are no more."""
        limit = self._evaluator.potential.counter.limit or 0
        begin, before = self._begun(begin)
        self.record.minima = len(self._file)
        recalled = self._file.num_rounds
        if recalled:
            yield self._evaluator.evaluate(self._file.lowest(1)[0].positions)
            self._recall()
        with _runner(self._cluster) as run:
            while budget := self._next_round(limit - before):
                number = self._file.num_rounds + 1
                rounds = []
                for done in run(self._tasks(begin, number, budget)):
                    rounds.append(done)
                    yield from self._counted(done)
                self._keep(number, rounds, before)
        raise StageEnd(self._ending(recalled))

    def _begun(self, begin: Point) -> tuple[Point, int]:
        """Return the minimum that the search began from, and the force evaluations until then."""
        text = self._file.header("begin")
        if text is not None:
            plain = json.loads(text)
            positions = np.array(plain["positions"])
            begin = Point(positions, plain["energy"], np.zeros_like(positions))
            return begin, plain["force_evaluations"]
        spent = self._evaluator.potential.counter.total
        plain = {
            "energy": begin.energy,
            "positions": begin.positions.tolist(),
            "force_evaluations": spent,
        }
        with self._file.transaction():
            self._file.set_header("begin", json.dumps(plain))
            self._file.add([self._found(begin, spent)], self._comparison)
        return begin, spent

    def _next_round(self, total: int) -> RoundBudget | None:
        return next_round(total, self._spent, self._islands, self._round_evaluations, self._search)

    def _tasks(self, begin: Point, number: int, budget: RoundBudget) -> list[RoundTask]:
        lowest = self._file.lowest(MOST_KNOWN) if self._done else ()
        known = tuple(_known(minimum) for minimum in sorted(lowest, key=lambda one: one.id))
        return [
            RoundTask(
                molecule=self._molecule,
                settings=dataclasses.replace(self._search, refinement=float(budget.refines)),
                tolerance=self._settings.tolerance,
                seed=self._settings.seed,
                island=island,
                round=number,
                force_evaluations=budget.force_evaluations,
                limit=budget.limit,
                start=begin,
                reference=self._reference,
                known=known,
                state=self._done[island].state if self._done else None,
            )
            for island in range(self._islands)
        ]

    def _counted(self, done: IslandRound) -> Iterator[Point]:
        """Yield the minima of an island, its force evaluations counted on the way."""
        counter, seen = self._evaluator.potential.counter, 0
        for minimum in done.found:
            counter.context += minimum.force_evaluations - seen
            seen = minimum.force_evaluations
            yield minimum.point
        counter.context -= seen
        self._count(done)

    def _count(self, done: IslandRound) -> None:
        """Count an island's evaluations by kind."""
        counter = self._evaluator.potential.counter
        counter.context += done.evaluations["context"]
        counter.side += done.evaluations["side"]
        counter.bonded += done.evaluations["bonded"]
        self.record.add(done.record)

    def _keep(self, number: int, rounds: list[IslandRound], before: int) -> None:
        """Write a round to the file: all of it, or nothing where this process is ended."""
        with self._file.transaction():
            for island, done in enumerate(rounds):
                first = before + self._spent
                found = [
                    self._found(one.point, first + one.force_evaluations, island, number)
                    for one in done.found
                ]
                self._file.add(found, self._comparison)
                self._spent += done.force_evaluations
            rounds = counted_stagnation(rounds, self._done)
            rounds = migrated(
                rounds,
                self._file.lowest(MIGRATION_CANDIDATES),
                self._taken,
                self._comparison,
                self._search.amplitude,
            )
            for island, done in enumerate(rounds):
                self._file.add_round(number, island, done.to_json())
        self._follow(rounds)

    def _recall(self) -> None:
        """Go on where the file ends."""
        for number in range(1, self._file.num_rounds + 1):
            rounds = [IslandRound.from_json(text) for text in self._file.round(number)]
            for done in rounds:
                self._count(done)
                self._spent += done.force_evaluations
            self._follow(rounds)

    def _follow(self, rounds: list[IslandRound]) -> None:
        self.record.minima = len(self._file)
        self._done = [dataclasses.replace(done, found=()) for done in rounds]
        self._taken |= {done.sent_to for done in rounds if done.sent_to is not None}

    def _found(
        self, point: Point, evaluations: int, island: int = 0, number: int = 0
    ) -> FoundMinimum:
        return FoundMinimum(
            point.energy,
            point.positions,
            self._evaluator.rms(point),
            evaluations,
            island,
            self._settings.seed,
            number,
        )

    def _ending(self, recalled: int) -> str:
        kept = f", {recalled} of them done before" if recalled else ""
        count = len(self._taken)
        moved = f"{count or 'no'} migration{'s' * (count > 1)}"
        return (
            f"{self._file.num_rounds} rounds of {self._islands} islands{kept}, {moved}; the budget "
            "of the search is used up"
        )


@contextmanager
def _runner(cluster: ClusterSettings | None) -> Iterator[RoundRunner]:
    """Open what goes through the tasks of a round."""
    if cluster is None:
        yield lambda tasks: map(search_round, tasks)
        return
    with open_cluster(cluster) as client:
        yield lambda tasks: ordered_results(client, search_round, _failed, tasks)


def _failed(task: RoundTask, message: str) -> IslandRound:
    raise ChildProcessError(
        f"island {task.island} failed in round {task.round}: {message}. Rounds before it are kept "
        "in the database if there is one: the same command goes on with them."
    )


def _known(minimum: StoredMinimum) -> Minimum:
    return Minimum(
        minimum.energy, minimum.positions, minimum.force_evaluations, visits=minimum.visits
    )


def _identity(
    settings: MinimizationSettings, islands: int, round_evaluations: int
) -> dict[str, Any]:
    """Return what a search that goes on must have in common with how it began."""
    search = quenching_search(settings)
    return {
        "islands": islands,
        "seed": settings.seed,
        "round_evaluations": round_evaluations,
        "tolerance": settings.tolerance,
        "search": repr(dataclasses.replace(search, explorer=search.name)),
    }


@contextmanager
def _opened(
    database: str | Path | None, molecule: ContextRecipe, identity: dict[str, Any]
) -> Iterator[MinimaFile]:
    """Open the file of a search, a new one or one to go on with."""
    path = ":memory:" if database is None else Path(database)
    known = isinstance(path, Path) and path.is_file() and path.stat().st_size > 0
    with MinimaFile.open(path, write=True) if known else MinimaFile.create(path, molecule) as file:
        file.refuse_other_molecule(molecule)
        begun = file.header("search")
        if begun is None:
            file.set_header("search", json.dumps(identity))
        else:
            _refuse_other_search(file, json.loads(begun), identity)
        yield file


def _refuse_other_search(file: MinimaFile, begun: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise ValueError where a search cannot go on as another one began."""
    for key, value in identity.items():
        if begun.get(key) != value:
            raise ValueError(
                f"{file.path} holds a search with {key} = {begun.get(key)}, and here it is {value}."
                " Go on with the same settings, or name another file."
            )
