"""From a file or a topology to an OpenMM System that can be minimized.

PDBFixer repairs, Modeller adds hydrogens and water, a force field of OpenMM's makes the System;
this module joins them, says what was done, and turns their errors into ones that say what to do.
"""

from __future__ import annotations

import io
import random
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from pdbfixer import PDBFixer

from .structure import residue_label
from .units import in_unit, positions_in_nanometers

__all__ = [
    "SOLVENTS",
    "MolecularSystem",
    "add_hydrogens",
    "build_system",
    "explained_template_errors",
    "fetch_pdb",
    "is_ion",
    "is_water",
    "load_forcefield",
    "prepare_file",
    "python_random_seed",
    "read_structure",
    "restrain_heavy_atoms",
]

SOLVENTS = ("vacuum", "gbn2", "obc2", "tip3p")

_IMPLICIT_FILES = {"gbn2": "implicit/gbn2.xml", "obc2": "implicit/obc2.xml"}

# The TIP3P file (with ions) made for each family of force fields, by how the family's names start.
_TIP3P_FILES = {
    "amber14": "amber14/tip3p.xml",
    "amber19": "amber19/tip3p.xml",
    "charmm36_2024": "charmm36_2024/water.xml",
    "charmm36": "charmm36/water.xml",
    "amber": "tip3p.xml",
}

_CONSTRAINTS = {
    "none": None,
    "hbonds": app.HBonds,
    "allbonds": app.AllBonds,
    "hangles": app.HAngles,
}

_WATER_NAMES = frozenset(("HOH", "WAT", "H2O", "DOD", "SOL", "TIP", "TIP2", "TIP3", "TP3", "SPC"))

# Terminal caps that a chain needs to stay what it is.
_CAPS = frozenset(("ACE", "NME", "NMA", "NH2"))
_NUCLEOTIDES = frozenset(("A", "G", "C", "U", "I", "DA", "DG", "DC", "DT", "DI"))

# A box holds 33 waters per nm^3; a crystal structure shows far fewer of its own.
_SOLVATED_DENSITY = 5.0

# A peptide bond is 0.133 nm long: beyond this, residues are missing between its two.
_LONGEST_PEPTIDE_BOND = 0.25

# Reference is reproducible but slow: above this many atoms OpenMM chooses.
_REFERENCE_ATOMS = 5000

_DOWNLOAD_URL = "https://files.rcsb.org/download/{code}.pdb"


@dataclass(frozen=True, eq=False, repr=False)
class MolecularSystem:
    """A molecule ready to simulate: everything `openmm.app.Simulation` asks for.

    Parameters
    ----------
    name : str
    topology : openmm.app.Topology
    system : openmm.System
    positions : Quantity
        (N, 3) numpy array with a unit of length.
    repairs : tuple of str
        What preparation changed, one line each.

    Examples
    --------
    >>> from openmm_reparam.testsystems import peptide
    >>> molecule = peptide("GA")
    >>> molecule
    <MolecularSystem GA: 20 atoms, 2 residues>
    >>> simulation = molecule.simulation("Reference")
    >>> simulation.minimizeEnergy()
    """

    name: str
    topology: app.Topology
    system: openmm.System
    positions: unit.Quantity
    repairs: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name}: {self.topology.getNumAtoms()} atoms, "
            f"{self.topology.getNumResidues()} residues>"
        )

    def simulation(
        self,
        platform: str | None = "CPU",
        integrator: openmm.Integrator | None = None,
        threads: int | None = None,
    ) -> app.Simulation:
        """Return a new Simulation with the positions set.

        Parameters
        ----------
        platform : str or None
            "Reference", "CPU", "CUDA", "OpenCL" or another one loaded; None lets OpenMM choose.
        integrator : openmm.Integrator or None
            None takes ``LangevinMiddleIntegrator(300 K, 1/ps, 2 fs)``.
        threads : int or None
            Number of threads of the CPU platform; None takes all cores.

        Returns
        -------
        openmm.app.Simulation

        Raises
        ------
        ValueError
            If the platform is not there (those that are get listed), or `threads` is given for
            another platform than CPU or is below one.
        """
        chosen = None if platform is None else _platform(platform)
        properties = None  # OpenMM refuses even an empty dict where it chooses the platform
        if threads is not None:
            if platform != "CPU":
                raise ValueError(
                    f'threads is for platform="CPU", not for {platform!r}: leave it out'
                )
            if threads < 1:
                raise ValueError(f"threads is {threads}: at least one is needed")
            properties = {"Threads": str(threads)}
        if integrator is None:
            integrator = openmm.LangevinMiddleIntegrator(
                300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond
            )
        simulation = app.Simulation(self.topology, self.system, integrator, chosen, properties)
        simulation.context.setPositions(self.positions)
        return simulation


