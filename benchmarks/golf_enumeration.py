"""Training molecules for GOLF by enumeration: ring systems, linkers and groups, joined at random.

    python -m benchmarks.golf_enumeration --count 2800

The lists are the common ring systems and functional groups of organic chemistry, whole, and not a
choice for any test: molecules with the skeleton of one that is judged on are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdMolDescriptors
from tqdm import tqdm

from .molecules import MOLECULES

PIECES = Path(__file__).parent / "golf_molecules"
OUTPUT = PIECES / "enumerated.smi"
MOST_HEAVY, LEAST_HEAVY, MOST_ATOMS = 26, 8, 55
CORES = (PIECES / "cores.smi").read_text().split()
# Linkers have two dummy atoms, groups one.
LINKERS = (PIECES / "linkers.smi").read_text().split()
GROUPS = (PIECES / "groups.smi").read_text().split()


def joined(first: Chem.Mol, second: Chem.Mol, random: np.random.Generator) -> Chem.Mol | None:
    """Bond the first dummy atom of the second molecule's to a random atom of the first with H."""
    open_atoms = [a.GetIdx() for a in first.GetAtoms() if a.GetTotalNumHs() and a.GetAtomicNum()]
    if not open_atoms:
        return None
    chosen = int(random.choice(open_atoms))
    both = Chem.RWMol(Chem.CombineMols(first, second))
    offset = first.GetNumAtoms()
    dummy = next(a for a in second.GetAtoms() if a.GetAtomicNum() == 0)
    neighbour = dummy.GetNeighbors()[0].GetIdx()
    atom = both.GetAtomWithIdx(chosen)
    if atom.GetNumExplicitHs():
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
    both.AddBond(chosen, offset + neighbour, Chem.BondType.SINGLE)
    both.RemoveAtom(offset + dummy.GetIdx())
    return sanitized(both)


def sanitized(molecule: Chem.Mol) -> Chem.Mol | None:
    """Return a molecule made sound, or None."""
    try:
        Chem.SanitizeMol(molecule)
    except (Chem.MolSanitizeException, RuntimeError):
        return None
    return Chem.MolFromSmiles(Chem.MolToSmiles(molecule))


def random_molecule(random: np.random.Generator) -> Chem.Mol | None:
    """Join one or two rings and one to three groups."""
    molecule = Chem.MolFromSmiles(random.choice(CORES))
    if random.random() < 0.5:
        linker = Chem.MolFromSmiles(random.choice(LINKERS))
        if linker.GetNumAtoms() == 2:
            other = Chem.MolFromSmiles(random.choice(CORES))
            other = with_dummy(other, random)
        else:
            other = linked(linker, Chem.MolFromSmiles(random.choice(CORES)), random)
        molecule = other and joined(molecule, other, random)
    for _ in range(random.integers(1, 4)):
        molecule = molecule and joined(molecule, Chem.MolFromSmiles(random.choice(GROUPS)), random)
    return molecule


def with_dummy(molecule: Chem.Mol, random: np.random.Generator) -> Chem.Mol | None:
    """Put a dummy atom on a random atom with H."""
    return joined(molecule, Chem.MolFromSmiles("*[*:7]"), random)


def linked(linker: Chem.Mol, ring: Chem.Mol, random: np.random.Generator) -> Chem.Mol | None:
    """Put a ring on the second dummy atom of a linker; the first stays."""
    reverse = Chem.RWMol(linker)
    for atom in reverse.GetAtoms():
        if atom.GetAtomMapNum() == 1:
            atom.SetAtomicNum(85)  # astatine stands for what must not be joined yet
            atom.SetAtomMapNum(0)
            atom.SetNoImplicit(True)
    whole = joined(ring, reverse, random)
    if whole is None:
        return None
    opened = Chem.RWMol(whole)
    for atom in opened.GetAtoms():
        if atom.GetAtomicNum() == 85:
            atom.SetAtomicNum(0)
    return opened.GetMol()


def skeleton(molecule: Chem.Mol) -> str:
    """Return what tells molecules apart, stereo and charges left out."""
    return Chem.MolToInchiKey(molecule).split("-")[0]


def fit(molecule: Chem.Mol) -> bool:
    """Say whether a molecule is of a size to train on and MMFF94 has parameters for it."""
    if not LEAST_HEAVY <= molecule.GetNumHeavyAtoms() <= MOST_HEAVY:
        return False
    whole = Chem.AddHs(molecule)
    return whole.GetNumAtoms() <= MOST_ATOMS and AllChem.MMFFHasAllMoleculeParams(whole)


def enumerated(count: int, seed: int) -> list[str]:
    """Return SMILES of different molecules."""
    random = np.random.default_rng(seed)
    taken = {skeleton(Chem.MolFromSmiles(s)) for s in MOLECULES.values()}
    found: list[str] = []
    with tqdm(total=count) as bar:
        while len(found) < count:
            molecule = random_molecule(random)
            if molecule is None or "." in Chem.MolToSmiles(molecule) or not fit(molecule):
                continue
            if abs(Chem.GetFormalCharge(molecule)) > 1:
                continue
            if rdMolDescriptors.CalcNumRotatableBonds(molecule) > 8:
                continue
            if skeleton(molecule) not in taken:
                taken.add(skeleton(molecule))
                found.append(Chem.MolToSmiles(molecule))
                bar.update()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2800)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    OUTPUT.write_text("\n".join(enumerated(arguments.count, arguments.seed)) + "\n")
    print(f"wrote {OUTPUT}")


if __name__ == "__main__":
    main()
