"""Potentials of other programs for OpenMM: xTB, ANI, MMFF94 and GFN-FF.

Each is a callable: (N, 3) positions in nm -> energy in kJ/mol and (N, 3) forces in kJ/mol/nm.
`python_force` makes an OpenMM force of it, `molecule_simulation` a whole Simulation. The programs
are optional: one that is not installed is named by the error that asks for it.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from types import ModuleType

import numpy as np
import openmm as mm
import torch
from openmm import app, unit
from scipy.constants import N_A, angstrom, calorie, kilo, nano, physical_constants
from threadpoolctl import ThreadpoolController

__all__ = [
    "ANI",
    "GFNFF",
    "MMFF94",
    "POTENTIALS",
    "XTB",
    "atomic_numbers",
    "molecule_simulation",
    "molecule_topology",
    "python_force",
    "xtb_force",
]

HARTREE = physical_constants["Hartree energy"][0] * N_A / kilo  # kJ/mol
BOHR = physical_constants["Bohr radius"][0] / nano  # nm
ANGSTROM = angstrom / nano  # nm
KCAL = calorie  # kJ
# What has to be installed for each program that is imported here.
REQUIREMENTS = {
    "tblite.interface": "tblite",
    "gfnff": "gfnff",
    "rdkit": "rdkit",
    # Later ones download their networks; this one needs setuptools' pkg_resources.
    "torchani": '"torchani==2.0" "setuptools<81"',
}

POTENTIALS = ("gfn2", "gfn1", "ani1ccx", "ani1x", "mmff", "gfnff")

EnergyAndForces = tuple[float, np.ndarray]
Oracle = Callable[[np.ndarray], EnergyAndForces]


def required(name: str) -> ModuleType:
    """Import an optional module.

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        advice = f"pip install {REQUIREMENTS[name.partition('.Chem')[0]]}"
        raise ImportError(f"{name} cannot be imported ({error}): {advice}") from error


def atomic_numbers(elements: Sequence) -> np.ndarray:
    """Return atomic numbers, (N,), of numbers, symbols, or OpenMM's elements or atoms.

    Examples
    --------
    >>> atomic_numbers(["C", 8, app.element.hydrogen]).tolist()
    [6, 8, 1]
    """

    def number(element) -> int:
        element = getattr(element, "element", element)
        if isinstance(element, str):
            element = app.Element.getBySymbol(element)
        return int(getattr(element, "atomic_number", element))

    return np.array([number(element) for element in elements])


class XTB:
    """Extended tight binding by tblite, on one thread.

    Each evaluation starts from the same guess of the density, so it depends on the positions
    alone. Restarting from the last density would save a fifth of the time.

    Parameters
    ----------
    elements : sequence
        See `atomic_numbers`.
    charge : int
    method : {"GFN2-xTB", "GFN1-xTB", "IPEA1-xTB"}
    unpaired : int
        Unpaired electrons.
    accuracy : float
        Of the self-consistent field, tblite's ``accuracy``. At 0.1 the error of a force is about
        0.02 kJ/mol/nm, at 1 five times that.
    max_cycles : int
        Of the self-consistent field.

    Raises
    ------
    ImportError
        tblite is not installed.
    RuntimeError
        When called: the self-consistent field does not converge. A Context raises OpenMMException.

    References
    ----------
    Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 2019, 15, 1652.

    Examples
    --------
    >>> water = XTB(["O", "H", "H"])                                            # doctest: +SKIP
    >>> energy, forces = water(np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]]))
    ...                                                                         # doctest: +SKIP
    """

    def __init__(
        self,
        elements: Sequence,
        charge: int = 0,
        method: str = "GFN2-xTB",
        *,
        unpaired: int = 0,
        accuracy: float = 0.1,
        max_cycles: int = 250,
    ) -> None:
        required("tblite.interface")
        self.numbers = atomic_numbers(elements)
        self.charge = charge
        self.method = method
        self.unpaired = unpaired
        self.accuracy = accuracy
        self.max_cycles = max_cycles

    def __getstate__(self) -> dict:
        return without(self, "_threads", "_calculator")

    @cached_property
    def _threads(self) -> ThreadpoolController:
        return ThreadpoolController()

    @cached_property
    def _calculator(self):
        tblite = required("tblite.interface")
        # Positions come with each call.
        apart = np.arange(3.0 * len(self.numbers)).reshape(-1, 3)
        made = tblite.Calculator(
            self.method, self.numbers, apart, charge=float(self.charge), uhf=self.unpaired
        )
        made.set("verbosity", 0)
        made.set("accuracy", self.accuracy)
        made.set("max-iter", self.max_cycles)
        return made

    def __call__(self, positions: np.ndarray) -> EnergyAndForces:
        """Return energy and forces, kJ/mol and nm."""
        # With several threads sums are added up in an order that changes from call to call.
        with self._threads.limit(limits=1):
            self._calculator.update(positions=finite(positions) / BOHR)
            result = self._calculator.singlepoint()
            energy, gradient = result.get("energy"), result.get("gradient")
        return float(energy) * HARTREE, -gradient * (HARTREE / BOHR)