def build_system(
    topology: app.Topology,
    positions: Any,
    *,
    name: str = "system",
    forcefield: str | Sequence[str] | app.ForceField = ("amber14-all.xml",),
    solvent: str = "vacuum",
    constraints: Any = "auto",
    rigid_water: bool | None = None,
    padding: Any = 1.0 * unit.nanometer,
    cutoff: Any = 1.0 * unit.nanometer,
    ionic_strength: Any = 0.0 * unit.molar,
    seed: int = 0,
    repairs: Sequence[str] = (),
) -> MolecularSystem:
    """Return a System of a molecule with all its atoms, in vacuum or a solvent.

    Parameters
    ----------
    topology : openmm.app.Topology
        With every hydrogen the force field expects; `prepare_file` and
        `openmm_reparam.testsystems.peptide` add them.
    positions : (N, 3) array in nm, or Quantity
    name : str
        What to call the system.
    forcefield : str, sequence of str or openmm.app.ForceField
        Force field files that OpenMM ships or paths of your own. The solvent's file is added:
        name a water file yourself to take that one. A ForceField is taken as it is, so its
        solvent has to be in it.
    solvent : {"vacuum", "gbn2", "obc2", "tip3p"}
        Vacuum and implicit solvents have no cutoff and drop waters and ions of the input.
        TIP3P adds a cubic box of water, neutralized by ions, with particle mesh Ewald; an input
        that already fills a periodic box with water keeps it.
    constraints : str, openmm.app constant or None
        "none", "HBonds", "AllBonds", "HAngles" or OpenMM's constants of these names. "auto" is
        HBonds in TIP3P and none otherwise.
    rigid_water : bool or None
        None is rigid in TIP3P.
    padding : float in nm, or Quantity
        Water between the molecule and the box (TIP3P only).
    cutoff : float in nm, or Quantity
        Of the direct-space nonbonded interactions (TIP3P only).
    ionic_strength : float in mol/l, or Quantity
        Of salt beyond the ions that neutralize (TIP3P only).
    seed : int
        Of the places of ions. Python's global random state is left alone.
    repairs : sequence of str
        Lines to carry into the result, before those of this call.

    Returns
    -------
    MolecularSystem
        Its topology is a copy; the one passed in is not changed.

    Raises
    ------
    TypeError
        If a quantity has a wrong unit.
    ValueError
        If a solvent, force field file or constraint is unknown, the positions do not fit the
        topology, or the force field has no template for a residue (which one is named).

    Examples
    --------
    >>> from openmm_reparam.testsystems import peptide
    >>> vacuum = peptide("GA")
    >>> build_system(vacuum.topology, vacuum.positions, name="GA", solvent="gbn2")
    <MolecularSystem GA: 20 atoms, 2 residues>
    """
    if solvent not in SOLVENTS:
        raise ValueError(f"solvent {solvent!r} is unknown: choose one of {', '.join(SOLVENTS)}")
    explicit = solvent == "tip3p"
    padding = in_unit(padding, unit.nanometer, "padding")
    cutoff = in_unit(cutoff, unit.nanometer, "cutoff")
    ionic_strength = in_unit(ionic_strength, unit.molar, "ionic_strength")
    chosen_constraints = _constraints(constraints, explicit)
    field = load_forcefield(forcefield, solvent)

    x = positions_in_nanometers(positions, topology.getNumAtoms())
    modeller = app.Modeller(topology, x * unit.nanometer)
    dropped = [] if explicit else [r for r in topology.residues() if is_water(r) or is_ion(r)]
    if len(dropped) == topology.getNumResidues() > 0:
        raise ValueError(f"{name} is only water and ions, which solvent={solvent!r} drops")
    modeller.delete(dropped)  # deleting nothing still copies the caller's topology
    if topology.getNumAtoms() == 0:
        raise ValueError(f"{name} has no atoms")

    options: dict[str, Any] = {"nonbondedMethod": app.NoCutoff, "rigidWater": bool(rigid_water)}
    with explained_template_errors(modeller.topology, name):
        if explicit:
            if not _fills_its_box(modeller.topology, cutoff):
                with python_random_seed(seed):
                    modeller.addSolvent(
                        field,
                        padding=padding * unit.nanometer,
                        ionicStrength=ionic_strength * unit.molar,
                    )
            options = {
                "nonbondedMethod": app.PME,
                "nonbondedCutoff": cutoff * unit.nanometer,
                "rigidWater": True if rigid_water is None else rigid_water,
            }
        else:
            # The 1 A box of an NMR entry means nothing here.
            modeller.topology.setPeriodicBoxVectors(None)
        system = field.createSystem(modeller.topology, constraints=chosen_constraints, **options)

    final = positions_in_nanometers(modeller.positions, modeller.topology.getNumAtoms())
    lines = (*repairs, *_removal_lines(dropped))
    return MolecularSystem(name, modeller.topology, system, final * unit.nanometer, lines)


