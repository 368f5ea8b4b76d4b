"""References of the sampling benchmark: biased molecular dynamics of capped alanines, reweighted.

Well-tempered metadynamics fills a bias on phi and psi. Eight independent walkers then run in that
bias, kept as it is, and their frames are reweighted: by the bias, and by what the force field
differs from the one that was run (GBn2 is sampled with OBC2, six times faster on one core). Errors
are those of a jackknife over the walkers.

The tetrapeptide takes over the dipeptide's bias for each of its residues. One quarter of the
walkers biases every residue by half, the others one of them in full; frames of all are pooled
(MBAR; Shirts and Chodera, J. Chem. Phys. 2008, 129, 124105).

``python -m benchmarks.sampling_references CASE ...`` writes frames with their weights to
``results/runs/sampling-CASE.npz``, histograms to ``results/sampling-reference-CASE.csv`` and free
energies to ``results/sampling-references.csv``.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit
from scipy.special import logsumexp
from tqdm import tqdm

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem

from .sampling_bias import BiasedMolecule, filled_bias
from .sampling_cases import CASES, SamplingCase, backbone_torsions, repartition_masses
from .sampling_measures import (
    BASINS,
    basin_free_energy,
    jackknife,
    normalized_weights,
    ramachandran_histogram,
)

__all__ = ["Reference", "biased_frames", "load_reference", "pooled_log_weights"]

RESULTS = Path(__file__).parent / "results"
WALKERS, SAVED_EVERY = 8, 100
# Steps of metadynamics, and of the walkers by residues, all together.
FILLING, SAMPLING = 500_000, {1: 4_000_000, 3: 2_000_000}
EQUILIBRATION = 5_000  # steps of a walker, not saved
# Radii (nm) and scales of OBC by element; hydrogens on nitrogen are larger (mbondi2).
OBC = {"H": (0.12, 0.85), "C": (0.17, 0.72), "N": (0.155, 0.79), "O": (0.15, 0.85)}
POLAR_HYDROGEN = 0.13


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


def sampled_molecule(case: SamplingCase) -> MolecularSystem:
    """Return the molecule that is run: GBn2 replaced by OBC2, hydrogens of 3 amu."""
    molecule = case.molecule()
    system = copy.deepcopy(molecule.system)
    if case.platform == "CPU":
        _replace_solvent(system, molecule.topology)
    repartition_masses(system, molecule.topology)
    return MolecularSystem(molecule.name, molecule.topology, system, molecule.positions)


def _replace_solvent(system: mm.System, topology: app.Topology) -> None:
    forces = system.getForces()
    custom = next(k for k, f in enumerate(forces) if isinstance(f, mm.CustomGBForce))
    nonbonded = next(f for f in forces if isinstance(f, mm.NonbondedForce))
    bonded_to_nitrogen = {
        atom.index
        for bond in topology.bonds()
        if any(a.element is app.element.nitrogen for a in bond)
        for atom in bond
    }
    solvent = mm.GBSAOBCForce()
    solvent.setNonbondedMethod(mm.GBSAOBCForce.NoCutoff)
    for atom in topology.atoms():
        radius, scale = OBC[atom.element.symbol]
        if atom.element is app.element.hydrogen and atom.index in bonded_to_nitrogen:
            radius = POLAR_HYDROGEN
        solvent.addParticle(nonbonded.getParticleParameters(atom.index)[0], radius, scale)
    system.removeForce(custom)
    system.addForce(solvent)


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
    bias : (residues, GRID, GRID) array
        In kJ/mol.
    states : list of openmm.State
        Where walkers begin.
    scales : (walkers, residues) array
        What each walker multiplies the biases by.
    steps : int
        Of all walkers together.

    Returns
    -------
    positions : (n, N, 3) array
        In nm.
    energies : (n, residues) array
        The biases there, not scaled, in kJ/mol.
    walkers : (n,) int array
    """
    context = biased.simulation.context
    frames, energies, walkers = [], [], []
    count = steps // len(states) // SAVED_EVERY
    for walker, (state, scale) in enumerate(zip(states, scales, strict=True)):
        biased.set_bias(scale[:, None, None] * bias)
        context.setState(state)
        biased.simulation.step(EQUILIBRATION)
        for _ in tqdm(range(count), desc=f"walker {walker + 1}", mininterval=20):
            biased.simulation.step(SAVED_EVERY)
            frames.append(biased.positions())
            energies.append(biased.bias_energies() / scale)
            walkers.append(walker)
    return np.array(frames), np.array(energies), np.array(walkers)


