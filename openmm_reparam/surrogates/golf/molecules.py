"""Molecules that a network is trained on, alone and as a batch of tensors."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...constants import ANGSTROM
from ...geometry.covalent_radii import bonded_pairs, covalent_radii
from ...precon.model_hessian import internal_terms
from ...structure.molecule_parts import set_apart
from ..programs import required
from ..stiff_features import StiffFeatures

__all__ = [
    "Batch",
    "TrainingMolecule",
    "embedded",
    "fingerprint",
    "training_molecules",
    "with_conformers",
]

# A bond of the graph longer than this multiple of the sum of its covalent radii is broken, and two
# other atoms nearer than this one have made a bond.
BROKEN, FORMED = 1.5, 1.1
# Softer motions (kJ/mol/nm^2) than a model Hessian describes.
SOFTEST = 5000.0


@dataclass(frozen=True)
class TrainingMolecule:
    """A molecule and the conformers that its descents start from.

    Attributes
    ----------
    name : str
    numbers : (N,) int array
        Atomic numbers.
    charge : int
    bonds : (B, 2) int array
    starts : (C, N, 3) array
        In nm.
    """

    name: str
    numbers: np.ndarray
    charge: int
    bonds: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, molecule) -> TrainingMolecule:
        """Return an RDKit molecule with all hydrogens and conformers as one of these.

        Raises
        ------
        ValueError
            It has no conformer, or hydrogens are missing.

        Examples
        --------
        >>> ethanol = TrainingMolecule.of(embedded(["CCO"], conformers=2, seed=1)[0])
        >>> ethanol.starts.shape
        (2, 9, 3)
        """
        chem = required("rdkit.Chem")
        name = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
        name = name or chem.MolToSmiles(chem.RemoveHs(molecule))
        if any(atom.GetTotalNumHs() for atom in molecule.GetAtoms()):
            raise ValueError(f"{name}: hydrogens are missing; add them with Chem.AddHs")
        if not molecule.GetNumConformers():
            raise ValueError(f"{name} has no conformer: embed it first")
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
        return cls(
            name,
            np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()]),
            sum(atom.GetFormalCharge() for atom in molecule.GetAtoms()),
            np.array(bonds, dtype=np.int64).reshape(-1, 2),
            np.stack([c.GetPositions() * ANGSTROM for c in molecule.GetConformers()]),
        )

    def keeps_bonds(self, positions: np.ndarray) -> bool:
        """Tell whether (N, 3) positions in nm have the bonds of the graph and no others."""
        i, j = self.bonds.T
        radii = covalent_radii(self.numbers)
        lengths = np.linalg.norm(positions[i] - positions[j], axis=1)
        if (lengths > BROKEN * (radii[i] + radii[j])).any():
            return False
        bonds = {(min(b), max(b)) for b in self.bonds.tolist()}
        near = bonded_pairs(self.numbers, positions, stretched=FORMED)
        return all((a, b) in bonds for a, b in near.tolist())

    def inverse_hessian(self, positions: np.ndarray) -> np.ndarray:
        """Return the inverse of a model Hessian at positions, (3N, 3N) in nm^2 mol/kJ."""
        terms = internal_terms(self.numbers, positions, self.bonds)
        features = StiffFeatures(terms, self.numbers, positions)
        jacobian = features.jacobian(features(positions)[1])
        hessian = jacobian.T @ jacobian
        return np.linalg.inv(hessian + SOFTEST * np.eye(len(hessian)))


@dataclass(frozen=True)
class Batch:
    """Atoms of several molecules, one after the other, as a network takes them.

    Attributes
    ----------
    numbers : (A,) long tensor
    positions : (A, 3) tensor
        In nm.
    molecule : (A,) long tensor
        The molecule of each atom.
    charges : (M,) long tensor
        Of the molecules.
    """

    numbers: torch.Tensor
    positions: torch.Tensor
    molecule: torch.Tensor
    charges: torch.Tensor

    @property
    def count(self) -> int:
        """Number of molecules, M."""
        return len(self.charges)

    @classmethod
    def of(
        cls,
        molecules: Sequence[TrainingMolecule],
        positions: Sequence[np.ndarray],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Batch:
        """Return molecules at positions, each (N, 3) in nm, as a batch."""
        sizes = torch.tensor([len(x) for x in positions])
        return cls(
            torch.from_numpy(np.concatenate([m.numbers for m in molecules])).long().to(device),
            torch.from_numpy(np.concatenate(list(positions))).to(device, dtype),
            torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device),
            torch.tensor([m.charge for m in molecules], device=device),
        )


def with_conformers(molecule, conformers: int, seed: int):
    """Return an RDKit molecule with all hydrogens and conformers by ETKDG.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
    conformers : int
        ETKDG may find fewer.
    seed : int

    Raises
    ------
    ValueError
        ETKDG finds none.

    References
    ----------
    Wang, Witek, Landrum and Riniker, J. Chem. Inf. Model. 2020, 60, 2044.
    """
    chem, force_fields = required("rdkit.Chem"), required("rdkit.Chem.AllChem")
    _quiet = required("rdkit.rdBase").BlockLogs()  # of atom types that UFF lacks
    settings = force_fields.ETKDGv3()
    settings.randomSeed = seed
    whole = chem.AddHs(molecule)
    if not list(force_fields.EmbedMultipleConfs(whole, conformers, settings)):
        raise ValueError(f"ETKDG finds no conformer of {chem.MolToSmiles(molecule)}")
    set_apart(whole)
    return whole


def embedded(smiles: Iterable[str], conformers: int, seed: int) -> list:
    """Return RDKit molecules of SMILES, their names, by `with_conformers`.

    Raises
    ------
    ValueError
        A SMILES cannot be read, or the molecule not be embedded.
    """
    chem = required("rdkit.Chem")
    made = []
    for text in smiles:
        molecule = chem.MolFromSmiles(text)
        if molecule is None:
            raise ValueError(f"{text!r} is not a SMILES that RDKit can read")
        made.append(with_conformers(molecule, conformers, seed))
        made[-1].SetProp("_Name", text)
    return made


def training_molecules(molecules: Iterable) -> list[TrainingMolecule]:
    """Return RDKit molecules as `TrainingMolecule`; those that are already pass."""
    return [m if isinstance(m, TrainingMolecule) else TrainingMolecule.of(m) for m in molecules]


def fingerprint(molecules: Iterable[TrainingMolecule]) -> int:
    """Return a number that tells sets of molecules and their starts apart."""
    found = 0
    for m in molecules:
        for part in (m.numbers, m.bonds, m.starts, np.array([m.charge])):
            found = zlib.crc32(np.ascontiguousarray(part).tobytes(), found)
    return found
