"""The map between Cartesian and internal coordinates of a molecule, with its log-Jacobian."""

from __future__ import annotations

import numpy as np
import torch

from .zmatrix import NONE, ZMatrix

__all__ = ["InternalMap", "wrap"]

Internals = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def wrap(angles: torch.Tensor, centre: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Return angles in radians moved by whole turns to within half a turn of a centre."""
    return angles - 2 * torch.pi * torch.round((angles - centre) / (2 * torch.pi))


class InternalMap(torch.nn.Module):
    """Batched map between positions of a molecule and its internal coordinates.

    Every torsion lies within half a turn of its centre: zero for free torsions and rotors, the
    value in the reference for all others, so that none of these wraps where it is likely. The
    torsion of a rotor is the mean over its like atoms: exchanging them in turn shifts it by
    exactly 2 pi / fold. Relative torsions keep the chirality.

    Parameters
    ----------
    zmatrix : ZMatrix
    reference : (N, 3) array
        Positions in nm.
    lengths : dict of frozenset of int to float, optional
        Bonds, by their atoms, whose lengths (nm) are fixed: constraints.

    Attributes
    ----------
    zmatrix : ZMatrix
    free, rotors : (F,), (R,) int tensors
        Indices of torsions that rotate, see `ZMatrix`.
    folds : (R,) int tensor
        Periodicity of each rotor.
    free_bonds : (K,) int tensor
        Indices of the bonds whose lengths are not fixed.
    fixed_bonds : (C,) int tensor
        Indices of the others.
    num_coordinates : int
        Length M of the vectors of `coordinates`: 3 N - 6 less the fixed bonds.
    torsion_centres : (N - 3,) tensor

    Notes
    -----
    d^3N X = dX_rigid dq J(q), with J = prod b^2 prod sin(a) over all bonds b and angles a, and
    dX_rigid the measure of rigid motion (volume times 8 pi^2). Torsions that are relative or
    averaged change nothing: their shear has determinant one. With fixed bonds, J is that of the
    other coordinates on the surface of the fixed lengths: the limit of stiff springs, not of
    rigid rods, whose momenta add the factor of Fixman (Proc. Natl. Acad. Sci. 1974, 71, 3050).

    Examples
    --------
    >>> from openmm_reparam.sampling.zmatrix import build_zmatrix
    >>> x = np.array([[0, 0, 0], [0.145, 0, 0], [-0.02, 0.09, 0], [0.165, 0, 0.09]])
    >>> bonds = np.array([[0, 1], [0, 2], [1, 3]])
    >>> peroxide = InternalMap(build_zmatrix(np.array([8, 8, 1, 1]), bonds, x), x)
    >>> (lengths, angles, torsions), log_jacobian = peroxide.to_internal(torch.tensor(x)[None])
    >>> torsions.rad2deg().round().tolist()
    [[90.0]]
    >>> back, _ = peroxide.to_cartesian(lengths, angles, torsions)
    >>> bool(torch.allclose(torch.pdist(back[0]), torch.pdist(torch.tensor(x))))
    True
    """

    free: torch.Tensor
    rotors: torch.Tensor
    folds: torch.Tensor
    free_bonds: torch.Tensor
    fixed_bonds: torch.Tensor
    fixed_lengths: torch.Tensor
    torsion_centres: torch.Tensor
    _bonds: torch.Tensor
    _angles: torch.Tensor
    _dihedrals: torch.Tensor
    _leaders: torch.Tensor
    _relative: torch.Tensor
    _shear: torch.Tensor
    _back: torch.Tensor

    def __init__(
        self,
        zmatrix: ZMatrix,
        reference: np.ndarray,
        lengths: dict[frozenset[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.zmatrix = zmatrix
        fixed = [(lengths or {}).get(frozenset(bond)) for bond in zmatrix.bonds.tolist()]
        constrained = [k for k, length in enumerate(fixed) if length is not None]
        relative = zmatrix.classes == "relative"
        rows = np.column_stack([zmatrix.order, zmatrix.references])
        tensors = {
            "free": zmatrix.free,
            "rotors": zmatrix.rotors,
            "folds": zmatrix.folds[zmatrix.rotors],
            "free_bonds": np.setdiff1d(np.arange(len(fixed)), constrained),
            "fixed_bonds": np.array(constrained, dtype=np.int64),
            "fixed_lengths": np.array([fixed[k] for k in constrained], dtype=np.float64),
            "torsion_centres": np.zeros(len(relative)),
            "_bonds": zmatrix.bonds,
            "_angles": zmatrix.angles,
            "_dihedrals": rows[3:],
            "_leaders": np.maximum(zmatrix.leaders, 0),
            "_relative": relative & (zmatrix.leaders != NONE),
            "_shear": _rotor_means(zmatrix),
            "_back": np.argsort(zmatrix.order),
        }
        for name, array in tensors.items():
            self.register_buffer(name, torch.as_tensor(np.array(array)))
        self.num_coordinates = len(self.free_bonds) + len(zmatrix.angles) + len(relative)
        self._levels = _levels(zmatrix)
        values = self._dihedral_values(torch.as_tensor(reference, dtype=torch.float64)[None])[0]
        centred = ~np.isin(zmatrix.classes, ("free", "rotor"))
        self.torsion_centres[centred] = self._less_leaders(values)[centred]

    @property
    def columns(self) -> dict[str, slice]:
        """Where "bonds", "angles" and "torsions" stand in the vectors of `coordinates`."""
        bonds = len(self.free_bonds)
        angles = bonds + len(self._angles)
        return {
            "bonds": slice(0, bonds),
            "angles": slice(bonds, angles),
            "torsions": slice(angles, self.num_coordinates),
        }

    def to_internal(self, positions: torch.Tensor) -> tuple[Internals, torch.Tensor]:
        """Return internal coordinates and the log-Jacobian.

        Parameters
        ----------
        positions : (B, N, 3) tensor
            In nm, float64.

        Returns
        -------
        bonds (B, N - 1), angles (B, N - 2), torsions (B, N - 3) : tuple of tensors
            In nm and radians.
        log_jacobian : (B,) tensor
            ``log |dX / dq|``, see the class.
        """
        bonds = (positions[:, self._bonds[:, 0]] - positions[:, self._bonds[:, 1]]).norm(dim=-1)
        angles = _angles(*(positions[:, atoms] for atoms in self._angles.T))
        torsions = self._less_leaders(self._dihedral_values(positions))
        torsions = wrap(torsions, self.torsion_centres)
        deviations = torsions - self.torsion_centres
        torsions = wrap(torsions + deviations @ self._shear.T, self.torsion_centres)
        return (bonds, angles, torsions), self.log_jacobian(bonds, angles, torsions)

    def to_cartesian(
        self, bonds: torch.Tensor, angles: torch.Tensor, torsions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions and the log-Jacobian.

        Parameters
        ----------
        bonds : (B, N - 1) tensor
            In nm, float64. Those of fixed bonds are taken as given.
        angles : (B, N - 2) tensor
            In radians.
        torsions : (B, N - 3) tensor
            In radians.

        Returns
        -------
        positions : (B, N, 3) tensor
            In nm: the first atom at the origin, the second on the x axis, the third in the plane.
        log_jacobian : (B,) tensor
            See `log_jacobian`.
        """
        log_jacobian = self.log_jacobian(bonds, angles, torsions)
        deviations = torsions - self.torsion_centres
        torsions = torsions - deviations @ self._shear.T
        absolute = torsions + torch.where(self._relative, torsions[:, self._leaders], 0.0)
        placed = _first_three(bonds, angles)
        for first, last, b, c, d in self._levels:
            rows = slice(first, last)
            placed = torch.cat(
                [
                    placed,
                    _place(
                        placed[:, b],
                        placed[:, c],
                        placed[:, d],
                        bonds[:, rows][:, :, None],
                        angles[:, first - 1 : last - 1][:, :, None],
                        absolute[:, first - 2 : last - 2][:, :, None],
                    ),
                ],
                dim=1,
            )
        return placed[:, self._back], log_jacobian

    def log_jacobian(
        self, bonds: torch.Tensor, angles: torch.Tensor, torsions: torch.Tensor
    ) -> torch.Tensor:
        """Return ``log |dX / dq|`` up to rigid motion, (B,): the sum of 2 log b and log sin a.

        It is -inf where no positions have these coordinates: a bond is not positive, an angle not
        between 0 and pi, or a torsion more than half a turn from its centre. (Beyond that, two
        vectors would stand for the same positions.)
        """
        bent = (angles > 0) & (angles < torch.pi)
        valid = (bonds > 0).all(1) & bent.all(1)
        valid = valid & ((torsions - self.torsion_centres).abs() <= torch.pi).all(1)
        sines = torch.where(bent, angles, torch.pi / 2).sin()
        lengths = torch.where(bonds > 0, bonds, 1.0)
        value = 2 * lengths.log().sum(1) + sines.log().sum(1)
        return torch.where(valid, value, -torch.inf)

    def coordinates(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors of internal coordinates without fixed bonds, and the log-Jacobian.

        Parameters
        ----------
        positions : (B, N, 3) tensor
            In nm.

        Returns
        -------
        (B, M) tensor
            Bonds, angles and torsions, see `columns`.
        (B,) tensor
        """
        (bonds, angles, torsions), log_jacobian = self.to_internal(positions)
        return torch.cat([bonds[:, self.free_bonds], angles, torsions], dim=1), log_jacobian

    def positions(self, coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (B, N, 3) of vectors (B, M), and the log-Jacobian (B,).

        Fixed bonds have their lengths. The inverse of `coordinates`.
        """
        return self.to_cartesian(*self.split(coordinates))

    def split(self, coordinates: torch.Tensor) -> Internals:
        """Return bonds, fixed ones too, angles and torsions of vectors (B, M)."""
        columns = self.columns
        bonds = coordinates.new_empty(len(coordinates), len(self._bonds))
        bonds = bonds.index_copy(1, self.free_bonds, coordinates[:, columns["bonds"]])
        lengths = self.fixed_lengths.to(bonds).expand(len(bonds), -1)
        bonds = bonds.index_copy(1, self.fixed_bonds, lengths)
        return bonds, coordinates[:, columns["angles"]], coordinates[:, columns["torsions"]]

    def _dihedral_values(self, positions: torch.Tensor) -> torch.Tensor:
        return _dihedrals(*(positions[:, atoms] for atoms in self._dihedrals.T))

    def _less_leaders(self, torsions: torch.Tensor) -> torch.Tensor:
        return torsions - torch.where(self._relative, torsions[..., self._leaders], 0.0)


def _rotor_means(zmatrix: ZMatrix) -> np.ndarray:
    """Return the (T, T) matrix that takes deviations of a rotor's relatives to their mean."""
    matrix = np.zeros((len(zmatrix.classes),) * 2)
    for rotor in zmatrix.rotors:
        relatives = np.flatnonzero((zmatrix.leaders == rotor) & (zmatrix.classes == "relative"))
        matrix[rotor, relatives] = 1.0 / zmatrix.folds[rotor]
    return matrix


def _levels(zmatrix: ZMatrix) -> list[tuple]:
    """Return runs of rows that only lean on rows before the run, and the rows they lean on."""
    size = len(zmatrix)
    row_of = np.argsort(zmatrix.order)
    rows = row_of[zmatrix.references]
    levels, first = [], 3
    while first < size:
        beyond = np.flatnonzero((rows[first:] >= first).any(axis=1))
        last = first + int(beyond[0]) if len(beyond) else size
        levels.append((first - 1, last - 1, *map(torch.as_tensor, rows[first:last].T)))
        first = last
    return levels


def _first_three(bonds: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros_like(bonds[:, 0])
    atoms = [torch.stack([zero, zero, zero], -1), torch.stack([bonds[:, 0], zero, zero], -1)]
    if angles.shape[1]:
        length, angle = bonds[:, 1], angles[:, 0]
        atoms.append(torch.stack([length * angle.cos(), length * angle.sin(), zero], -1))
    return torch.stack(atoms, dim=1)


def _place(
    b: torch.Tensor,
    c: torch.Tensor,
    d: torch.Tensor,
    length: torch.Tensor,
    angle: torch.Tensor,
    torsion: torch.Tensor,
) -> torch.Tensor:
    """Return atoms at a distance from b, at an angle to c and at a torsion to d."""
    axis = torch.nn.functional.normalize(b - c, dim=-1)
    normal = torch.linalg.cross(c - d, axis)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    third = torch.linalg.cross(normal, axis)
    across = angle.sin() * (torsion.cos() * third + torsion.sin() * normal)
    return b + length * (across - angle.cos() * axis)


def _angles(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    u, v = a - b, c - b
    return torch.atan2(torch.linalg.cross(u, v).norm(dim=-1), (u * v).sum(-1))


def _dihedrals(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    ab, bc, cd = b - a, c - b, d - c
    first, second = torch.linalg.cross(ab, bc), torch.linalg.cross(bc, cd)
    sines = bc.norm(dim=-1) * (ab * second).sum(-1)
    return torch.atan2(sines, (first * second).sum(-1))
