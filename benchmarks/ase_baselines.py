"""FIRE and ASE's preconditioned L-BFGS on the same OpenMM Context; unconstrained Systems only."""

from __future__ import annotations

import time

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE
from ase.optimize.precon import Exp, PreconLBFGS

from openmm_reparam.potentials.point import rms
from openmm_reparam.potentials.potential import Potential

from .baselines import MAX_EVALUATIONS, judged

EV = 96.48533212331  # kJ/mol
ANGSTROM = 0.1  # nm


class Reached(Exception):  # noqa: N818
    """Ends ASE's run once the RMS force is at the tolerance or the evaluations are used up."""


class OpenMMCalculator(Calculator):
    """ASE's view of a `Potential`: eV and angstrom, every evaluation counted."""

    implemented_properties = ("energy", "forces")

    def __init__(self, potential: Potential, tolerance: float) -> None:
        super().__init__()
        self.potential, self.tolerance = potential, tolerance
        self.moving = int(potential.moves.sum())
        self.began = time.perf_counter()
        self.trace: list[tuple[int, float, float]] = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Evaluate, keep a row of the trace, and stop where the tolerance is met."""
        super().calculate(atoms, properties, system_changes)
        self.last = atoms.get_positions() * ANGSTROM
        energy, forces = self.potential.evaluate(self.last)
        count = self.potential.counter.total
        self.trace.append((count, time.perf_counter() - self.began, energy))
        self.results = {"energy": energy / EV, "forces": forces * ANGSTROM / EV}
        if rms(forces, self.moving) <= self.tolerance or count >= MAX_EVALUATIONS:
            raise Reached


def _run(method, make_optimizer, molecule, tolerance, platform):
    potential = Potential(molecule.simulation(platform).context)
    numbers = [atom.element.atomic_number for atom in molecule.topology.atoms()]
    box = potential.box()
    atoms = Atoms(
        numbers,
        potential.positions() / ANGSTROM,
        cell=None if box is None else box / ANGSTROM,
        pbc=box is not None,
    )
    calculator = OpenMMCalculator(potential, tolerance)
    atoms.calc = calculator
    try:
        make_optimizer(atoms).run(fmax=0.0, steps=10**9)
    except (Reached, RuntimeError) as end:
        # A failed line search is a RuntimeError of ASE's.
        if isinstance(end, RuntimeError):
            print(f"{method} stopped: {end}")
    outcome = judged(
        method,
        molecule,
        calculator.last,
        tolerance,
        platform,
        force_evaluations=potential.counter.total,
        seconds=time.perf_counter() - calculator.began,
    )
    outcome.trace = calculator.trace
    return outcome


def fire(molecule, tolerance, platform, seed):
    """FIRE (Bitzek et al., Phys. Rev. Lett. 2006, 97, 170201), as ASE has it."""
    return _run("FIRE", lambda atoms: FIRE(atoms, logfile=None), molecule, tolerance, platform)


def precon_lbfgs(molecule, tolerance, platform, seed):
    """Preconditioned L-BFGS of ASE (Packwood et al., J. Chem. Phys. 2016, 144, 164109)."""

    def make(atoms):
        return PreconLBFGS(atoms, precon=Exp(A=3.0, r_cut=4.0, r_NN=1.5), logfile=None)

    return _run("ASE PreconLBFGS", make, molecule, tolerance, platform)