class ANI:
    """A network of the ANI family in double precision: the mean of its eight members.

    torchani 2.0 holds the weights of ANI-1x and ANI-1ccx: H, C, N and O, neutral, closed shells.

    Parameters
    ----------
    elements : sequence
        See `atomic_numbers`.
    model : {"ANI1ccx", "ANI1x"}
        A name in ``torchani.models``.

    Raises
    ------
    ImportError
        torchani is not installed.
    ValueError
        The model does not know an element.

    References
    ----------
    Smith et al., Nature Communications 2019, 10, 2903.
    """

    KNOWN = (1, 6, 7, 8)

    def __init__(self, elements: Sequence, model: str = "ANI1ccx") -> None:
        required("torchani")
        self.numbers = atomic_numbers(elements)
        self.model = model
        unknown = sorted(set(self.numbers.tolist()) - set(self.KNOWN))
        if unknown:
            symbols = [app.Element.getByAtomicNumber(n).symbol for n in unknown]
            raise ValueError(f"{model} does not know {', '.join(symbols)}: only H, C, N and O")

    def __getstate__(self) -> dict:
        return without(self, "_network")

    @cached_property
    def _network(self) -> torch.nn.Module:
        torchani = required("torchani")
        model = getattr(torchani.models, self.model)(periodic_table_index=True)
        return model.double().requires_grad_(False)

    def __call__(self, positions: np.ndarray) -> EnergyAndForces:
        """Return energy and forces, kJ/mol and nm."""
        place = torch.from_numpy(finite(positions) / ANGSTROM).unsqueeze(0).requires_grad_()
        species = torch.from_numpy(self.numbers).unsqueeze(0)
        with torch.enable_grad():
            (energy,) = self._network((species, place)).energies
        (gradient,) = torch.autograd.grad(energy, place)
        return energy.item() * HARTREE, -gradient[0].numpy() * (HARTREE / ANGSTROM)


class MMFF94:
    """MMFF94 by RDKit; its atom types and charges are found once.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all hydrogens and a conformer.
    variant : {"MMFF94", "MMFF94s"}

    Raises
    ------
    ImportError
        RDKit is not installed.
    ValueError
        MMFF94 has no parameters for the molecule, or it has no conformer.

    References
    ----------
    Halgren, J. Comput. Chem. 1996, 17, 490; Tosco, Stiefl and Landrum, J. Cheminf. 2014, 6, 37.
    """

    def __init__(self, molecule, variant: str = "MMFF94") -> None:
        force_fields = required("rdkit.Chem.rdForceFieldHelpers")
        if not molecule.GetNumConformers():
            raise ValueError("the molecule has no conformer: embed it first")
        if not force_fields.MMFFHasAllMoleculeParams(molecule):
            raise ValueError("MMFF94 has no parameters for this molecule")
        self.molecule = molecule
        self.variant = variant

    def __getstate__(self) -> dict:
        return without(self, "_field")

    @cached_property
    def _field(self):
        force_fields = required("rdkit.Chem.rdForceFieldHelpers")
        typed = force_fields.MMFFGetMoleculeProperties(self.molecule, mmffVariant=self.variant)
        # Pairs of different fragments (a salt) interact, too.
        field = force_fields.MMFFGetMoleculeForceField(
            self.molecule, typed, ignoreInterfragInteractions=False
        )
        field.Initialize()
        return field

    def __call__(self, positions: np.ndarray) -> EnergyAndForces:
        """Return energy and forces, kJ/mol and nm."""
        place = (finite(positions) / ANGSTROM).ravel().tolist()
        energy = self._field.CalcEnergy(place) * KCAL
        gradient = np.reshape(self._field.CalcGrad(place), (-1, 3))
        return energy, -gradient * (KCAL / ANGSTROM)


