"""PaiNN, an equivariant network for energies of molecules, in plain torch.

Molecules of a batch are padded to one size: messages between all pairs of atoms are then products
of matrices, the fastest form on a CPU and on a GPU.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["HEAVIEST", "NetworkSettings", "PaiNN", "energy_and_forces"]

# Atomic numbers up to this one have an embedding, and total charges from -MOST_CHARGE.
HEAVIEST = 86
MOST_CHARGE = 4
# On a CPU molecules are padded together up to this share of atoms more than the smallest has, and
# so many atoms at once: what is computed then stays in the cache.
PADDED, AT_ONCE = 1.25, 500
# Norms of vectors are smooth at zero.
SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class NetworkSettings:
    """Size of a `PaiNN`.

    Attributes
    ----------
    features : int
        Scalars of an atom, and vectors. Published: 128.
    interactions : int
        Times that neighbours send messages.
    bessel : int
        Radial functions. Published: 50.
    rank : int
        Combinations of the radial functions that each interaction learns; the time of an
        evaluation grows with it. 0 uses the radial functions themselves, as published.
    cutoff : float
        In nm.

    Raises
    ------
    ValueError
        A size that is not positive.
    """

    features: int = 64
    interactions: int = 3
    bessel: int = 20
    rank: int = 8
    cutoff: float = 0.5

    def __post_init__(self) -> None:
        for name in ("features", "interactions", "bessel", "cutoff"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.rank < 0:
            raise ValueError(f"rank is {self.rank}; it must be 0 or more")


class PaiNN(nn.Module):
    """Energies of molecules from elements, positions and total charges.

    An energy is a sum over atoms. It does not change with rotations, translations, reflections and
    exchanges of like atoms, and it is smooth, at the cutoff too. Atoms of one molecule only send
    each other messages.

    The molecule's total charge is embedded like an element, and added to all of its atoms: formal
    charges of atoms would tell the two oxygens of a carboxylate apart.

    Parameters
    ----------
    settings : NetworkSettings

    Attributes
    ----------
    settings : NetworkSettings
    scale : (1,) tensor
        In kJ/mol: what an output of one stands for.

    References
    ----------
    Schuett, Unke and Gastegger, "Equivariant message passing for the prediction of tensorial
    properties and molecular spectra", ICML 2021. The envelope of the cutoff is that of Gasteiger,
    Gross and Guennemann, "Directional message passing for molecular graphs", ICLR 2020.

    Examples
    --------
    >>> network = PaiNN(NetworkSettings(features=16))
    >>> water = torch.tensor([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> network(torch.tensor([8, 1, 1]), water, torch.zeros(3, dtype=torch.long), 1).shape
    torch.Size([1])
    """

    scale: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.most_charge = MOST_CHARGE  # TorchScript sees no globals
        features, functions = settings.features, settings.rank or settings.bessel
        self.register_buffer("scale", torch.tensor([10.0]))
        self.elements = nn.Embedding(HEAVIEST + 1, features, padding_idx=0)
        self.charges = nn.Embedding(2 * MOST_CHARGE + 1, features)
        nn.init.zeros_(self.charges.weight)
        self.radial = RadialFunctions(settings.bessel, settings.cutoff)
        self.interactions = nn.ModuleList(
            Interaction(features, settings.bessel, functions, k == 0)
            for k in range(settings.interactions)
        )
        self.readout = nn.Sequential(
            nn.Linear(features, features // 2 or 1), nn.SiLU(), nn.Linear(features // 2 or 1, 1)
        )

    def forward(
        self,
        numbers: Tensor,
        positions: Tensor,
        molecule: Tensor,
        count: int,
        charges: Tensor | None = None,
    ) -> Tensor:
        """Return the energies of molecules.

        Parameters
        ----------
        numbers : (A,) long tensor
            Atomic numbers of all atoms.
        positions : (A, 3) tensor
            In nm.
        molecule : (A,) long tensor
            The molecule of each atom, from 0, in ascending order.
        count : int
            Molecules, M.
        charges : (M,) long tensor, optional
            Total charges; none by default.

        Returns
        -------
        (M,) tensor
            In kJ/mol.
        """
        if charges is None:
            charges = torch.zeros(count, dtype=torch.long, device=numbers.device)
        sizes = torch.bincount(molecule, minlength=count)
        firsts = torch.cumsum(sizes, 0) - sizes
        energies: list[Tensor] = []
        chosen: list[Tensor] = []
        for group in groups(sizes, numbers.device.type == "cpu"):
            own = sizes.index_select(0, group)
            places = torch.arange(int(own.max().item()), device=numbers.device)
            present = places < own.unsqueeze(1)
            index = (firsts.index_select(0, group).unsqueeze(1) + places) * present
            flat = index.reshape(-1)
            padded = numbers.index_select(0, flat).reshape(index.shape) * present
            there = positions.index_select(0, flat).reshape(index.shape[0], index.shape[1], 3)
            energies.append(self.padded(padded, there, charges.index_select(0, group)))
            chosen.append(group)
        order = torch.argsort(torch.cat(chosen))
        return torch.cat(energies).index_select(0, order)

    def padded(self, numbers: Tensor, positions: Tensor, charges: Tensor) -> Tensor:
        """Return the energies of molecules padded to one number of atoms, (M,) in kJ/mol.

        Parameters
        ----------
        numbers : (M, n) long tensor
            Zero where there is no atom.
        positions : (M, n, 3) tensor
        charges : (M,) long tensor
        """
        present = numbers > 0
        positions = (positions - positions[:, :1].detach()).to(self.scale.dtype)
        basis, directions = self.radial(positions, present)
        limited = charges.clamp(-self.most_charge, self.most_charge) + self.most_charge
        scalars = self.elements(numbers) + self.charges(limited).unsqueeze(1)
        vectors = torch.zeros(1, dtype=scalars.dtype, device=scalars.device)
        for interaction in self.interactions:
            scalars, vectors = interaction(scalars, vectors, basis, directions)
        atoms = self.readout(scalars).squeeze(-1) * present
        return atoms.sum(1) * self.scale


class RadialFunctions(nn.Module):
    """Bessel functions of the distances, smoothly zero at the cutoff, and directions of pairs."""

    waves: Tensor

    def __init__(self, count: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("waves", math.pi * torch.arange(1.0, count + 1))

    def forward(self, positions: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return functions (M, n, n, K) and directions from the first atom to the second."""
        n = present.shape[1]
        apart = positions.unsqueeze(1) - positions.unsqueeze(2)
        pairs = present.unsqueeze(1) & present.unsqueeze(2)
        pairs = pairs & ~torch.eye(n, dtype=torch.bool, device=present.device)
        squares = (apart * apart).sum(-1)
        pairs = pairs & (squares < self.cutoff**2)
        distances = torch.where(pairs, squares, torch.ones_like(squares)).sqrt().unsqueeze(-1)
        x = distances / self.cutoff
        x6 = x**6
        envelope = (1 - x6 * (28 - 48 * x + 21 * x * x)) * pairs.unsqueeze(-1)
        return torch.sin(x * self.waves) * (envelope / x), apart / distances


class Interaction(nn.Module):
    """A message from all neighbours to each atom, then an exchange within the atom."""

    def __init__(self, features: int, bessel: int, functions: int, first: bool) -> None:
        super().__init__()
        self.features, self.functions, self.first = features, functions, first
        self.smallest_norm = SMALLEST_NORM
        self.combine = nn.Linear(bessel, functions, bias=False)
        self.message = nn.Sequential(
            nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 3 * features)
        )
        self.filters = nn.Parameter(torch.randn(functions, 3 * features) / functions**0.5)
        self.mix = nn.Linear(features, 2 * features, bias=False)
        self.update = nn.Sequential(
            nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, 3 * features)
        )

    def forward(
        self, scalars: Tensor, vectors: Tensor, basis: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return new scalars (M, n, F) and vectors (M, n, 3, F); the first has no vectors yet."""
        scalars, vectors = self.receive(scalars, vectors, self.combine(basis), directions)
        return self.exchange(scalars, vectors)

    def receive(
        self, scalars: Tensor, vectors: Tensor, basis: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add what neighbours send: a product of the pairs' functions and the senders' features."""
        m, n, f = scalars.shape
        k = self.functions
        sent = self.message(scalars)
        of_scalars, of_vectors, along = sent.split([f, f, f], 2)
        to_scalars, to_vectors, to_along = self.filters.split([f, f, f], 1)
        pairs = basis.reshape(m, n, n * k)
        if self.first:
            what = of_scalars.unsqueeze(2) * to_scalars
            new = torch.bmm(pairs, what.reshape(m, n * k, f))
            vectors = torch.zeros(m, n, 3, f, dtype=scalars.dtype, device=scalars.device)
        else:
            carried = (of_vectors.unsqueeze(2) * vectors).reshape(m, n, 3 * f)
            what = torch.cat([of_scalars, carried], 2).unsqueeze(2)
            filters = torch.cat([to_scalars, to_vectors, to_vectors, to_vectors], 1)
            arrived = torch.bmm(pairs, (what * filters).reshape(m, n * k, 4 * f))
            new, moved = arrived.split([f, 3 * f], 2)
            vectors = vectors + moved.reshape(m, n, 3, f)
        turned = directions.permute(0, 1, 3, 2).unsqueeze(-1) * basis.unsqueeze(2)
        what = (along.unsqueeze(2) * to_along).reshape(m, n * k, f)
        pointed = torch.bmm(turned.reshape(m, 3 * n, n * k), what)
        return scalars + new, vectors + pointed.reshape(m, n, 3, f)

    def exchange(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Let scalars and vectors of an atom change each other."""
        f = self.features
        one, other = self.mix(vectors).split([f, f], 3)
        norms = (other * other).sum(2).add(self.smallest_norm).sqrt()
        gates = self.update(torch.cat([scalars, norms], 2))
        on_vectors, on_product, on_scalars = gates.split([f, f, f], 2)
        scalars = scalars + on_scalars + on_product * (one * other).sum(2)
        return scalars, vectors + on_vectors.unsqueeze(2) * one


def groups(
    sizes: Tensor, small: bool, padded: float = PADDED, at_once: int = AT_ONCE
) -> list[Tensor]:
    """Return the molecules that are padded together, by their numbers of atoms (M,)."""
    if not small:
        return [torch.arange(sizes.shape[0], device=sizes.device)]
    order = torch.argsort(sizes, stable=True)
    ordered: list[int] = sizes.index_select(0, order).tolist()
    found: list[Tensor] = []
    begin = 0
    for end in range(1, len(ordered) + 1):
        full = end == len(ordered)
        if not full:
            much = ordered[end] * (end + 1 - begin) > at_once
            full = much or ordered[end] > padded * ordered[begin]
        if full:
            found.append(order[begin:end])
            begin = end
    return found


def energy_and_forces(
    network: nn.Module,
    numbers: Tensor,
    positions: Tensor,
    molecule: Tensor,
    count: int,
    charges: Tensor | None = None,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return energies of molecules, (M,) in kJ/mol, and forces, (A, 3) in kJ/mol/nm.

    Parameters
    ----------
    network : PaiNN
    numbers, positions, molecule, count, charges
        As `PaiNN.forward` takes them.
    create_graph : bool
        Keep what a loss of the forces needs to be differentiated.
    """
    with torch.enable_grad():
        place = positions.detach().requires_grad_()
        energies = network(numbers, place, molecule, count, charges)
        (gradient,) = torch.autograd.grad(energies.sum(), place, create_graph=create_graph)
    return (energies if create_graph else energies.detach()), -gradient
