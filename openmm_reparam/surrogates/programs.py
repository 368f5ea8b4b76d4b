"""Programs of other projects as functions: xTB, ANI, MMFF94 and GFN-FF.

Each is a callable: (N, 3) positions in nm -> energy in kJ/mol and (N, 3) forces in kJ/mol/nm. The
programs are optional: one that is not installed is named by the error that asks for it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from openmm import app
from threadpoolctl import ThreadpoolController

from ..constants import ANGSTROM, BOHR, HARTREE, KCAL

if TYPE_CHECKING:
    import torch

__all__ = [
    "ANI",
    "GFNFF",
    "MMFF94",
    "XTB",
    "EnergyAndForces",
    "Oracle",
    "atomic_numbers",
    "required",
    "without",
]

# What has to be installed for each program that is imported here.
REQUIREMENTS = {
    "tblite.interface": "tblite",
    "gfnff": "gfnff",
    "rdkit": "rdkit",
    # Later ones download their networks; this one needs setuptools' pkg_resources.
    "torchani": '"torchani==2.0" "setuptools<81"',
}

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
    alone.

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
    >>> water = XTB(["O", "H", "H"])
    >>> energy, forces = water(np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]]))
    >>> round(energy), forces.shape
    (-13312, (3, 3))
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
        # Here, because torch takes seconds to import, and the other programs need none of it.
        import torch

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