def prepare_file(
    path: str | Path,
    *,
    forcefield: str | Sequence[str] | app.ForceField = ("amber14-all.xml",),
    solvent: str = "vacuum",
    ph: float = 7.0,
    keep_water: bool = False,
    keep_heterogens: bool = False,
    build_missing_residues: bool = False,
    name: str | None = None,
    seed: int = 0,
    **options: Any,
) -> MolecularSystem:
    """Read a structure file, repair it and return its System.

    Nonstandard residues are replaced by standard ones, heterogens removed, missing heavy atoms
    and hydrogens added. What was done is in ``repairs`` of the result.

    Parameters
    ----------
    path : str or Path
        A .pdb, .ent, .cif or .mmcif file. Of several models the first is used.
    forcefield, solvent
        As for `build_system`.
    ph : float
        Decides the protonation of titratable residues, where the file has no hydrogens yet.
    keep_water : bool
        Keep the file's waters; it takes solvent="tip3p".
    keep_heterogens : bool
        Keep ions and ligands; the force field has to know them. Terminal caps are always kept.
    build_missing_residues : bool
        Build the missing residues inside a chain, from the sequence in the file. By default a
        gap is an error. Missing terminal residues are never built.
    name : str or None
        None takes the file's name without its ending.
    seed : int
        Of every random choice made; the same seed gives the same structure.
    **options
        Further arguments of `build_system`.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is of another kind, empty or unreadable, if residues are missing inside a
        chain, or `build_system` refuses.

    Examples
    --------
    >>> molecule = prepare_file("1ubq.pdb", solvent="gbn2")  # doctest: +SKIP
    >>> molecule.repairs  # doctest: +SKIP
    ('removed 58 HOH', 'added 629 hydrogens')
    """
    path = Path(path)
    if solvent not in SOLVENTS:
        raise ValueError(f"solvent {solvent!r} is unknown: choose one of {', '.join(SOLVENTS)}")
    if keep_water and solvent != "tip3p":
        raise ValueError(
            f'keep_water needs solvent="tip3p": solvent={solvent!r} has no water model'
        )
    fixer, n_models = read_structure(path)

    repairs = [] if n_models == 1 else [f"used the first of {n_models} models"]
    with python_random_seed(seed):
        repairs += _repair(fixer, path, keep_water, keep_heterogens, build_missing_residues, seed)
        modeller = app.Modeller(fixer.topology, fixer.positions)
        field = load_forcefield(forcefield, solvent)
        with explained_template_errors(fixer.topology, path.name):
            repairs += add_hydrogens(modeller, field, ph=ph, seed=seed)
    return build_system(
        modeller.topology,
        modeller.positions,
        name=path.stem if name is None else name,
        forcefield=field,
        solvent=solvent,
        seed=seed,
        repairs=repairs,
        **options,
    )


