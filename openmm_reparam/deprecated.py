"""Old names of modules, functions and classes: they still import, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MOVED", "forward_moved_modules", "forward_renamed"]

# Removed in the version after the next.
MOVED = {
    "bond_curves": "precon.custom_bonds",
    "bond_graph": "potentials.bond_graph",
    "bonded": "potentials.bonded",
    "chemical_graph": "structure.chemical_graph",
    "clashes": "minimization.clashes",
    "collapse": "potentials.collapse",
    "commands.batch": "cli.batch",
    "commands.fold": "cli.fold",
    "commands.minimize": "cli.minimize",
    "commands.modes": "cli.modes",
    "commands.peer": "cli.comparison",
    "commands.run": "cli.reporting",
    "commands.settings": "cli.settings",
    "constraints": "potentials.constraints",
    "contacts": "precon.contacts",
    "double_bonds": "structure.double_bonds",
    "hessian": "potentials.hessian",
    "internal_coordinates": "geometry.internal_coordinates",
    "latent": "openmm_torch.latent_system",
    "latent_stage": "optimizers.latents",
    "minimize": "minimization.api",
    "minimizer": "minimization.minimizer",
    "modes.nonrigid_modes": "modes.low_frequency_modes",
    "molecular_system": "prepare.molecular_system",
    "molecule_factors": "precon.preconditioner",
    "nonbonded": "potentials.nonbonded",
    "nonrigid_modes": "modes.low_frequency_modes",
    "other_terms": "precon.other_terms",
    "peptide_chain": "prepare.peptide_chain",
    "plots": "plotting",
    "plugin": "openmm_torch.torch_potential",
    "potential": "potentials.potential",
    "preparation": "prepare.structure_files",
    "progress": "minimization.progress",
    "replica_latents": "minimization.replica_latents",
    "replica_run": "minimization.replica_run",
    "replicas": "minimization.replicas",
    "residues": "structure.residues",
    "restraints": "prepare.restraints",
    "result": "minimization.result",
    "run": "minimization.run",
    "search.energy_model": "search.torsion_gp",
    "search.guards": "search.validity",
    "search.hopping": "search.basin_hopping",
    "search.kicks": "search.moves",
    "search.latent_explorer": "search.latent_moves",
    "search.like_atoms": "search.permutations",
    "search.springs": "minimization.bond_continuation",
    "search.torsion_steps": "search.torsion_coordinates",
    "search.walkers": "search.acceptance",
    "slow_modes": "modes.slow_modes",
    "stereo_centres": "structure.stereo_centres",
    "stereochemistry": "structure.stereochemistry",
    "stiff_terms": "precon.stiff_terms",
    "structure": "structure.measures",
    "system_builder": "prepare.system_builder",
    "system_changes": "potentials.system_changes",
    "term_curves": "precon.term_curves",
    "torchforce": "openmm_torch.torchforce",
    "unbonded": "potentials.unbonded",
    "violations": "structure.violations",
    "preconditioner": "precon.preconditioner",
}


class _MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by their old names."""

    def find_spec(self, name, path=None, target=None):
        """Return a spec for a moved module of this package, None for all else."""
        package, _, old = name.partition(".")
        if package == __package__ and old in MOVED:
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec) -> types.ModuleType:
        """Return a module whose names are those of the new one."""
        old = spec.name.partition(".")[2]
        new = f"{__package__}.{MOVED[old]}"
        warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
        module = types.ModuleType(spec.name)
        vars(module)["__getattr__"] = lambda name: getattr(importlib.import_module(new), name)
        return module

    def exec_module(self, module) -> None:
        """Do nothing: names are looked up when asked for."""


def forward_moved_modules() -> None:
    """Make old module names importable."""
    if not any(type(finder).__name__ == _MovedModules.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())


def forward_renamed(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module some of whose names are others now (PEP 562).

    Parameters
    ----------
    module : str
        Its ``__name__``.
    renamed : mapping of str to str
        Old name -> module and name that hold it now, below this package:
        ``{"Whitening": "precon.preconditioner.Preconditioner"}``.

    Returns
    -------
    callable
        Raises AttributeError for all other names.

    Examples
    --------
    >>> old = forward_renamed("somewhere", {"rms_force": "potentials.point.rms"})
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = old("rms_force")
    >>> print(caught[0].message)
    somewhere.rms_force is openmm_reparam.potentials.point.rms now
    """

    def forward(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = f"{__package__}.{renamed[name]}".rpartition(".")
        warnings.warn(f"{module}.{name} is {home}.{new} now", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), new)

    return forward
