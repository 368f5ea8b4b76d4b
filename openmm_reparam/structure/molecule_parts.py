"""Parts of a molecule that no bond joins."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["set_apart"]

# Between two parts, in angstrom.
BESIDE = 3.5


def set_apart(molecule: Any) -> None:
    """Move the parts of a salt beside each other: RDKit embeds each about the origin.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        Its conformers change, if it has several parts.

    Examples
    --------
    >>> from rdkit import Chem
    >>> from rdkit.Chem import AllChem
    >>> salt = Chem.MolFromSmiles("[Na+].[Cl-]")
    >>> _ = AllChem.EmbedMolecule(salt, randomSeed=1)
    >>> set_apart(salt)
    >>> (salt.GetConformer().GetPositions()[1] - salt.GetConformer().GetPositions()[0]).tolist()
    [3.5, 0.0, 0.0]
    """
    from rdkit import Chem

    parts = [list(part) for part in Chem.GetMolFrags(molecule)]
    for conformer in molecule.GetConformers():
        x = np.array(conformer.GetPositions())
        for before, part in zip(parts, parts[1:], strict=False):
            x[part] += [x[before, 0].max() + BESIDE - x[part, 0].min(), 0.0, 0.0]
        conformer.SetPositions(x)
