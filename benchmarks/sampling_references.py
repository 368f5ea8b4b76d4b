"""References of the sampling benchmark: biased molecular dynamics, reweighted.

Well-tempered metadynamics fills a bias on phi and psi of alanine dipeptide with ff96 and OBC2, at
300 K. Eight independent walkers then run in that bias, kept as it is, and their frames are weighted
for each case of that molecule: by the bias, and by the difference of the reduced energies, of other
temperatures and other force fields too. Errors are those of a jackknife over the walkers.

The tetrapeptide takes over the dipeptide's bias for each of its residues. One quarter of the
walkers biases every residue by half, the others one of them in full; frames of all are pooled
(MBAR; Shirts and Chodera, J. Chem. Phys. 2008, 129, 124105).

Aspirin's torsions are biased by minus their own terms in the force field. Of met-enkephalin there
is a weaker reference: frames of long parallel tempering, with errors between its blocks in time,
which say nothing of what no block saw.

``python -m benchmarks.sampling_references dipeptide tetrapeptide`` writes frames with their weights
to ``results/runs/sampling-CASE.npz``, histograms to ``results/sampling-reference-CASE.csv`` and
free energies to ``results/sampling-references.csv``. ``--add`` adds walkers to those that there
are, ``--weights-only`` weights stored frames anew.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import unit
from scipy.special import logsumexp
from tqdm import tqdm

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem

from .sampling_baselines import parallel_tempering
from .sampling_bias import BiasedMolecule, filled_bias, torsion_bias
from .sampling_cases import CASES, SamplingCase, repartition_masses, simulation_factory
from .sampling_measures import (
    basin_free_energy,
    jackknife,
    normalized_weights,
    ramachandran_histogram,
)

__all__ = ["Reference", "biased_frames", "load_reference", "pooled_log_weights"]

RESULTS = Path(__file__).parent / "results"
WALKERS, SAVED_EVERY = 8, 100
# Steps of metadynamics, and by default of the walkers, all together.
FILLING, SAMPLING = 500_000, 4_000_000
FIRST_SEED = 1000  # of parallel tempering
EQUILIBRATION = 5_000  # steps of a walker, not saved
# What is run of each molecule; its other cases are weighted from the same frames.
SAMPLED = {
    kind: SamplingCase(kind, "gaff2" if kind == "aspirin" else "ff96-obc2", 300.0)
    for kind in ("dipeptide", "tetrapeptide", "aspirin", "enkephalin")
}
BIAS = RESULTS / "runs" / "sampling-bias.npy"


@dataclass(frozen=True)
class Reference:
    """Frames of biased dynamics, to be weighted.

    Attributes
    ----------
    positions : (n, N, 3) array
        In nm.
    log_weights : (n,) array
        For the unbiased ensemble; not normalized.
    walkers : (n,) int array
        The walker of each frame; walkers are independent.
    """

    positions: np.ndarray
    log_weights: np.ndarray
    walkers: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weights that add up to one."""
        return normalized_weights(self.log_weights)

    def resampled(self, count: int, seed: int = 0) -> np.ndarray:
        """Draw (count, N, 3) frames with probabilities in proportion to their weights."""
        drawn = np.random.default_rng(seed).choice(len(self.weights), count, p=self.weights)
        return self.positions[drawn]


def load_reference(case: SamplingCase) -> Reference:
    """Read the frames of a case.

    Raises
    ------
    FileNotFoundError
        The reference has not been run on this machine: frames are not kept in git.
    """
    path = _frames_path(case)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}: run python -m benchmarks.sampling_references {case.name}"
        )
    with np.load(path) as stored:
        return Reference(stored["positions"], stored["log_weights"], stored["walkers"])


def heavier_hydrogens(molecule: MolecularSystem) -> MolecularSystem:
    """Return the molecule with hydrogens of 3 amu: dynamics may then take steps of 2 fs."""
    system = copy.deepcopy(molecule.system)
    repartition_masses(system, molecule.topology)
    return MolecularSystem(molecule.name, molecule.topology, system, molecule.positions)


