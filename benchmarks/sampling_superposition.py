"""Harmonic superposition of alanine dipeptide against biased molecular dynamics.

``python -m benchmarks.sampling_superposition`` searches for minima, adds them up with ever more of
their partition functions, and writes ``results/sampling-superposition.csv``: free energies of the
left-handed and the alpha basin in kJ/mol.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from openmm_reparam import HarmonicSuperposition, harmonic_superposition, minimize_reparam
from openmm_reparam.constants import BOLTZMANN

from .sampling_cases import CASES, SamplingCase, backbone_torsions
from .sampling_measures import basin_free_energy

SEARCH = 3000  # force evaluations
RESULTS = Path(__file__).parent / "results"


def superposition_rows(case: SamplingCase, seed: int) -> list[dict]:
    """Search, and return free energies by energies alone, with vibrations, and with rotation."""
    molecule = case.molecule()
    simulation = molecule.simulation("Reference")
    result = minimize_reparam(simulation, search="auto", max_force_evaluations=SEARCH, seed=seed)
    found = harmonic_superposition(simulation, result.minima or (), case.temperature)
    torsions = backbone_torsions(molecule.topology, np.array([m.positions for m in found.minima]))
    populations = {
        "energies alone": softmax(-found.energies / (BOLTZMANN * case.temperature)),
        "with vibrations": without_rotation(found).populations(),
        "with rotation": found.populations(),
    }
    return [
        {
            "case": case.name,
            "seed": seed,
            "evaluations": result.force_evaluations + found.force_evaluations,
            "minima": len(found),
            "counted": counted,
            **{
                basin: round(basin_free_energy(torsions[:, 0], shares, basin, case.temperature), 2)
                for basin in case.basins
            },
        }
        for counted, shares in populations.items()
    ]


def without_rotation(found: HarmonicSuperposition) -> HarmonicSuperposition:
    """Leave the rigid rotors out."""
    return replace(found, minima=tuple(replace(m, moments=np.empty(0)) for m in found.minima))


def main() -> None:
    """Run both force fields with three seeds."""
    rows = [
        row
        for name in ("dipeptide-ff96-obc2-300K", "dipeptide-amber14-gbn2-300K")
        for seed in tqdm(range(3), desc=name)
        for row in superposition_rows(CASES[name], seed)
    ]
    with open(RESULTS / "sampling-superposition.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