def restrain_heavy_atoms(
    system: openmm.System,
    topology: app.Topology,
    positions: Any,
    force_constant: Any = 10.0 * unit.kilocalories_per_mole / unit.angstrom**2,
) -> openmm.CustomExternalForce:
    """Add harmonic restraints of the heavy atoms of proteins, nucleic acids and ligands.

    The energy is ``0.5 * k * d^2`` for each atom at distance d from its place, with the factor
    one half (as in the relaxation of AlphaFold). The force constant is the global parameter
    ``restraint_k`` of a Context, in kJ/mol/nm^2, so that it can be lowered during a run.

    Parameters
    ----------
    system : openmm.System
        The force is added to it: do so before making a Context.
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity
        Where the atoms are held. In a periodic system the nearest image counts.
    force_constant : float in kJ/mol/nm^2, or Quantity

    Returns
    -------
    openmm.CustomExternalForce
        Its per-particle parameters are x0, y0, z0 in nm.

    Raises
    ------
    TypeError
        If the force constant or the positions have a wrong unit.
    ValueError
        If the force constant is negative or not finite, the topology does not fit the system, or
        there is nothing to restrain.

    Notes
    -----
    Not restrained: hydrogens, water, single-atom residues (ions), massless particles (virtual
    sites).

    References
    ----------
    Jumper, J. et al. Highly accurate protein structure prediction with AlphaFold. Nature 2021,
    596, 583 (supplementary information, section 1.8.6).
    """
    k = in_unit(force_constant, unit.kilojoules_per_mole / unit.nanometer**2, "force_constant")
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    if system.getNumParticles() != topology.getNumAtoms():
        raise ValueError(
            f"the system has {system.getNumParticles()} particles, the topology "
            f"{topology.getNumAtoms()} atoms: pass the topology the system was made from"
        )
    distance2 = (
        "periodicdistance(x, y, z, x0, y0, z0)^2"
        if system.usesPeriodicBoundaryConditions()
        else "((x-x0)^2 + (y-y0)^2 + (z-z0)^2)"
    )
    force = openmm.CustomExternalForce(f"0.5*restraint_k*{distance2}")
    force.setName("HeavyAtomRestraint")
    force.addGlobalParameter("restraint_k", k)
    for parameter in ("x0", "y0", "z0"):
        force.addPerParticleParameter(parameter)
    for residue in topology.residues():
        if is_water(residue) or is_ion(residue):
            continue
        for atom in residue.atoms():
            is_heavy = atom.element not in (None, app.element.hydrogen)
            if is_heavy and system.getParticleMass(atom.index)._value > 0:
                force.addParticle(atom.index, x[atom.index])
    if force.getNumParticles() == 0:
        raise ValueError("there is no heavy atom to restrain: all are water, ions or massless")
    system.addForce(force)
    return force