def biased_frames(
    biased: BiasedMolecule,
    bias: np.ndarray,
    states: list[mm.State],
    scales: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run walkers in biases that stay as they are.

    Parameters
    ----------
    biased : BiasedMolecule
    bias : (pairs, GRID, GRID) array
        In kJ/mol.
    states : list of openmm.State
        Where walkers begin.
    scales : (walkers, pairs) array
        What each walker multiplies the biases by.
    steps : int
        Of all walkers together.

    Returns
    -------
    positions : (n, N, 3) array
        In nm; those until then after Ctrl-C.
    energies : (n, pairs) array
        The biases there, not scaled, in kJ/mol.
    walkers : (n,) int array
    """
    frames, energies, walkers = [], [], []
    count = steps // len(states) // SAVED_EVERY
    with contextlib.suppress(KeyboardInterrupt):  # what is done is kept
        for walker, (state, scale) in enumerate(zip(states, scales, strict=True)):
            biased.set_bias(scale[:, None, None] * bias)
            biased.simulation.context.setState(state)
            biased.simulation.step(EQUILIBRATION)
            for _ in tqdm(range(count), desc=f"walker {walker + 1}", mininterval=20):
                biased.simulation.step(SAVED_EVERY)
                energies.append(biased.bias_energies() / scale)
                frames.append(biased.positions())
                walkers.append(walker)
    return np.array(frames), np.array(energies[: len(frames)]), np.array(walkers[: len(frames)])


def pooled_log_weights(
    energies: np.ndarray, scales: np.ndarray, walkers: np.ndarray, temperature: float
) -> np.ndarray:
    """Return log weights, (n,), of frames from several biases for the unbiased ensemble (MBAR).

    Parameters
    ----------
    energies : (n, pairs) array
        Of the biases at the frames, not scaled, in kJ/mol.
    scales : (walkers, pairs) array
    walkers : (n,) int array
    temperature : float
        In K.
    """
    reduced = energies @ scales.T / (BOLTZMANN * temperature)
    with np.errstate(divide="ignore"):  # walkers that never ran
        counts = np.log(np.bincount(walkers, minlength=len(scales)))
    free_energies = np.zeros(len(scales))
    for _ in range(10_000):
        mixture = logsumexp(counts + free_energies - reduced, axis=1)
        updated = -logsumexp(-reduced - mixture[:, None], axis=0)
        updated -= updated[0]
        if np.abs(updated - free_energies).max() < 1e-9:
            break
        free_energies = updated
    return -mixture


def reduced_energies(case: SamplingCase, positions: np.ndarray) -> np.ndarray:
    """Return energies over kT, (n,), of a case at (n, N, 3) positions in nm."""
    threads = 1 if case.platform == "CPU" else None
    context = case.molecule().simulation(case.platform, threads=threads).context
    energies = []
    for x in tqdm(positions, desc=case.name, mininterval=20):
        context.setPositions(x)
        energies.append(context.getState(energy=True).getPotentialEnergy())
    in_kilojoules = [e.value_in_unit(unit.kilojoules_per_mole) for e in energies]
    return np.array(in_kilojoules) / (BOLTZMANN * case.temperature)


def bias_scales(pairs: int) -> np.ndarray:
    """Return what each walker multiplies the biases of the pairs by, (WALKERS, pairs)."""
    if pairs == 1:
        return np.ones((WALKERS, 1))
    kinds = np.vstack([np.full(pairs, 0.5), 0.5 + 0.5 * np.eye(pairs)])
    return kinds[np.arange(WALKERS) % len(kinds)]


def run_walkers(case: SamplingCase, steps: int, seed: int) -> Reference:
    """Fill the bias (or take over the dipeptide's), sample in it, weight the frames."""
    molecule, atoms = heavier_hydrogens(case.molecule()), case.torsion_atoms()
    biased = BiasedMolecule.make(molecule, atoms, case.temperature, seed, case.platform)
    if case.kind == "dipeptide":
        bias, states = filled_bias(biased, case.temperature, FILLING, WALKERS)
        np.save(BIAS, bias)
    else:
        if case.kind == "aspirin":
            bias = torsion_bias(molecule, atoms)
        else:
            bias = np.repeat(np.load(BIAS), len(atoms), axis=0)
        biased.simulation.minimizeEnergy()
        biased.simulation.context.setVelocitiesToTemperature(case.temperature, seed)
        start = biased.simulation.context.getState(positions=True, velocities=True)
        states = [start] * WALKERS
    scales = bias_scales(len(atoms))
    positions, energies, walkers = biased_frames(biased, bias, states, scales, steps)
    log_weights = pooled_log_weights(energies, scales, walkers, case.temperature)
    return Reference(positions, log_weights, walkers)


def run_tempering(case: SamplingCase, steps: int, seed: int) -> Reference:
    """Run long parallel tempering from another seed than the benchmark's, in blocks of time."""
    make = simulation_factory(case.molecule(), case.platform)
    positions, weights = parallel_tempering(make, case.temperature, steps, FIRST_SEED + seed)
    blocks = np.arange(len(positions)) * WALKERS // len(positions)
    return Reference(positions, np.log(weights), blocks)


def added(known: Reference, new: Reference) -> Reference:
    """Pool the frames of two runs; in each, weights add up to its number of frames."""
    logs = [
        np.log(len(r.log_weights)) + r.log_weights - logsumexp(r.log_weights) for r in (known, new)
    ]
    return Reference(
        np.concatenate([known.positions, new.positions]),
        np.concatenate(logs),
        np.concatenate([known.walkers, new.walkers + known.walkers.max() + 1]),
    )


def reweighted(sampled: Reference, of: SamplingCase, case: SamplingCase) -> Reference:
    """Weight frames of one case for another."""
    if case == of:
        return sampled
    change = reduced_energies(of, sampled.positions) - reduced_energies(case, sampled.positions)
    return Reference(sampled.positions, sampled.log_weights + change, sampled.walkers)


def summary(case: SamplingCase, reference: Reference) -> list[dict]:
    """Return free energies of basins with their errors, a row a residue or pair of torsions."""
    torsions = case.torsions(reference.positions)
    weights = reference.weights
    rows = []
    for residue in case.basin_pairs:
        row: dict = {
            "case": case.name,
            "residue": residue + 1,
            "frames": len(weights),
            "effective": round(1 / (weights**2).sum()),
        }
        for basin in case.basins:

            def estimate(used, residue=residue, basin=basin):
                return basin_free_energy(
                    torsions[used, residue], weights[used], basin, case.temperature
                )

            value, error = jackknife(estimate, reference.walkers)
            row |= {basin: round(float(value), 3), f"{basin} error": round(float(error), 3)}
        rows.append(row)
    return rows


def write_histogram(case: SamplingCase, reference: Reference) -> None:
    """Write the histogram of each residue's phi and psi, or of each pair, with errors as CSV."""
    torsions = case.torsions(reference.positions)
    weights = reference.weights
    with open(RESULTS / f"sampling-reference-{case.name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["residue", "phi", "psi", "probability", "error"])
        for residue in range(torsions.shape[1]):

            def estimate(used, residue=residue):
                return ramachandran_histogram(torsions[used, residue], weights[used])

            values, errors = jackknife(estimate, reference.walkers)
            centres = -180 + 360 / len(values) * (np.arange(len(values)) + 0.5)
            for i, j in np.argwhere(values > 0):
                writer.writerow(
                    [
                        residue + 1,
                        centres[i],
                        centres[j],
                        f"{values[i, j]:.3g}",
                        f"{errors[i, j]:.2g}",
                    ]
                )


def write_summaries(rows: list[dict]) -> None:
    """Write free energies to the table, in place of those of the same cases."""
    path = RESULTS / "sampling-references.csv"
    known: dict[tuple, dict] = {}
    if path.exists():
        with open(path, newline="") as file:
            known = {(row["case"], row["residue"]): row for row in csv.DictReader(file)}
    known |= {(row["case"], str(row["residue"])): row for row in rows}
    with open(path, "w", newline="") as file:
        columns = list(dict.fromkeys(name for row in known.values() for name in row))
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(known[key] for key in sorted(known))


def _frames_path(case: SamplingCase) -> Path:
    return RESULTS / "runs" / f"sampling-{case.name}.npz"


def write_frames(case: SamplingCase, reference: Reference) -> None:
    """Store frames and weights, centred and in single precision."""
    centred = reference.positions - reference.positions.mean(axis=1, keepdims=True)
    np.savez_compressed(
        _frames_path(case),
        positions=centred.astype(np.float32),
        log_weights=reference.log_weights,
        walkers=reference.walkers,
    )


def main() -> None:
    """Run the references of the molecules that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("molecules", nargs="+", choices=list(SAMPLED))
    parser.add_argument("--steps", type=int, default=SAMPLING, help="of all walkers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="to the walkers that there are")
    parser.add_argument("--weights-only", action="store_true", help="of stored frames")
    arguments = parser.parse_args()
    (RESULTS / "runs").mkdir(exist_ok=True)
    for name in arguments.molecules:
        of = SAMPLED[name]
        if arguments.weights_only:
            sampled = load_reference(of)
        else:
            run = run_tempering if name == "enkephalin" else run_walkers
            sampled = run(of, arguments.steps, arguments.seed)
            if arguments.add:
                sampled = added(load_reference(of), sampled)
            write_frames(of, sampled)
        for case in CASES.values():
            if case.kind == of.kind:
                reference = reweighted(sampled, of, case)
                write_frames(case, reference)
                write_histogram(case, reference)
                rows = summary(case, reference)
                write_summaries(rows)
                print(*rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
