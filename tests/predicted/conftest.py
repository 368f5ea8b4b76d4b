"""Small structures like those that predictors write: heavy atoms, pLDDT as B-factors."""

from collections.abc import Sequence

import gemmi
import numpy as np
import pytest

from openmm_reparam.prepare.peptide_chain import random_coil


class PredictedText:
    """A PDB text made line by line, each atom's columns in sight."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def chain(
        self,
        letters: str,
        name: str = "A",
        numbers: Sequence[str] = (),
        seed: int = 0,
        shift: float = 0.0,
        segment: str = "",
    ) -> "PredictedText":
        """Add a random coil; numbers are of four columns and an insertion code."""
        topology, x = random_coil(letters, np.random.default_rng(seed))
        for residue in topology.residues():
            number = numbers[residue.index] if numbers else f"{residue.index + 1:4d} "
            confidence = 95.0 - 3.25 * residue.index
            for atom in residue.atoms():
                if atom.name == "OXT":
                    continue
                place = 10 * x[atom.index] + [shift, 0, 0]
                coordinates = "".join(f"{value:8.3f}" for value in place)
                self.lines.append(
                    f"ATOM  {len(self.lines) + 1:5d}  {atom.name:<3} {residue.name} {name}{number}"
                    f"   {coordinates}  0.87{confidence:6.2f}      {segment:<4}"
                    f"{atom.element.symbol:>2}  "
                )
        self.lines.append(f"TER   {len(self.lines) + 1:5d}      {self.lines[-1][17:27]}".ljust(80))
        return self

    def text(self, *before: str) -> str:
        return "\n".join([*before, *self.lines, "END"]) + "\n"


@pytest.fixture
def predicted():
    return PredictedText


@pytest.fixture(scope="session")
def atom_lines():
    """Return a function that gives the lines of heavy atoms of a PDB text."""

    def lines(text: str) -> list[str]:
        return [
            line
            for line in text.splitlines()
            if line.startswith(("ATOM", "HETATM")) and line[76:78].strip() != "H"
        ]

    return lines


@pytest.fixture(scope="session")
def as_mmcif():
    """Return a function that makes an mmCIF text as predictors write it, of a PDB text."""

    def converted(text: str) -> str:
        structure = gemmi.read_pdb_string(text)
        structure.setup_entities()
        document = structure.make_mmcif_document()
        block = document[0]
        block.name = "PREDICTION"
        block.set_pairs("_ma_qa_metric.", {"id": "1", "mode": "global", "name": "'pLDDT'"})
        block.set_pair("_own_category.note", "'kept as it is'")
        loop = block.find_loop("_atom_site.id").get_loop()
        loop.add_columns(["_atom_site.pdbx_sifts_xref_db_res"], "?")
        return document.as_string()

    return converted