def fetch_pdb(code: str, timeout: float = 20.0) -> PDBFixer:
    """Download an entry of the Protein Data Bank.

    Parameters
    ----------
    code : str
        Four characters, such as "2JOF".
    timeout : float
        Seconds to wait for an answer.

    Returns
    -------
    pdbfixer.PDBFixer

    Raises
    ------
    ValueError
        If the code is none, or the Protein Data Bank has no PDB file of it.
    ConnectionError
        If the Protein Data Bank does not answer.
    """
    if not isinstance(code, str) or not re.fullmatch(r"[0-9][A-Za-z0-9]{3}", code):
        raise ValueError(f'{code!r} is no PDB code: a digit and three letters or digits, as "2JOF"')
    url = _DOWNLOAD_URL.format(code=code.upper())
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise ValueError(f"the Protein Data Bank has no PDB file of {code.upper()}") from error
        raise ConnectionError(f"the Protein Data Bank refused {url}: {error}") from error
    except OSError as error:
        raise ConnectionError(
            f"could not download {code.upper()} from the Protein Data Bank ({error}): "
            "check the network, or download the file elsewhere and pass its path"
        ) from error
    return PDBFixer(pdbfile=io.StringIO(text))


def load_forcefield(
    forcefield: str | Sequence[str] | app.ForceField, solvent: str = "vacuum"
) -> app.ForceField:
    """Load force field files, with the file of the solvent added.

    Parameters
    ----------
    forcefield : str, sequence of str or openmm.app.ForceField
        Files that OpenMM ships or paths of your own. A ForceField comes back as it is.
    solvent : {"vacuum", "gbn2", "obc2", "tip3p"}

    Returns
    -------
    openmm.app.ForceField

    Raises
    ------
    ValueError
        If a file is missing or unreadable, or no TIP3P file is known for this force field.
    """
    if isinstance(forcefield, app.ForceField):
        return forcefield
    files = [forcefield] if isinstance(forcefield, str | Path) else list(forcefield)
    files = [str(file) for file in files]
    if not files:
        raise ValueError('forcefield names no file: name one, such as "amber14-all.xml"')
    if solvent in _IMPLICIT_FILES:
        files.append(_IMPLICIT_FILES[solvent])
    elif solvent == "tip3p" and not any(_is_water_file(file) for file in files):
        files.append(_tip3p_file(files[0]))
    try:
        return app.ForceField(*files)
    except Exception as error:  # OpenMM and its XML reader raise many kinds
        raise ValueError(
            f"could not load the force field {', '.join(files)}: {error}. Name a file that OpenMM "
            "ships (amber14-all.xml, amber19-all.xml, charmm36.xml, ...) or the path of your own"
        ) from error


def add_hydrogens(
    modeller: app.Modeller, forcefield: app.ForceField, *, ph: float = 7.0, seed: int = 0
) -> list[str]:
    """Add the missing hydrogens, reproducibly, and say so.

    Hydrogens that are there are kept, unless the force field cannot use them: then all are
    replaced.

    Parameters
    ----------
    modeller : openmm.app.Modeller
        Changed in place.
    forcefield : openmm.app.ForceField
        The added hydrogens are relaxed in it.
    ph : float
    seed : int
        Modeller draws starting places from Python's `random`, whose global state is kept.

    Returns
    -------
    list of str
        What was done, such as ``["added 72 hydrogens"]``.

    Raises
    ------
    ValueError
        If the force field has no template for a residue.
    """
    before = modeller.topology.getNumAtoms()
    platform = _platform("Reference") if before <= _REFERENCE_ATOMS else None
    lines = []
    with python_random_seed(seed):
        try:
            modeller.addHydrogens(forcefield, pH=ph, platform=platform)
        except ValueError as error:
            present = [a for a in modeller.topology.atoms() if a.element is app.element.hydrogen]
            if "nonbonded method" in str(error):
                # AMOEBA lacks the cutoff Modeller asks for: geometry alone places them.
                modeller.addHydrogens(None, pH=ph, platform=platform)
            elif present:
                modeller.delete(present)
                lines.append(f"removed {len(present)} hydrogens the force field has no place for")
                before -= len(present)
                modeller.addHydrogens(forcefield, pH=ph, platform=platform)
            else:
                raise
    added = modeller.topology.getNumAtoms() - before
    return [*lines, f"added {added} hydrogens"] if added else lines


def is_water(residue: app.Residue) -> bool:
    """Return whether a residue is a water molecule.

    Parameters
    ----------
    residue : openmm.app.Residue

    Returns
    -------
    bool
    """
    return residue.name in _WATER_NAMES


