"""All that a Context is made of, as text: for other processes, and for files that outlive it."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import openmm as mm
from openmm import app

from ..errors import UnsupportedSystemError
from ..potentials.contexts import platform_properties

__all__ = ["ContextRecipe"]

VERSION_OF_OPENMM = re.compile(r' openmmVersion="[^"]*"')


@dataclass(frozen=True)
class ContextRecipe:
    """What makes a Context like another one, in plain values.

    Attributes
    ----------
    num_atoms : int
    system : str
        The System, as XML.
    topology : dict or None
        Chains, residues, atoms and bonds.
    platform : str
    properties : dict of str to str
        Of the platform. The CPU platform has one thread, with which it gives the same numbers each
        time.
    force_groups : int
    constraint_tolerance : float
    parameters : dict of str to float
        Global parameters.
    box : (3, 3) list of list
        In nm.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AG").simulation("Reference")
    >>> recipe = ContextRecipe.of(simulation.context, simulation.topology)
    >>> recipe.make_topology()
    <Topology; 1 chains, 2 residues, 20 atoms, 19 bonds>
    >>> recipe.make_context().getPlatform().getName()
    'Reference'
    """

    num_atoms: int
    system: str = field(repr=False)
    topology: dict[str, Any] | None = field(repr=False)
    platform: str
    properties: dict[str, str]
    force_groups: int
    constraint_tolerance: float
    parameters: dict[str, float]
    box: list[list[float]]

    @classmethod
    def of(cls, context: mm.Context, topology: app.Topology | None = None) -> ContextRecipe:
        """Describe a Context.

        Parameters
        ----------
        context : openmm.Context
        topology : openmm.app.Topology, optional

        Raises
        ------
        UnsupportedSystemError
            Its System cannot be written as XML.
        """
        system = context.getSystem()
        try:
            xml = mm.XmlSerializer.serialize(system)
        except Exception as error:
            raise UnsupportedSystemError(
                f"the System cannot be written as XML ({error}), so that no other process can "
                "make it: search without islands and without a database"
            ) from error
        state = context.getState(parameters=True)
        integrator = context.getIntegrator()
        return cls(
            num_atoms=system.getNumParticles(),
            system=xml,
            topology=None if topology is None else _plain_topology(topology),
            platform=context.getPlatform().getName(),
            properties=platform_properties(context, single_threaded=True),
            force_groups=integrator.getIntegrationForceGroups(),
            constraint_tolerance=integrator.getConstraintTolerance(),
            parameters=dict(state.getParameters()),
            box=state.getPeriodicBoxVectors(asNumpy=True)._value.tolist(),
        )

    def make_context(self, platform: str | None = None) -> mm.Context:
        """Return a new Context without positions.

        Parameters
        ----------
        platform : str, optional
            In place of the one described.
        """
        system = mm.XmlSerializer.deserialize(self.system)
        integrator = mm.VerletIntegrator(0.001)
        integrator.setConstraintTolerance(self.constraint_tolerance)
        integrator.setIntegrationForceGroups(self.force_groups)
        chosen = mm.Platform.getPlatformByName(platform or self.platform)
        properties = self.properties if platform in (None, self.platform) else {}
        context = mm.Context(system, integrator, chosen, properties)
        context.setPeriodicBoxVectors(*self.box)
        for name, value in self.parameters.items():
            context.setParameter(name, value)
        return context

    def make_topology(self) -> app.Topology | None:
        """Return the Topology; None where there was none."""
        return None if self.topology is None else _topology(self.topology)

    @functools.cached_property
    def topology_hash(self) -> str:
        """Tells molecules apart: a SHA-256 of their atoms, residues and bonds."""
        return _hash(self.num_atoms, self.topology)

    @functools.cached_property
    def force_field_hash(self) -> str:
        """Tells energies apart: of the System, its parameters, box and force groups."""
        system = VERSION_OF_OPENMM.sub("", self.system, count=1)
        return _hash(system, self.force_groups, self.parameters, self.box)

    def to_json(self) -> str:
        """Return everything as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ContextRecipe:
        """Read what `to_json` has written."""
        return cls(**json.loads(text))


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _plain_topology(topology: app.Topology) -> dict[str, Any]:
    """Return a Topology as plain values."""
    return {
        "chains": [chain.id for chain in topology.chains()],
        "residues": [
            [residue.chain.index, residue.name, residue.id, residue.insertionCode]
            for residue in topology.residues()
        ],
        "atoms": [
            [atom.residue.index, atom.name, atom.element and atom.element.symbol, atom.id]
            for atom in topology.atoms()
        ],
        "bonds": [
            [bond[0].index, bond[1].index, bond.type and str(bond.type), bond.order]
            for bond in topology.bonds()
        ],
    }


def _topology(plain: dict[str, Any]) -> app.Topology:
    """Return the Topology that plain values describe."""
    topology = app.Topology()
    chains = [topology.addChain(name) for name in plain["chains"]]
    residues = [
        topology.addResidue(name, chains[chain], number, code)
        for chain, name, number, code in plain["residues"]
    ]
    atoms = [
        topology.addAtom(
            name, symbol and app.element.get_by_symbol(symbol), residues[residue], number
        )
        for residue, name, symbol, number in plain["atoms"]
    ]
    for first, second, kind, order in plain["bonds"]:
        topology.addBond(atoms[first], atoms[second], kind and getattr(app, kind), order)
    return topology