def pooled_log_weights(
    energies: np.ndarray, scales: np.ndarray, walkers: np.ndarray, temperature: float
) -> np.ndarray:
    """Return log weights, (n,), of frames from several biases for the unbiased ensemble (MBAR).

    Parameters
    ----------
    energies : (n, residues) array
        Of the biases at the frames, not scaled, in kJ/mol.
    scales : (walkers, residues) array
    walkers : (n,) int array
    temperature : float
        In K.
    """
    reduced = energies @ scales.T / (BOLTZMANN * temperature)
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


def target_correction(
    case: SamplingCase, biased: BiasedMolecule, positions: np.ndarray
) -> np.ndarray:
    """Return log weights, (n,), for what the case's energy differs from the one that was run."""
    if case.platform == "Reference":
        return np.zeros(len(positions))
    target = case.molecule().simulation(case.platform, threads=1).context
    run = biased.simulation.context
    differences = []
    for x in tqdm(positions, desc="energies of the target", mininterval=20):
        values = []
        for context, groups in ((target, -1), (run, {0})):
            context.setPositions(x)
            energy = context.getState(energy=True, groups=groups).getPotentialEnergy()
            values.append(energy.value_in_unit(unit.kilojoules_per_mole))
        differences.append(values[0] - values[1])
    return -np.array(differences) / (BOLTZMANN * case.temperature)


def bias_scales(residues: int) -> np.ndarray:
    """Return what each walker multiplies the biases of the residues by, (WALKERS, residues)."""
    if residues == 1:
        return np.ones((WALKERS, 1))
    kinds = np.vstack([np.full(residues, 0.5), 0.5 + 0.5 * np.eye(residues)])
    return kinds[np.arange(WALKERS) % len(kinds)]


def run_reference(case: SamplingCase, seed: int) -> Reference:
    """Run a case: fill the bias (or take over the dipeptide's), sample in it, weight the frames."""
    biased = BiasedMolecule.make(sampled_molecule(case), case.temperature, seed, "Reference")
    if case.residues == 1:
        bias, states = filled_bias(biased, case.temperature, FILLING, WALKERS)
        np.save(_bias_path(case), bias)
    else:
        smaller = SamplingCase(1, case.forcefield, case.temperature)
        bias = np.repeat(np.load(_bias_path(smaller)), case.residues, axis=0)
        biased.simulation.minimizeEnergy()
        biased.simulation.context.setVelocitiesToTemperature(case.temperature, seed)
        start = biased.simulation.context.getState(positions=True, velocities=True)
        states = [start] * WALKERS
    scales = bias_scales(case.residues)
    positions, energies, walkers = biased_frames(
        biased, bias, states, scales, SAMPLING[case.residues]
    )
    log_weights = pooled_log_weights(energies, scales, walkers, case.temperature)
    return Reference(
        positions.astype(np.float32),
        log_weights + target_correction(case, biased, positions),
        walkers,
    )


def summary(case: SamplingCase, reference: Reference) -> dict:
    """Return free energies of the basins of each residue with their errors, as a row."""
    torsions = backbone_torsions(case.molecule().topology, reference.positions)
    weights = reference.weights
    row: dict = {
        "case": case.name,
        "frames": len(weights),
        "effective": round(1 / (weights**2).sum()),
    }
    for residue in range(case.residues):
        for basin in BASINS:

            def estimate(used, residue=residue, basin=basin):
                return basin_free_energy(
                    torsions[used, residue], weights[used], basin, case.temperature
                )

            value, error = jackknife(estimate, reference.walkers)
            row[f"{basin} {residue + 1}"] = round(float(value), 3)
            row[f"{basin} {residue + 1} error"] = round(float(error), 3)
    return row


def write_histogram(case: SamplingCase, reference: Reference) -> None:
    """Write the Ramachandran histogram of each residue and its errors as CSV."""
    torsions = backbone_torsions(case.molecule().topology, reference.positions)
    weights = reference.weights
    with open(RESULTS / f"sampling-reference-{case.name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["residue", "phi", "psi", "probability", "error"])
        for residue in range(case.residues):

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


def _frames_path(case: SamplingCase) -> Path:
    return RESULTS / "runs" / f"sampling-{case.name}.npz"


def _bias_path(case: SamplingCase) -> Path:
    return RESULTS / "runs" / f"sampling-bias-{case.name}.npy"


def main() -> None:
    """Run the references that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    (RESULTS / "runs").mkdir(exist_ok=True)
    for name in arguments.cases:
        case = CASES[name]
        reference = run_reference(case, arguments.seed)
        np.savez_compressed(_frames_path(case), **vars(reference))
        write_histogram(case, reference)
        row = summary(case, reference)
        (RESULTS / "runs" / f"sampling-{name}.json").write_text(json.dumps(row))
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
