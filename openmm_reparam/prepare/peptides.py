"""Peptides built from their sequence, ready to minimize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from openmm import app, unit

from .molecular_system import MolecularSystem
from .peptide_chain import capped_chain, extended_chain, random_coil
from .sequences import letters_of
from .system_builder import (
    add_hydrogens,
    build_system,
    explained_template_errors,
    load_forcefield,
)

__all__ = ["peptide"]


def peptide(
    sequence: str,
    conformation: str = "extended",
    *,
    forcefield: str | Sequence[str] | app.ForceField = ("amber14-all.xml",),
    solvent: str = "vacuum",
    constraints: Any = "auto",
    capped: bool = False,
    seed: int | None = None,
    **options: Any,
) -> MolecularSystem:
    """Return a peptide of L-amino acids built from its sequence.

    All peptide bonds start trans, both ends are charged unless capped, and cysteines reduced.

    Parameters
    ----------
    sequence : str
        Two or more one-letter codes in upper case (one will do with caps), or a PDB code in
        `SEQUENCES`.
    conformation : {"extended", "random-coil"}
        Extended: phi -120, psi 140 degrees (proline: phi -65). Random coil: phi and psi drawn
        from broad basins of the Ramachandran map (beta 35 %, polyproline II 35 %, alpha-R 25 %,
        alpha-L 5 %), residues re-drawn where heavy atoms of residues i and j >= i + 2 come
        closer than 0.25 nm.
    forcefield, solvent, constraints, **options
        As for `openmm_reparam.prepare.system_builder.build_system`.
    capped : bool
        Add acetyl (ACE) before the first residue and N-methyl (NME) after the last.
    seed : int or None
        Of the conformation, the hydrogens and the solvent; None is 0. Global random states are
        left alone.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    NotImplementedError
        If the PDB code names a protein that a plain chain cannot stand for.
    ValueError
        If a letter is no amino acid (it is named), there are fewer than two, the code or
        the conformation is unknown, no random coil free of clashes was found, or the force field
        does not fit.

    References
    ----------
    Tien, M. Z., Sydykova, D. K., Meyer, A. G., Wilke, C. O. PeptideBuilder: A simple Python
    library to generate model peptides. PeerJ 2013, 1, e80.

    Examples
    --------
    >>> peptide("1plw")
    <MolecularSystem 1PLW: 75 atoms, 5 residues>
    >>> peptide("A", capped=True)  # alanine dipeptide
    <MolecularSystem A: 22 atoms, 3 residues>
    >>> peptide("AZA")
    Traceback (most recent call last):
    ...
    ValueError: 'Z' at position 2 of 'AZA' is no amino acid: use the letters ACDEFGHIKLMNPQRSTVWY
    """
    name, letters = letters_of(sequence, fewest=1 if capped else 2)
    grown = f"A{letters}A" if capped else letters
    if conformation == "extended":
        topology, positions = extended_chain(grown)
    elif conformation == "random-coil":
        rng = np.random.default_rng(0 if seed is None else seed)
        topology, positions = random_coil(grown, rng)
    else:
        raise ValueError(
            f'conformation {conformation!r} is unknown: choose "extended" or "random-coil"'
        )
    if capped:
        topology, positions = capped_chain(topology, positions)

    modeller = app.Modeller(topology, positions * unit.nanometer)
    field = load_forcefield(forcefield, solvent)
    with explained_template_errors(topology, name):
        add_hydrogens(modeller, field, seed=0 if seed is None else seed)
    return build_system(
        modeller.topology,
        modeller.positions,
        name=name,
        forcefield=field,
        solvent=solvent,
        constraints=constraints,
        seed=0 if seed is None else seed,
        **options,
    )
