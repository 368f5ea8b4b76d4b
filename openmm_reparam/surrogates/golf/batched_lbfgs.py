"""L-BFGS for many molecules at once: one evaluation of a whole batch moves all of them.

Each molecule has a slot, padded to one number of atoms. A step that does not let its energy fall
is shortened in the next evaluation, while the others go on.
"""

from __future__ import annotations

import torch

__all__ = ["BatchedLBFGS"]

# Armijo's share of the expected fall, and the rise (kJ/mol) that is rounding of float32.
SUFFICIENT, ROUNDING = 1e-4, 1e-3
SHORTENED = 0.3
# Least cosine between a step and the change of the gradient.
CURVED = 1e-8
# Steps shorter than this share start anew from the inverse Hessian.
SHORTEST = 0.01


class BatchedLBFGS:
    """L-BFGS by question and answer: `trials` are to be evaluated, `tell` takes the answers.

    Parameters
    ----------
    slots : int
        Molecules at once, W.
    atoms : int
        Of the largest, n.
    memory : int
        Pairs of steps and changes of the gradient, H. Published: 100.
    longest : float
        Largest displacement of an atom in one step, nm.

    Attributes
    ----------
    positions, forces : (W, n, 3) tensors
        After the last step that was accepted, in nm and kJ/mol/nm.
    energies : (W,) tensor
        Infinite until a trial is accepted; positions are then those of the beginning.
    trials : (W, n, 3) tensor
        To be evaluated next.

    References
    ----------
    Liu and Nocedal, Math. Program. 1989, 45, 503.

    Examples
    --------
    Two particles in harmonic wells of different stiffness:

    >>> stiffness = torch.tensor([1000.0, 5000.0], dtype=torch.float64)
    >>> descent = BatchedLBFGS(2, 1)
    >>> for slot in range(2):
    ...     descent.begin(slot, torch.full((1, 3), 0.05, dtype=torch.float64))
    >>> for _ in range(10):
    ...     x = descent.trials
    ...     energies = 0.5 * stiffness * (x**2).sum((1, 2))
    ...     _ = descent.tell(energies, -stiffness[:, None, None] * x)
    >>> bool(descent.energies.max() < 1e-9)
    True
    """

    def __init__(self, slots: int, atoms: int, memory: int = 20, longest: float = 0.02) -> None:
        size = 3 * atoms

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        self._longest = longest
        self.positions, self.forces = zeros(slots, atoms, 3), zeros(slots, atoms, 3)
        self.trials = zeros(slots, atoms, 3)
        self.energies = torch.full((slots,), torch.inf, dtype=torch.float64)
        self._begun = torch.zeros(slots, dtype=torch.bool)
        self._steps, self._changes = zeros(memory, slots, size), zeros(memory, slots, size)
        self._inverse = zeros(slots, size, size)
        self._direction = zeros(slots, size)
        self._length = torch.ones(slots, dtype=torch.float64)

    def begin(
        self, slot: int, positions: torch.Tensor, inverse_hessian: torch.Tensor | None = None
    ) -> None:
        """Put a molecule in a slot.

        Parameters
        ----------
        slot : int
        positions : (N, 3) tensor
            In nm.
        inverse_hessian : (3N, 3N) tensor, optional
            In nm^2 mol/kJ; the identity times 1e-5 by default, about that of a bond.
        """
        n = len(positions)
        self.trials[slot] = 0.0
        self.trials[slot, :n] = positions
        self.positions[slot], self.forces[slot] = self.trials[slot], 0.0
        self.energies[slot] = torch.inf
        self._begun[slot] = False
        self._steps[:, slot], self._changes[:, slot] = 0.0, 0.0
        self._inverse[slot] = 0.0
        if inverse_hessian is None:
            inverse_hessian = 1e-5 * torch.eye(3 * n, dtype=torch.float64)
        self._inverse[slot, : 3 * n, : 3 * n] = inverse_hessian

    def tell(self, energies: torch.Tensor, forces: torch.Tensor) -> torch.Tensor:
        """Take energies, (W,), and forces, (W, n, 3), of the trials, and make the next ones.

        Returns
        -------
        (W,) bool tensor
            Where the trial was accepted. What is not finite never is.
        """
        finite = torch.isfinite(energies) & torch.isfinite(forces).all(2).all(1)
        energies = torch.where(finite, energies, torch.inf)
        forces = torch.where(finite[:, None, None], forces, 0.0)
        slope = -(self.forces.flatten(1) * self._direction).sum(1)
        highest = self.energies + SUFFICIENT * self._length * slope + ROUNDING
        accepted = finite & (~self._begun | (energies <= highest))
        self._remember(accepted & self._begun, forces)
        self.positions = torch.where(accepted[:, None, None], self.trials, self.positions)
        self.forces = torch.where(accepted[:, None, None], forces, self.forces)
        self.energies = torch.where(accepted, energies, self.energies)
        self._begun = self._begun | accepted
        self._turn(accepted)
        return accepted

    def _remember(self, where: torch.Tensor, forces: torch.Tensor) -> None:
        """Keep the step and the change of the gradient where the curvature is positive."""
        step = (self.trials - self.positions).flatten(1)
        change = (self.forces - forces).flatten(1)
        curved = (step * change).sum(1) > CURVED * step.norm(dim=1) * change.norm(dim=1)
        where = where & curved
        for kept, new in ((self._steps, step), (self._changes, change)):
            kept[:, where] = torch.cat([kept[1:, where], new[None, where]])

    def _turn(self, accepted: torch.Tensor) -> None:
        """Make new directions where a step was accepted, and shorter steps elsewhere."""
        self._length = torch.where(accepted, 1.0, SHORTENED * self._length)
        stuck = self._length < SHORTEST
        self._steps[:, stuck], self._changes[:, stuck] = 0.0, 0.0
        again = accepted | stuck
        if again.any():
            direction = self._newton(self.forces.flatten(1))
            reach = direction.reshape(self.positions.shape).norm(dim=2).amax(1)
            direction = direction * (self._longest / reach.clamp(min=self._longest))[:, None]
            self._direction = torch.where(again[:, None], direction, self._direction)
        # A short step from the inverse Hessian: the last long one of this kind failed.
        self._length = torch.where(stuck, SHORTENED**2, self._length)
        move = (self._length[:, None] * self._direction).reshape(self.positions.shape)
        self.trials = torch.where(self._begun[:, None, None], self.positions + move, self.trials)

    def _newton(self, forces: torch.Tensor) -> torch.Tensor:
        """Return the two-loop recursion of forces, (W, 3n)."""
        found = forces.clone()
        products = (self._steps * self._changes).sum(2)
        inverse = torch.where(products > 0, 1 / products.clamp(min=1e-300), 0.0)
        weights = torch.zeros_like(products)
        for k in reversed(range(len(products))):
            weights[k] = inverse[k] * (self._steps[k] * found).sum(1)
            found = found - weights[k][:, None] * self._changes[k]
        found = torch.bmm(self._inverse, found[:, :, None])[:, :, 0]
        for k in range(len(products)):
            other = inverse[k] * (self._changes[k] * found).sum(1)
            found = found + (weights[k] - other)[:, None] * self._steps[k]
        return found

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that the descent holds."""
        return {k: v.clone() for k, v in vars(self).items() if isinstance(v, torch.Tensor)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on where `state_dict` was called."""
        vars(self).update({name: value.clone() for name, value in state.items()})
