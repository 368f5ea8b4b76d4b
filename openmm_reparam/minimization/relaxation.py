"""What a relaxation on a network says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .result import MinimizationResult

__all__ = ["Relaxation"]


@dataclass(frozen=True, repr=False)
class Relaxation:
    """Result of a relaxation. Energies are in kJ/mol, forces in kJ/mol/nm.

    Attributes
    ----------
    positions : (N, 3) array
        In nm.
    verified : bool
        Whether the genuine energy was asked. If not, nothing is known of it.
    converged : bool
        The genuine RMS force reached the tolerance; if nothing was verified, the network's did.
    message : str
        Why it ended.
    genuine_calls : int
        Evaluations of the genuine energy, failed ones included.
    network_evaluations : int
    promised_fall : float
        Of the energy from the start to the network's minimum, as the network has it.
    found_fall : float or None
        The same by the genuine energy, if the start was evaluated.
    first_rms_force : float or None
        Genuine RMS force at the network's minimum, the first check.
    further_fall : float or None
        Of the genuine energy from the network's minimum to the end.
    warnings : tuple of str
        Why not to trust the network here: what of the molecule was not in its training, where the
        genuine forces disagree, what became of bonds and stereo.
    stereo_changes : tuple of str or None
        States that differ from the start's; see `MinimizationResult`.
    seconds : float
    descent : MinimizationResult
        Of the network.
    result : MinimizationResult or None
        Of the genuine energy.
    """

    positions: np.ndarray
    verified: bool
    converged: bool
    message: str
    genuine_calls: int
    network_evaluations: int
    promised_fall: float
    found_fall: float | None
    first_rms_force: float | None
    further_fall: float | None
    warnings: tuple[str, ...]
    stereo_changes: tuple[str, ...] | None
    seconds: float
    descent: MinimizationResult
    result: MinimizationResult | None

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        lines = [
            f"Relaxation: {state}, {'verified' if self.verified else 'NOTHING VERIFIED'}",
            f"      message: {self.message}",
            f"      network: promised a fall of {self.promised_fall:.2f} kJ/mol, "
            f"{self.network_evaluations} evaluations",
        ]
        if self.result is not None:
            lines += [
                f"      genuine: {self._genuine()}",
                f"       energy: {self.result.energy:.3f} kJ/mol",
                f"    RMS force: {self.result.rms_force:.4g} kJ/mol/nm "
                f"(tolerance {self.result.tolerance:g})",
            ]
        if self.stereo_changes:
            lines.append(f"       stereo: {'; '.join(self.stereo_changes)}")
        lines += [f"      WARNING: {warning}" for warning in self.warnings]
        return "\n".join([*lines, f"      seconds: {self.seconds:.2f}"])

    def _genuine(self) -> str:
        words = [f"{self.genuine_calls} evaluation{'s' * (self.genuine_calls != 1)}"]
        if self.found_fall is not None:
            words.append(f"found a fall of {self.found_fall:.2f} kJ/mol there")
        if self.first_rms_force is not None:
            words.append(f"RMS force {self.first_rms_force:.4g} kJ/mol/nm there")
        if self.further_fall is not None:
            words.append(f"{self.further_fall:.2f} kJ/mol further down")
        return ", ".join(words)