def is_ion(residue: app.Residue) -> bool:
    """Return whether a residue is a single atom other than a water oxygen.

    Parameters
    ----------
    residue : openmm.app.Residue

    Returns
    -------
    bool
    """
    return len(residue) == 1 and not is_water(residue)


@contextmanager
def python_random_seed(seed: int) -> Iterator[None]:
    """Seed Python's `random` inside the block and put its state back after it.

    OpenMM's Modeller draws from the global generator, which belongs to the user.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> with python_random_seed(0):
    ...     random.random()
    0.8444218515250481
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def explained_template_errors(topology: app.Topology, name: str) -> Iterator[None]:
    """Turn a force field's template error into one that says what to do.

    Parameters
    ----------
    topology : openmm.app.Topology
        The one whose residues the error counts.
    name : str
        What the error calls the molecule.

    Raises
    ------
    ValueError
        In place of the one raised inside the block.
    """
    try:
        yield
    except ValueError as error:
        found = re.search(r"No template found for residue (\d+)", str(error))
        if found is None:
            raise
        residue = next((r for r in topology.residues() if r.index == int(found[1])), None)
        where = f" (chain {residue.chain.id}, {residue_label(residue)})" if residue else ""
        raise ValueError(
            f"the force field does not fit {name}{where}: {error} Missing atoms or hydrogens are "
            "added by prepare_file; for another kind of molecule add a force field file that has "
            "its template, or remove the residue."
        ) from error


def _platform(name: str) -> openmm.Platform:
    names = [
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    ]
    if name not in names:
        raise ValueError(f"platform {name!r} is not there: choose one of {', '.join(names)}")
    return openmm.Platform.getPlatformByName(name)


def _constraints(constraints: Any, explicit: bool) -> Any:
    """Return OpenMM's constant for a constraint given by name or as itself."""
    if constraints is None or any(constraints is known for known in _CONSTRAINTS.values()):
        return constraints
    if constraints == "auto":
        return app.HBonds if explicit else None
    if str(constraints).lower() in _CONSTRAINTS:
        return _CONSTRAINTS[str(constraints).lower()]
    raise ValueError(
        f"constraints {constraints!r} is unknown: choose auto, none, HBonds, AllBonds or HAngles"
    )


def _is_water_file(file: str) -> bool:
    return re.match(r"(tip\d|spc|opc|water|swm)", Path(file).stem.lower()) is not None


def _tip3p_file(file: str) -> str:
    """Return the TIP3P file that goes with a force field file."""
    family = Path(file).parts[0] if not Path(file).is_absolute() else Path(file).name
    for start, water in _TIP3P_FILES.items():
        if family.startswith(start):
            return water
    raise ValueError(
        f"no TIP3P file is known to go with {file}: name a water file that does after it, "
        "or choose another force field"
    )


def _fills_its_box(topology: app.Topology, cutoff: float) -> bool:
    """Return whether a topology is a periodic box of water already, not a crystal's unit cell."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return False
    box = np.array(vectors.value_in_unit(unit.nanometer))
    if np.diag(box).min() < 2 * cutoff:
        return False
    n_waters = sum(is_water(residue) for residue in topology.residues())
    return n_waters / abs(np.linalg.det(box)) > _SOLVATED_DENSITY


def read_structure(path: Path) -> tuple[PDBFixer, int]:
    """Read a structure file as it is, nothing repaired.

    Parameters
    ----------
    path : Path
        A .pdb, .ent, .cif or .mmcif file.

    Returns
    -------
    pdbfixer.PDBFixer
        The first model, with the file's sequences.
    int
        Number of models.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another kind, empty, unreadable, or a coordinate is not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in (".pdb", ".ent", ".cif", ".mmcif"):
        raise ValueError(f"{path} ends in {suffix!r}: a .pdb, .ent, .cif or .mmcif file is needed")
    try:
        text = path.read_text()
        if not text.strip():
            raise ValueError("the file is empty")
        if suffix in (".pdb", ".ent"):
            fixer = PDBFixer(pdbfile=io.StringIO(text))
            n_models = max(1, len(re.findall(r"^MODEL ", text, re.MULTILINE)))
        else:
            fixer = PDBFixer(pdbxfile=io.StringIO(text))
            n_models = app.PDBxFile(io.StringIO(text)).getNumFrames()
        # A reader can take nonsense for coordinates: nothing later would say which file.
        positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    except Exception as error:  # the readers raise many kinds, down to bare Exception
        reason = "no atoms found" if isinstance(error, IndexError) else str(error)
        reason = reason or "no atoms found"
        raise ValueError(f"could not read a structure from {path}: {reason}") from error
    return fixer, n_models


