"""Explorers made from a search's settings."""

from __future__ import annotations

from ..precon.preconditioner import Preconditioner
from .context import SearchContext
from .low_modes import CartesianLowModes, CartesianModes, TorsionLowModes, TorsionModes
from .moves import LowModeMove, MixedMove, RotamerMove
from .protocols import Explorer
from .rotamers import RotamerProposals
from .settings import SLOW_MODES
from .torsion_angles import ShapeAngles
from .torsion_gp import TorsionLandscape
from .torsion_kinematics import TorsionKinematics

__all__ = ["latent_explorer", "make_explorer", "mode_explorer"]


def make_explorer(context: SearchContext, preconditioner: Preconditioner) -> Explorer:
    """Return the explorer that the settings name.

    Parameters
    ----------
    context : SearchContext
    preconditioner : Preconditioner
        That of the quench; its stiffness gives the low-frequency modes.
    """
    if context.settings.explorer == SLOW_MODES:
        return mode_explorer(context, preconditioner)
    return latent_explorer(context)


def mode_explorer(context: SearchContext, preconditioner: Preconditioner) -> Explorer:
    """Return moves along low-frequency modes and to other rotamers; parameters as above."""
    potential, settings, rng = context.potential, context.settings, context.rng
    kinematics = TorsionKinematics(context.topology)
    landscape = TorsionLandscape(ShapeAngles(context.topology), rng)
    others = (preconditioner.stiffness, landscape, settings, rng)
    mode_move: LowModeMove[TorsionModes] | LowModeMove[CartesianModes]
    if len(context.topology.axes):
        mode_move = LowModeMove(TorsionLowModes(potential, kinematics, rng), *others)
    else:
        mode_move = LowModeMove(CartesianLowModes(potential, preconditioner, rng), *others)
    rotamers = RotamerProposals(context.topology, rng)
    rotamer_move = None
    if rotamers.available:
        rotamer_move = RotamerMove(kinematics, rotamers, landscape, settings.candidates)
    move = MixedMove(mode_move, rotamer_move, landscape, settings.rotamer_share, rng)
    return Explorer(move, context.topology.num_distinct, mode_move.reseed)


def latent_explorer(context: SearchContext) -> Explorer:
    """Return moves in the latents and weights of a reparametrization."""
    # Here, because it imports torch, which takes seconds and half a GiB.
    from .latent_moves import LatentMove

    evaluate = context.evaluator.evaluate
    return Explorer(LatentMove(context.potential, evaluate, context.settings, context.rng))
