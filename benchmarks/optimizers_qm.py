"""Optimizers for potentials whose evaluations cost most, all on one counted oracle.

Each optimizer gets a start and a `CountedOracle`, which ends the run where the RMS force is at the
tolerance or the evaluations are used up. The optimizers' own tests of convergence are out of
reach, their other settings as their users find them.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize as scipy_minimize

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.constants import ANGSTROM, BOHR, HARTREE
from openmm_reparam.surrogates.oracles import molecule_simulation
from openmm_reparam.surrogates.programs import MMFF94, Oracle

from .molecules import Start
from .report import PACKAGE

# A run that has not met its tolerance by then has failed.
MAX_EVALUATIONS = 300
EV = 96.48533212331  # kJ/mol


class Reached(Exception):  # noqa: N818
    """Ends a run: the RMS force is at the tolerance, or the evaluations are used up."""


@dataclass
class CountedOracle:
    """An oracle that counts, times and remembers its evaluations, failed ones too.

    Attributes
    ----------
    oracle : callable
        (N, 3) positions in nm -> energy in kJ/mol and forces in kJ/mol/nm.
    tolerance : float
        RMS force, sqrt(sum |F|^2 / N) in kJ/mol/nm.
    ends : bool
        Raise `Reached`. Otherwise the optimizer ends by itself.
    trace : list of (seconds, seconds in the oracle, energy, RMS force)
        A row for each evaluation; energy and force are None where it failed.
    best : (N, 3) array
        The evaluated positions of lowest RMS force.
    """

    oracle: Oracle
    tolerance: float
    ends: bool = True
    trace: list[tuple] = field(default_factory=list)
    best: np.ndarray | None = None
    inside: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate."""
        if self.ends and len(self.trace) >= MAX_EVALUATIONS:
            raise Reached(f"{MAX_EVALUATIONS} evaluations are used up")
        energy = force = None
        start = time.perf_counter()
        try:
            energy, forces = self.oracle(positions)
            force = float(np.sqrt(np.sum(forces**2) / len(forces)))
            if self.best is None or force < self.lowest()[1]:
                self.best = np.array(positions)
        finally:
            now = time.perf_counter()
            self.inside += now - start
            self.trace.append((now - self.began, self.inside, energy, force))
        if self.ends and force <= self.tolerance:
            raise Reached
        return energy, forces

    @property
    def failures(self) -> int:
        """Evaluations that raised."""
        return sum(row[2] is None for row in self.trace)

    def lowest(self) -> tuple[float, float]:
        """Return energy and RMS force of the evaluation of lowest RMS force."""
        done = [(force, energy) for _, _, energy, force in self.trace if energy is not None]
        force, energy = min(done)
        return energy, force

    def evaluations_to(self, force: float) -> int | None:
        """Return the evaluations up to the first whose RMS force is at most this, or None."""
        ways = (n for n, row in enumerate(self.trace, 1) if row[3] is not None and row[3] <= force)
        return next(ways, None)


# --- Baselines ---


def local_energy_minimizer(start: Start, oracle: CountedOracle) -> None:
    """OpenMM's own; an evaluation that fails ends it."""
    simulation = molecule_simulation(start.molecule, oracle, start.positions)
    # Its own measure of the forces is another: the counted oracle's decides.
    simulation.minimizeEnergy(0.1 * oracle.tolerance)


def scipy_lbfgs(start: Start, oracle: CountedOracle) -> None:
    """L-BFGS-B of scipy with its default memory.

    In angstrom: its first step has the length 1 whatever the unit, and 1 nm would be too long.
    """

    def energy_and_gradient(x):
        energy, forces = oracle(x.reshape(-1, 3) * ANGSTROM)
        return energy, -forces.ravel() * ANGSTROM

    options = {"ftol": 0.0, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9}
    flat = start.positions.ravel() / ANGSTROM
    scipy_minimize(energy_and_gradient, flat, jac=True, method="L-BFGS-B", options=options)


