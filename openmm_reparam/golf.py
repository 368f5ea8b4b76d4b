"""Golf: a network trained gradually on many molecules, that relaxes new ones and is verified."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
from openmm import app, unit

from .minimization.network_relaxation import NetworkModel, relax_on_network
from .minimization.relaxation import Relaxation
from .surrogates.golf.model_file import TrainedOn, load_model, save_model
from .surrogates.golf.network import PaiNN
from .surrogates.golf.network_force import NetworkOracle, scripted_energy
from .surrogates.golf.oracles import OracleMaker, maker_of
from .surrogates.golf.train import train
from .surrogates.oracles import POTENTIALS, molecule_simulation, python_force
from .surrogates.topology_molecule import molecule_of_topology
from .units import in_unit

__all__ = ["Golf"]


class Golf:
    """A trained network that stands in for an expensive potential of small molecules.

    Its energy is that of the surrogate oracle it was trained with (MMFF94 by default) plus the
    network's, up to a constant of each molecule.

    Parameters
    ----------
    network : PaiNN
    trained_on : TrainedOn
    make_surrogate : callable, optional
        RDKit molecule -> surrogate oracle, for networks that were trained on top of one of your
        own. Those of `surrogates.oracles.POTENTIALS` are found by name.

    Raises
    ------
    ValueError
        The surrogate oracle is not known by name, and none is given.

    References
    ----------
    Tsypin et al., "Gradual optimization learning for conformational energy minimization", ICLR
    2024. There nothing is verified.

    Examples
    --------
    >>> golf = Golf.train(molecules, genuine="gfn2", labels=5000)  # doctest: +SKIP
    >>> golf.relax(simulation).genuine_calls  # doctest: +SKIP
    """

    def __init__(
        self, network: PaiNN, trained_on: TrainedOn, make_surrogate: OracleMaker | None = None
    ) -> None:
        self.network, self.trained_on = network, trained_on
        name = trained_on.surrogate
        if name and make_surrogate is None and name not in POTENTIALS:
            raise ValueError(
                f"the network was trained on top of {name!r}, which is none of "
                f"{', '.join(POTENTIALS)}: pass make_surrogate, as in training"
            )
        self._make_surrogate = make_surrogate or (maker_of(name) if name else None)

    def __repr__(self) -> str:
        seen = self.trained_on
        base = f" on top of {seen.surrogate}" if seen.surrogate else ""
        return (
            f"<Golf for {seen.genuine}{base}: {seen.labels} labels of {seen.molecules} molecules>"
        )

    @classmethod
    def load(cls, path: str | Path, make_surrogate: OracleMaker | None = None) -> Golf:
        """Read a model that `save` or ``openmm-reparam golf train`` has written.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is none that this version reads.
        """
        return cls(*load_model(path), make_surrogate)

    @classmethod
    def train(
        cls,
        molecules: Iterable,
        genuine: str | OracleMaker = "gfn2",
        surrogate: str | OracleMaker = "mmff",
        labels: int = 5000,
        **settings,
    ) -> Golf:
        """Train a network for a genuine oracle on many molecules.

        Parameters
        ----------
        molecules : iterable of rdkit.Chem.Mol
            With all hydrogens and conformers.
        genuine, surrogate : str or callable
            One of `surrogates.oracles.POTENTIALS`, or RDKit molecule -> oracle: (N, 3) positions in
            nm -> energy in kJ/mol, forces (N, 3) in kJ/mol/nm.
        labels : int
            Calls of the genuine oracle.
        **settings
            Of `surrogates.golf.train.train`: ``buffer="labels"`` (a file, from which a training
            that was killed goes on), ``validation``, ``workers``, ``device``, ``seed``, ...

        Returns
        -------
        Golf

        Raises
        ------
        TypeError, ValueError
            As `surrogates.golf.train.train`.
        """
        made = train(molecules, genuine=genuine, surrogate=surrogate, labels=labels, **settings)
        own = surrogate if callable(surrogate) and made.trained_on.surrogate else None
        return cls(made.network, made.trained_on, own)

    def save(self, path: str | Path) -> None:
        """Write the model to a file."""
        save_model(path, self.network, self.trained_on)

    def oracle(self, molecule) -> NetworkOracle:
        """Return the energy of a molecule: the surrogate oracle's and the network's.

        Parameters
        ----------
        molecule : rdkit.Chem.Mol
            With all hydrogens and a conformer.

        Returns
        -------
        callable
            (N, 3) positions in nm -> energy in kJ/mol, (N, 3) forces in kJ/mol/nm. It serves as
            ``minimize_reparam(simulation, surrogate=...)``, too.

        Raises
        ------
        ValueError
            The surrogate oracle has no parameters for the molecule.
        """
        base = None if self._make_surrogate is None else self._make_surrogate(molecule)
        numbers, charge = _composition(molecule)
        reference = self.trained_on.reference_energy(numbers)
        return NetworkOracle(self.network, numbers, charge, base, reference)

    def python_force(self, molecule) -> mm.PythonForce:
        """Return the energy of a molecule, as `oracle` has it, as an OpenMM force."""
        return python_force(self.oracle(molecule))

    def torch_force(self, molecule):
        """Return the network's part of a molecule's energy as an ``openmmtorch.TorchForce``.

        Without that of the surrogate oracle, which is no torch program: add its force, for example
        ``python_force(MMFF94(molecule))``, to the same System.

        Raises
        ------
        ImportError
            openmmtorch is not installed.
        """
        from .openmm_torch.torchforce import torch_force

        return torch_force(scripted_energy(self.network, *_composition(molecule)))

    def relax(
        self,
        what: Any,
        *,
        verify: bool = True,
        genuine: str | OracleMaker | None = None,
        prior: str | None = None,
        tolerance=10 * unit.kilojoules_per_mole / unit.nanometer,
        check_start: bool | None = None,
        max_force_evaluations: int | None = None,
        progress: bool | None = None,
    ) -> Relaxation:
        """Minimize on the network, then on the genuine energy from the network's minimum.

        Parameters
        ----------
        what : openmm.app.Simulation or rdkit.Chem.Mol
            A Simulation of one molecule with the genuine energy, whose positions change; or a
            molecule with all hydrogens and a conformer, which stays as it is.
        verify : bool
            Whether to ask the genuine energy. Without, as published, the network's minimum is the
            result, and nothing is known of it.
        genuine : str or callable, optional
            Of a molecule: one of `surrogates.oracles.POTENTIALS`, or RDKit molecule -> oracle. By
            default that of the training.
        prior : {"surrogate", "network"}, optional
            What the genuine energy's steps are found on: the surrogate oracle alone, or with the
            network on top of it. By default the surrogate oracle where there is one.
        tolerance : Quantity or float
            RMS force in kJ/mol/nm.
        check_start : bool, optional
            Evaluate the genuine energy of the start, too, to compare falls; None: where there is
            reason to doubt the network. An end above the start is then never kept.
        max_force_evaluations : int, optional
            Of the genuine energy.
        progress : bool, optional

        Returns
        -------
        Relaxation
            What the network promised, what the genuine energy found, in how many calls, and why
            not to trust the network here.

        Raises
        ------
        TypeError
            ``what`` is something else, or a Simulation comes with ``genuine``.
        ValueError
            Atoms without element or bonds, a molecule for which an oracle has no parameters, or no
            such prior.

        Warns
        -----
        ConvergenceWarning
            The genuine RMS force did not reach the tolerance.
        """
        per_length = unit.kilojoules_per_mole / unit.nanometer
        simulation, molecule = self._prepared(what, genuine, verify)
        return relax_on_network(
            simulation,
            self._model(molecule),
            verify=verify,
            prior=prior,
            tolerance=in_unit(tolerance, per_length, "tolerance"),
            check_start=check_start,
            max_force_evaluations=max_force_evaluations,
            progress=progress,
        )

    def _prepared(self, what: Any, genuine, verify: bool) -> tuple[app.Simulation, Any]:
        """Return a Simulation of the genuine energy, and its molecule."""
        if isinstance(what, app.Simulation):
            if genuine is not None:
                raise TypeError("genuine is for a molecule: a Simulation has its own energy")
            return what, _molecule_of(what)
        if not hasattr(what, "GetNumConformers"):
            raise TypeError(
                f"pass an openmm.app.Simulation or an RDKit molecule, not {type(what).__name__}"
            )
        if not verify:
            return molecule_simulation(what, self.oracle(what)), what
        chosen = self.trained_on.genuine if genuine is None else genuine
        if isinstance(chosen, str) and chosen not in POTENTIALS:
            raise ValueError(
                f"the genuine oracle of the training, {chosen!r}, is none of "
                f"{', '.join(POTENTIALS)}: pass genuine, or a Simulation"
            )
        return molecule_simulation(what, maker_of(chosen)(what)), what

    def _model(self, molecule) -> NetworkModel:
        oracle, trained = self.oracle(molecule), self.trained_on
        return NetworkModel(
            oracle,
            oracle.base,
            trained.surrogate,
            tuple(trained.outside(*_composition(molecule))),
            trained.force_error,
        )


def _composition(molecule) -> tuple[np.ndarray, int]:
    """Return atomic numbers (N,) and the total charge."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return numbers, sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())


def _molecule_of(simulation: app.Simulation):
    """Return the RDKit molecule of all particles of a Simulation."""
    count, atoms = simulation.system.getNumParticles(), simulation.topology.getNumAtoms()
    if count != atoms:
        raise ValueError(f"the System has {count} particles and the topology {atoms} atoms")
    state = simulation.context.getState(positions=True)
    return molecule_of_topology(simulation.topology, state.getPositions(asNumpy=True)._value)