def _repair(
    fixer: PDBFixer,
    path: Path,
    keep_water: bool,
    keep_heterogens: bool,
    build_missing_residues: bool,
    seed: int,
) -> list[str]:
    """Bring a structure to complete heavy atoms and return what was done."""
    lines = []
    fixer.findMissingResidues()
    lengths = [len(list(chain.residues())) for chain in fixer.topology.chains()]
    inner = {
        (chain, place): names
        for (chain, place), names in fixer.missingResidues.items()
        if 0 < place < lengths[chain]
    }
    fixer.missingResidues = inner if build_missing_residues else {}
    if build_missing_residues:
        lines += [f"built the missing residues {'-'.join(names)}" for names in inner.values()]

    fixer.findNonstandardResidues()
    lines += [
        f"replaced {residue_label(residue)} by {standard}"
        for residue, standard in fixer.nonstandardResidues
    ]
    fixer.replaceNonstandardResidues()

    dropped = [
        residue
        for residue in fixer.topology.residues()
        if (not keep_water if is_water(residue) else not keep_heterogens and _is_heterogen(residue))
    ]
    lines += _removal_lines(dropped)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    modeller.delete(dropped)
    fixer.topology, fixer.positions = modeller.topology, modeller.positions
    if fixer.topology.getNumAtoms() == 0:
        raise ValueError(
            f"{path} has no protein or nucleic acid ({'; '.join(lines)}): "
            "pass keep_heterogens=True for a ligand that the force field knows"
        )

    fixer.findMissingAtoms()
    added = Counter()
    for missing in (fixer.missingAtoms, fixer.missingTerminals):
        added.update({residue_label(residue): len(atoms) for residue, atoms in missing.items()})
    lines += [
        f"added {count} heavy atom{'s' if count > 1 else ''} to {residue}"
        for residue, count in added.items()
    ]
    if added or fixer.missingResidues:
        fixer.addMissingAtoms(seed=seed + 1)  # OpenMM takes 0 for "choose one at random"
    _refuse_gaps(fixer, path)
    return lines


def _removal_lines(dropped: list[app.Residue]) -> list[str]:
    counts = Counter(residue.name for residue in dropped)
    return [f"removed {count} {name}" for name, count in sorted(counts.items())]


def _is_heterogen(residue: app.Residue) -> bool:
    """Return whether a residue belongs neither to a protein nor to a nucleic acid."""
    names = {atom.name for atom in residue.atoms()}
    in_protein = {"N", "CA", "C"} <= names or residue.name in _CAPS
    return not in_protein and residue.name not in _NUCLEOTIDES


def _refuse_gaps(fixer: PDBFixer, path: Path) -> None:
    """Raise where a peptide bond spans residues that are not there."""
    x = positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    for first, second in fixer.topology.bonds():
        length = np.linalg.norm(x[first.index] - x[second.index])
        if {first.name, second.name} == {"C", "N"} and length > _LONGEST_PEPTIDE_BOND:
            raise ValueError(
                f"{path}: {residue_label(first.residue)} and {residue_label(second.residue)} of "
                f"chain {first.residue.chain.id} are bonded but {length:.2f} nm apart, so residues "
                "are missing between them: pass build_missing_residues=True (where the file has "
                "the sequence) or split the chain there"
            )