def _atoms(start: Start, oracle: CountedOracle):
    """Return ASE's Atoms, whose calculator asks the oracle."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes

    class OfOracle(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            energy, forces = oracle(atoms.get_positions() * ANGSTROM)
            self.results = {"energy": energy / EV, "forces": forces * ANGSTROM / EV}

    atoms = Atoms(start.numbers, start.positions / ANGSTROM)
    atoms.calc = OfOracle()
    return atoms


def ase_bfgs(start: Start, oracle: CountedOracle) -> None:
    """BFGS of ASE."""
    from ase.optimize import BFGS

    BFGS(_atoms(start, oracle), logfile=None).run(fmax=0.0, steps=10**9)


def ase_fire(start: Start, oracle: CountedOracle) -> None:
    """FIRE of ASE (Bitzek et al., Phys. Rev. Lett. 2006, 97, 170201)."""
    from ase.optimize import FIRE

    FIRE(_atoms(start, oracle), logfile=None).run(fmax=0.0, steps=10**9)


def ase_precon_lbfgs(start: Start, oracle: CountedOracle) -> None:
    """Preconditioned L-BFGS of ASE (Packwood et al., J. Chem. Phys. 2016, 144, 164109)."""
    from ase.optimize.precon import Exp, PreconLBFGS

    precon = Exp(A=3.0, r_cut=4.0, r_NN=1.5)
    optimizer = PreconLBFGS(_atoms(start, oracle), precon=precon, logfile=None)
    optimizer.run(fmax=0.0, steps=10**9)


def geometric_tric(start: Start, oracle: CountedOracle) -> None:
    """Run geomeTRIC with its default coordinates, trust region, Hessian guess and update.

    Wang and Song, J. Chem. Phys. 2016, 144, 214108.
    """
    from geometric.engine import Engine
    from geometric.internal import DelocalizedInternalCoordinates
    from geometric.molecule import Molecule
    from geometric.optimize import Optimizer
    from geometric.params import OptParams

    class OfOracle(Engine):
        def calc_new(self, coords, dirname):
            energy, forces = oracle(np.reshape(coords, (-1, 3)) * BOHR)
            return {"energy": energy / HARTREE, "gradient": -forces.ravel() * (BOHR / HARTREE)}

    for name in ("geometric", "geometric.nifty"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    molecule = Molecule()
    molecule.elem = [atom.GetSymbol() for atom in start.molecule.GetAtoms()]
    molecule.xyzs = [start.positions / ANGSTROM]
    molecule.build_topology()
    internal = DelocalizedInternalCoordinates(molecule, build=True, connect=False, addcart=False)
    # All of its criteria have to be met. The smallest trust radius follows from the others.
    settings = OptParams(converge=["energy", "1e-14"], maxiter=10**9)
    settings.xyzout = settings.qdata = None
    with tempfile.TemporaryDirectory() as folder:
        Optimizer(
            (start.positions / BOHR).ravel(),
            molecule,
            internal,
            OfOracle(molecule),
            folder,
            settings,
            print_info=False,
        ).optimizeGeometry()


def sella_internal(start: Start, oracle: CountedOracle) -> None:
    """Sella in internal coordinates (Hermes et al., J. Chem. Theory Comput. 2022, 18, 6974)."""
    from sella import Sella

    optimizer = Sella(_atoms(start, oracle), order=0, internal=True, logfile=None)
    optimizer.run(fmax=0.0, steps=10**9)


# --- openmm-reparam ---

# The settings of each variant, made for a start. A variant that says nothing of the molecule but
# its OpenMM Simulation returns a constant.
OWN: dict[str, Callable[[Start], dict]] = {
    "openmm-reparam": lambda start: {},
    "openmm-reparam, MMFF94": lambda start: {"surrogate": "mmff"},
    "openmm-reparam, GFN-FF": lambda start: {"surrogate": "gfnff"},
}


def mmff_of(start: Start) -> MMFF94:
    """Return MMFF94 of a start's molecule, for variants that take a surrogate."""
    return MMFF94(start.molecule)


def _reparam(settings: Callable[[Start], dict]):
    def run(start: Start, oracle: CountedOracle) -> None:
        oracle.ends = False
        simulation = molecule_simulation(start.molecule, oracle, start.positions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            minimize_reparam(
                simulation,
                oracle.tolerance,
                max_force_evaluations=MAX_EVALUATIONS,
                progress=False,
                **settings(start),
            )

    return run


BASELINES: dict[str, tuple[Callable[[Start, CountedOracle], None], str]] = {
    "LocalEnergyMinimizer": (local_energy_minimizer, "openmm"),
    "scipy L-BFGS-B": (scipy_lbfgs, "scipy"),
    "ASE BFGS": (ase_bfgs, "ase"),
    "ASE PreconLBFGS": (ase_precon_lbfgs, "ase"),
    "ASE FIRE": (ase_fire, "ase"),
    "geomeTRIC": (geometric_tric, "geometric"),
    "Sella": (sella_internal, "sella"),
}
METHODS = BASELINES | {name: (_reparam(settings), PACKAGE) for name, settings in OWN.items()}


def run_method(method: str, start: Start, oracle: Oracle, tolerance: float) -> dict:
    """Run a method and return what came out of it.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    start : Start
    oracle : callable
        See `CountedOracle`.
    tolerance : float
        RMS force in kJ/mol/nm.

    Returns
    -------
    dict
        Plain values. ``evaluations_50``, ``_10``, ``_1``: up to the first evaluation of that RMS
        force, None where the run did not get there. ``energy``, ``rms_force`` and ``positions`` of
        the evaluation of lowest RMS force. ``stopped``: what ended a run that did not converge.
    """
    counted = CountedOracle(oracle, tolerance)
    stopped = ""
    try:
        METHODS[method][0](start, counted)
    except Reached as end:
        stopped = str(end)
    except Exception as error:
        # A failed self-consistent field, or an optimizer's own: the run has ended, and is judged.
        stopped = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - counted.began
    if counted.best is None:
        raise RuntimeError(f"{method} evaluated nothing from {start.name}: {stopped}")
    energy, force = counted.lowest()
    converged = force <= tolerance
    return {
        "method": method,
        "atoms": len(start.positions),
        "tolerance": tolerance,
        "initial_energy": counted.trace[0][2],
        "energy": energy,
        "rms_force": force,
        "converged": converged,
        "stopped": "" if converged else stopped or "ended by itself",
        "evaluations": len(counted.trace),
        "failures": counted.failures,
        **{f"evaluations_{rms:g}": counted.evaluations_to(rms) for rms in (50.0, 10.0, 1.0)},
        "seconds": seconds,
        "oracle_seconds": counted.inside,
        "positions": np.round(counted.best, 6).tolist(),
        "trace": [tuple(v and round(v, 5) for v in row) for row in counted.trace],
    }
