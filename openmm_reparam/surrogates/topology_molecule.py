"""RDKit molecules of OpenMM Topologies."""

from __future__ import annotations

import numpy as np

from ..constants import ANGSTROM
from .programs import required

__all__ = ["molecule_of_topology"]

# Total charges that are tried where neither atoms nor bonds tell.
CHARGES = (0, 1, -1, 2, -2)


def molecule_of_topology(topology, positions: np.ndarray):
    """Return the molecule of a Topology, with bond orders.

    Orders and formal charges are the Topology's where it has them; otherwise those that bonds and
    valences allow, with the smallest total charge.

    Parameters
    ----------
    topology : openmm.app.Topology
        With all bonds and elements.
    positions : (N, 3) array
        In nm, of the conformer.

    Returns
    -------
    rdkit.Chem.Mol

    Raises
    ------
    ImportError
        RDKit is not installed.
    ValueError
        An atom without element, no bonds, or no bond orders that fit.
    """
    chem = required("rdkit.Chem")
    atoms, bonds = list(topology.atoms()), list(topology.bonds())
    if not bonds and len(atoms) > 1:
        raise ValueError("the topology has no bonds")
    editable = chem.RWMol()
    for atom in atoms:
        if atom.element is None:
            raise ValueError(f"{atom.name} has no element")
        new = chem.Atom(atom.element.atomic_number)
        new.SetNoImplicit(True)
        new.SetFormalCharge(int(getattr(atom, "formalCharge", None) or 0))
        editable.AddAtom(new)
    orders = [_order(bond, chem) for bond in bonds]
    known = all(order is not None for order in orders)
    for bond, order in zip(bonds, orders, strict=True):
        editable.AddBond(bond[0].index, bond[1].index, order if known else chem.BondType.SINGLE)
    for bond in editable.GetBonds():
        if bond.GetBondType() == chem.BondType.AROMATIC:
            for part in (bond, bond.GetBeginAtom(), bond.GetEndAtom()):
                part.SetIsAromatic(True)
    conformer = chem.Conformer(len(atoms))
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float) / ANGSTROM)
    editable.AddConformer(conformer)
    if known:
        molecule = editable.GetMol()
        try:
            chem.SanitizeMol(molecule)
            return molecule
        except ValueError:
            pass  # without formal charges, valences do not fit: found from the bonds below
    return _with_orders(editable, chem)


def _order(bond, chem):
    """Return RDKit's type of an OpenMM bond; None where it is not known."""
    if str(bond.type) == "Aromatic":
        return chem.BondType.AROMATIC
    by_name = {"Single": 1, "Double": 2, "Triple": 3}
    order = by_name.get(str(bond.type), bond.order)
    return {1: chem.BondType.SINGLE, 2: chem.BondType.DOUBLE, 3: chem.BondType.TRIPLE}.get(order)


def _with_orders(editable, chem):
    """Return the molecule with the bond orders and charges that its connectivity allows."""
    determine = required("rdkit.Chem.rdDetermineBonds")
    for bond in editable.GetBonds():
        bond.SetBondType(chem.BondType.SINGLE)
        bond.SetIsAromatic(False)
    for atom in editable.GetAtoms():
        atom.SetIsAromatic(False)
        atom.SetFormalCharge(0)
    for charge in CHARGES:
        molecule = chem.Mol(editable)
        try:
            determine.DetermineBondOrders(molecule, charge=charge, allowChargedFragments=True)
            chem.SanitizeMol(molecule)
        except (ValueError, RuntimeError):
            continue
        return molecule
    raise ValueError("no bond orders and charges fit the topology's bonds")
