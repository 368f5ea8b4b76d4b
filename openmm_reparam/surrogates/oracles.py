"""Expensive potentials for OpenMM: forces and Simulations by other programs, or by a function.

`python_force` makes an OpenMM force of an oracle, `molecule_simulation` a whole Simulation.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import openmm as mm
from openmm import app, unit

from ..constants import ANGSTROM
from ..potentials.interruption import named_interruption
from ..structure.molecule_topology import molecule_topology
from .programs import ANI, GFNFF, MMFF94, XTB, EnergyAndForces, Oracle, without

__all__ = ["POTENTIALS", "molecule_oracle", "molecule_simulation", "python_force", "xtb_force"]

POTENTIALS = ("gfn2", "gfn1", "ani1ccx", "ani1x", "mmff", "gfnff")


class _OfState:
    """An oracle as PythonForce calls it; it is pickled with the force.

    Contexts of one System share it: those of several threads take turns, since oracles keep the
    positions between two calls of their program.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self._turn = threading.Lock()

    def __getstate__(self) -> dict:
        return without(self, "_turn")

    def __setstate__(self, state: dict) -> None:
        self.oracle = state["oracle"]
        self._turn = threading.Lock()

    def __call__(self, state: mm.State) -> EnergyAndForces:
        positions = state.getPositions(asNumpy=True)._value
        with self._turn, named_interruption():
            return self.oracle(positions)


def python_force(oracle: Oracle, particles: Sequence[int] = ()) -> mm.PythonForce:
    """Return an OpenMM force of an oracle; an exception in it becomes an OpenMMException.

    Parameters
    ----------
    oracle : callable
        (n, 3) positions in nm -> energy in kJ/mol and (n, 3) forces in kJ/mol/nm.
    particles : sequence of int
        That it acts on, in its order of atoms; all by default.

    Examples
    --------
    >>> force = python_force(lambda x: (0.5 * np.sum(x**2), -x))
    >>> system = mm.System()
    >>> _, _ = system.addParticle(1.0), system.addForce(force)
    >>> context = mm.Context(system, mm.VerletIntegrator(0.001))
    >>> context.setPositions([[1.0, 0.0, 0.0]])
    >>> context.getState(energy=True).getPotentialEnergy()._value
    0.5
    """
    force = mm.PythonForce(_OfState(oracle))
    force.setParticles(list(particles))
    return force


def xtb_force(
    elements: Sequence, charge: int = 0, method: str = "GFN2-xTB", **settings
) -> mm.PythonForce:
    """Return xTB as an OpenMM force.

    Parameters
    ----------
    elements, charge, method, **settings
        Of `XTB`.

    Returns
    -------
    openmm.PythonForce
        On all particles; ``force.setParticles(indices)`` makes it that of a part.

    Raises
    ------
    ImportError
        tblite is not installed.

    Examples
    --------
    >>> system = mm.System()
    >>> _ = [system.addParticle(mass) for mass in (15.999, 1.008, 1.008)]
    >>> _ = system.addForce(xtb_force(["O", "H", "H"]))
    """
    return python_force(XTB(elements, charge, method, **settings))


def molecule_oracle(name: str, molecule, positions: np.ndarray) -> Oracle:
    """Return a potential of another program for an RDKit molecule.

    Parameters
    ----------
    name : str
        One of `POTENTIALS`.
    molecule : rdkit.Chem.Mol
        With all hydrogens.
    positions : (N, 3) array
        In nm, from which GFN-FF is set up.

    Raises
    ------
    ImportError, ValueError
        See `molecule_simulation`.
    """
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    charge = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    if name in ("gfn2", "gfn1"):
        method = {"gfn2": "GFN2-xTB", "gfn1": "GFN1-xTB"}[name]
        return XTB(numbers, charge, method, unpaired=unpaired)
    if name in ("ani1ccx", "ani1x"):
        return ANI(numbers, {"ani1ccx": "ANI1ccx", "ani1x": "ANI1x"}[name])
    if name == "mmff":
        return MMFF94(molecule)
    if name == "gfnff":
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
        return GFNFF(numbers, positions, charge, bonds)
    raise ValueError(f"there is no potential {name!r}; there are {', '.join(POTENTIALS)}")


def molecule_simulation(
    molecule,
    potential: str | Oracle = "gfn2",
    positions=None,
    platform: str = "Reference",
) -> app.Simulation:
    """Return a Simulation of an RDKit molecule with a potential of another program.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all hydrogens.
    potential : str or callable
        One of `POTENTIALS`, or an oracle: (N, 3) nm -> energy in kJ/mol, forces in kJ/mol/nm.
    positions : (N, 3) array or Quantity, optional
        In nm; those of the molecule's last conformer by default.
    platform : str
        OpenMM's. The potential computes in double precision, as does "Reference".

    Returns
    -------
    openmm.app.Simulation
        Without constraints; its Topology holds the molecule's bonds.

    Raises
    ------
    ImportError
        The program is not installed.
    ValueError
        There is no such potential, it has no parameters for the molecule, or there are no
        positions.

    Examples
    --------
    >>> from rdkit import Chem
    >>> from rdkit.Chem import AllChem
    >>> ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    >>> _ = AllChem.EmbedMolecule(ethanol, randomSeed=1)
    >>> simulation = molecule_simulation(ethanol, "gfn2")
    >>> simulation.topology.getNumAtoms()
    9
    """
    if positions is None:
        if not molecule.GetNumConformers():
            raise ValueError("the molecule has no conformer, and no positions are given")
        positions = molecule.GetConformer(-1).GetPositions() * ANGSTROM
    elif unit.is_quantity(positions):
        positions = positions.value_in_unit(unit.nanometer)
    place = np.array(positions, dtype=float)
    oracle = (
        molecule_oracle(potential, molecule, place) if isinstance(potential, str) else potential
    )
    topology = molecule_topology(molecule)
    system = mm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    system.addForce(python_force(oracle))
    simulation = app.Simulation(
        topology,
        system,
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName(platform),
    )
    simulation.context.setPositions(place)
    return simulation