class GFNFF:
    """GFN-FF, a force field that is made for a molecule from its elements and positions.

    Parameters
    ----------
    elements : sequence
        See `atomic_numbers`.
    positions : (N, 3) array
        In nm: bonds, hybridizations and charges are found from them once.
    charge : int
    bonds : sequence of (int, int), optional
        Of the molecular graph; found from distances by default.

    Raises
    ------
    ImportError
        gfnff is not installed.
    RuntimeError
        GFN-FF cannot be set up for the molecule.

    References
    ----------
    Spicher and Grimme, Angew. Chem. Int. Ed. 2020, 59, 15665.
    """

    def __init__(
        self,
        elements: Sequence,
        positions: np.ndarray,
        charge: int = 0,
        bonds: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.numbers = atomic_numbers(elements)
        self.reference = finite(positions)
        self.charge = charge
        self.bonds = None if bonds is None else [tuple(bond) for bond in bonds]
        # A molecule that cannot be set up is refused here, not at the first evaluation.
        _ = self._calculator

    def __getstate__(self) -> dict:
        return without(self, "_threads", "_calculator")

    @cached_property
    def _threads(self) -> ThreadpoolController:
        return ThreadpoolController()

    @cached_property
    def _calculator(self):
        gfnff = required("gfnff")
        graph = None
        if self.bonds is not None:
            graph = np.zeros((len(self.numbers),) * 2, dtype=np.int32)
            for i, j in self.bonds:
                graph[i, j] = graph[j, i] = 1
        return gfnff.GFNFFCalculator(
            self.numbers, self.reference / BOHR, charge=self.charge, bond_matrix=graph
        )

    def __call__(self, positions: np.ndarray) -> EnergyAndForces:
        """Return energy and forces, kJ/mol and nm."""
        place = finite(positions) / BOHR
        with self._threads.limit(limits=1):
            energy, gradient, _ = self._calculator.singlepoint(self.numbers, place)
        return energy * HARTREE, -gradient * (HARTREE / BOHR)


# --- OpenMM ---


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
        with self._turn:
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
    >>> _ = system.addForce(xtb_force(["O", "H", "H"]))                         # doctest: +SKIP
    """
    return python_force(XTB(elements, charge, method, **settings))


def molecule_topology(molecule) -> app.Topology:
    """Return the Topology of an RDKit molecule: one residue, formal charges, orders of bonds.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
    """
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms: list[app.topology.Atom] = []
    for atom in molecule.GetAtoms():
        element = app.Element.getByAtomicNumber(atom.GetAtomicNum())
        name, charge = f"{element.symbol}{len(atoms) + 1}", atom.GetFormalCharge()
        atoms.append(topology.addAtom(name, element, residue, formalCharge=charge))
    names = {1.0: app.Single, 1.5: app.Aromatic, 2.0: app.Double, 3.0: app.Triple}
    for bond in molecule.GetBonds():
        order = bond.GetBondTypeAsDouble()
        ends = atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()]
        topology.addBond(*ends, names.get(order), int(order) if order != 1.5 else None)
    return topology


def _of_molecule(name: str, molecule, positions: np.ndarray) -> Oracle:
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
    >>> from rdkit import Chem                                                  # doctest: +SKIP
    >>> from rdkit.Chem import AllChem                                          # doctest: +SKIP
    >>> ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))                         # doctest: +SKIP
    >>> _ = AllChem.EmbedMolecule(ethanol, randomSeed=1)                        # doctest: +SKIP
    >>> simulation = molecule_simulation(ethanol, "gfn2")                       # doctest: +SKIP
    """
    if positions is None:
        if not molecule.GetNumConformers():
            raise ValueError("the molecule has no conformer, and no positions are given")
        positions = molecule.GetConformer(-1).GetPositions() * ANGSTROM
    elif unit.is_quantity(positions):
        positions = positions.value_in_unit(unit.nanometer)
    place = np.array(positions, dtype=float)
    oracle = _of_molecule(potential, molecule, place) if isinstance(potential, str) else potential
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


# --- Helpers ---


def without(instance, *names: str) -> dict:
    """Return what an instance holds but for these: what cannot be pickled is made anew."""
    return {name: value for name, value in vars(instance).items() if name not in names}


def finite(positions: np.ndarray) -> np.ndarray:
    """Return positions as a contiguous float64 array; ValueError where one is not finite.

    Some of the programs would not return.
    """
    place = np.ascontiguousarray(positions, dtype=np.float64)
    if not np.isfinite(place).all():
        raise ValueError("positions are not finite")
    return place
