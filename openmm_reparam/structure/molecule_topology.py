"""OpenMM Topologies of RDKit molecules."""

from __future__ import annotations

from openmm import app

__all__ = ["molecule_topology"]

# As many letters as a PDB file holds.
LONGEST_NAME = 4


def molecule_topology(molecule, residue: str = "MOL") -> app.Topology:
    """Return the Topology of an RDKit molecule: one residue, atoms named C1, C2, O3, ...

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all hydrogens.
    residue : str
        Name of the residue, up to three characters.

    Returns
    -------
    openmm.app.Topology
        Atoms in the molecule's order, named by element and number, with formal charges; bonds with
        types and orders.

    Examples
    --------
    >>> from rdkit import Chem
    >>> methanol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    >>> [atom.name for atom in molecule_topology(methanol).atoms()]
    ['C1', 'O2', 'H3', 'H4', 'H5', 'H6']
    """
    kinds = {1.0: app.Single, 1.5: app.Aromatic, 2.0: app.Double, 3.0: app.Triple}
    topology = app.Topology()
    place = topology.addResidue(residue, topology.addChain())
    atoms: list[app.topology.Atom] = []
    for number, atom in enumerate(molecule.GetAtoms(), start=1):
        element = app.Element.getByAtomicNumber(atom.GetAtomicNum())
        name = f"{element.symbol}{number}"
        if len(name) > LONGEST_NAME:  # the number alone is unique
            name = f"{element.symbol[0]}{number}"
        atoms.append(topology.addAtom(name, element, place, formalCharge=atom.GetFormalCharge()))
    for bond in molecule.GetBonds():
        order = bond.GetBondTypeAsDouble()
        whole = int(order) if order in (1.0, 2.0, 3.0) else None
        ends = atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()]
        topology.addBond(*ends, kinds.get(order), whole)
    return topology
