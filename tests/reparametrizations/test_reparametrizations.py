"""Every X = rho(Z; theta): exact start, gradients, TorchScript, checks and the registry."""

import importlib.metadata

import numpy as np
import pytest
import torch

from openmm_reparam import Potential, minimize_reparam, molecular_slow_modes
from openmm_reparam.potentials.hessian import dense_hessian
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import (
    GCN,
    Anchored,
    Cartesian,
    Linear,
    Spectral,
    Start,
    available,
    base,
    build,
    register,
)
from openmm_reparam.testsystems import lennard_jones_cluster

GCN_SMALL = {"latents": 5, "count": 8, "dtype": torch.float64}
SPECS = {
    "cartesian": ("cartesian", {}),
    "linear of the coupling graph": ("linear", {"count": 7}),
    "linear of the hessian": ("linear", {"count": 7, "modes_of": "hessian"}),
    "linear of the full hessian": ("linear", {"count": 7, "modes_of": "hessian", "source": "full"}),
    "spectral": ("spectral", {}),
    "spectral of bonds": ("spectral", {"shift": 400.0, "contacts": False}),
}
SPECS["whitened gcn"] = ("gcn", GCN_SMALL | {"hidden": (6,), "coordinates": "whitened"})
for _layers in ((6,), (6, 5), (6, 5, 4)):
    for _propagation in ("whitened", "projector"):
        for _concatenate in (True, False):
            _name = f"gcn {len(_layers)} {_propagation} {'all' if _concatenate else 'last'}"
            SPECS[_name] = (
                "gcn",
                GCN_SMALL
                | {"hidden": _layers, "propagation": _propagation, "concatenate": _concatenate},
            )


@pytest.fixture(scope="module")
def start():
    molecule = peptide("AG")
    context = molecule.simulation("Reference").context
    return Start(Potential(context), molecule.positions._value.copy())


@pytest.fixture(params=list(SPECS))
def module(request, start):
    name, settings = SPECS[request.param]
    return build(name, start, **settings)


def trained(module):
    return [p for p in module.parameters() if p.requires_grad]


def shake(module, size, seed=0):
    """Move every parameter away from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in trained(module):
            p += size * torch.randn(p.shape, generator=generator, dtype=p.dtype)


def test_the_start_is_exact(module, start):
    x = module()
    assert x.dtype == torch.float64
    assert np.abs(x.detach().numpy() - start.positions).max() < 1e-6


def test_gradients_are_those_of_finite_differences_of_the_energy(module, start):
    shake(module, 1e-3)
    potential = start.potential
    potential.energy(module()).backward()
    generator = torch.Generator().manual_seed(5)
    for parameter in trained(module):
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        slope = float((parameter.grad * direction).sum())
        step = 1e-5 / float(direction.abs().max())
        energies = []
        with torch.no_grad():
            before = parameter.clone()
            for sign in (1, -1):
                parameter.copy_(before + sign * step * direction)
                energies.append(potential.evaluate(module().numpy())[0])
            parameter.copy_(before)
        difference = (energies[0] - energies[1]) / (2 * step)
        scale = float(parameter.grad.abs().max()) or 1.0
        assert slope == pytest.approx(difference, rel=2e-5, abs=max(1e-5 * scale, 1e-6))


def test_scripted_and_eager_modules_agree(module, start):
    shake(module, 1e-2)
    scripted = torch.jit.script(module)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=start.positions.shape))
    results = []
    for one in (module, scripted):
        one.zero_grad()
        x = one()
        (x * weights).sum().backward()
        gradients = [p.grad.clone() for p in one.parameters() if p.requires_grad]
        results.append((x.detach(), gradients))
    (x, gradients), (scripted_x, scripted_gradients) = results
    assert torch.allclose(x, scripted_x, rtol=0, atol=1e-12)
    assert len(gradients) == len(scripted_gradients) > 0
    for one, other in zip(gradients, scripted_gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_state_dicts_bring_a_module_back(module, start):
    shake(module, 1e-2)
    expected = module().detach().clone()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    shake(module, 1.0, seed=1)
    assert not torch.allclose(module(), expected)
    module.load_state_dict(state)
    assert torch.equal(module(), expected)


def test_the_default_network_starts_exactly_and_scripts(start):
    """In its own precision, whichever that is."""
    module = build("gcn", start)
    assert np.abs(module().detach().numpy() - start.positions).max() < 1e-6
    shake(module, 1e-3)
    assert torch.allclose(torch.jit.script(module)(), module(), rtol=0, atol=1e-6)


def test_linear_moves_along_the_modes_alone(start):
    modes = molecular_slow_modes(start.potential, start.positions, 5)
    rho = Linear(start.positions, modes.vectors)
    shake(rho, 1.0)
    displacement = rho().detach().numpy() - start.positions
    inside = modes.vectors @ (modes.vectors.T @ displacement)
    assert np.allclose(displacement, inside, atol=1e-10)
    with pytest.raises(ValueError, match="rows"):
        Linear(start.positions, np.zeros((7, 2)))


@pytest.mark.parametrize("propagation", ["projector", "whitened"])
def test_one_graph_convolution_is_the_published_formula(start, propagation):
    """tanh(A h W + h W_self + b) with A formed in full."""
    modes = molecular_slow_modes(start.potential, start.positions, 6)
    rho = GCN(
        start.positions,
        modes,
        hidden=(4,),
        latents=5,
        propagation=propagation,
        scale=0.1,
        dtype=torch.float64,
    )
    psi = modes.vectors
    projector = psi @ psi.T
    if propagation == "projector":
        propagated = projector
    else:
        floor = modes.next_eigenvalue / 100
        gains = np.sqrt(modes.next_eigenvalue / np.maximum(np.abs(modes.eigenvalues), floor))
        propagated = (psi * gains) @ psi.T + np.eye(len(psi)) - projector

    def published():
        h = rho.latents.detach().numpy()
        layer = rho.layers[0]
        weight, own = np.split(layer.weights.detach().numpy(), 2)
        hidden = np.tanh(propagated @ h @ weight + h @ own + layer.bias.detach().numpy())
        return 0.1 * hidden @ rho.output.detach().numpy()

    first = published()
    for seed in range(2):
        shake(rho, 0.3, seed)
        displacement = rho().detach().numpy() - start.positions
        assert np.abs(displacement).max() > 1e-3
        assert np.allclose(displacement, published() - first, atol=1e-10)


def test_spectral_jacobian_is_a_root_of_the_inverse_matrix(start):
    """S S^T = P^-1, so that a gradient step on Z is a preconditioned one on X."""
    preconditioner = Preconditioner(start.potential)
    preconditioner.update(start.positions)
    rho = build("spectral", start)
    latents = trained(rho)[0]
    rows = []
    x = rho().reshape(-1)
    for k in range(len(x)):
        rows.append(torch.autograd.grad(x[k], latents, retain_graph=True)[0].reshape(-1).numpy())
    jacobian = np.array(rows)
    inverse = np.linalg.inv(preconditioner.matrix().toarray())
    assert np.allclose(jacobian @ jacobian.T, inverse, atol=1e-10 * np.abs(inverse).max())


def test_spectral_handles_molecules_of_several_sizes():
    cluster = lennard_jones_cluster(5)
    potential = Potential(cluster.simulation("Reference").context)
    x = potential.positions()
    rng = np.random.default_rng(0)
    matrix = np.zeros((15, 15))
    for first, last in ((0, 6), (6, 9), (9, 12), (12, 15)):
        block = rng.normal(size=(last - first, last - first))
        matrix[first:last, first:last] = block @ block.T + np.eye(last - first)
    order = rng.permutation(15)
    matrix = matrix[order][:, order]
    rho = Spectral(x, matrix)
    shake(rho, 1.0)
    moved = (rho().detach().numpy() - x).ravel()
    latents = trained(rho)[0].detach().numpy().ravel()
    # |S z|_P = |z| where S is a root of P^-1.
    assert moved @ matrix @ moved == pytest.approx(latents @ latents)


def test_the_same_seed_gives_the_same_network_and_another_another(start):
    def network(seed):
        begin = Start(start.potential, start.positions, np.random.default_rng(seed))
        return build("gcn", begin, **GCN_SMALL).latents.detach()

    assert torch.equal(network(3), network(3))
    assert not torch.equal(network(3), network(4))


def test_global_random_states_are_left_alone(start):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    build("gcn", start)
    build("linear", start, samples=2)
    build("spectral", start)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize(
    ("name", "settings", "error", "match"),
    [
        ("gcn", {"hidden": ()}, ValueError, "hidden"),
        ("gcn", {"hidden": (4, 4, 4, 4)}, ValueError, "hidden"),
        ("gcn", {"hidden": (0,)}, ValueError, "hidden"),
        ("gcn", {"latents": 3}, ValueError, "latents"),
        ("gcn", {"propagation": "other"}, ValueError, "propagation"),
        ("gcn", {"source": "other"}, ValueError, "source"),
        ("gcn", {"norm": "other"}, ValueError, "norm"),
        ("gcn", {"count": 3, "fraction": 0.3}, ValueError, "count"),
        ("linear", {"count": 3, "fraction": 0.3}, ValueError, "count"),
        ("gcn", {"hiden": (3,)}, TypeError, "hiden"),
        ("linear", {"modes_of": "other"}, ValueError, "modes_of"),
        ("linear", {"fraction": 2.0}, ValueError, "fraction"),
        ("cartesian", {"count": 3}, TypeError, "count"),
        ("spectral", {"width": 3}, TypeError, "width"),
        ("nonsense", {}, ValueError, "cartesian.*gcn.*linear.*spectral"),
        (42, {}, TypeError, "int"),
    ],
)
def test_wrong_settings_are_refused_in_words(start, name, settings, error, match):
    with pytest.raises(error, match=match):
        build(name, start, **settings)


class Own(torch.nn.Module):
    """A user's module: positions from elsewhere, in single precision."""

    def __init__(self, shape, value=0.0):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.full(shape, value))

    def forward(self):
        return 0.1 * torch.sinh(self.shift)


def test_a_users_module_is_anchored_to_the_start(start):
    own = Own(start.positions.shape, 0.4)
    rho = build(own, start)
    assert isinstance(rho, Anchored)
    assert np.abs(rho().detach().numpy() - start.positions).max() < 1e-6
    with torch.no_grad():
        own.shift[2, 1] += 1.0
    moved = rho().detach().numpy() - start.positions
    assert moved[2, 1] == pytest.approx(0.1 * (np.sinh(1.4) - np.sinh(0.4)), rel=1e-5)
    assert np.abs(np.delete(moved.ravel(), 7)).max() < 1e-6


def test_a_module_that_starts_right_is_used_as_it_is(start):
    own = Cartesian(start.positions)
    assert build(own, start) is own


def test_initialize_is_called_with_the_start(start):
    class Ready(Own):
        def initialize(self, positions):
            assert isinstance(positions, torch.Tensor)
            self.base = positions

        def forward(self):
            return self.base + super().forward()

    own = Ready(start.positions.shape)
    assert build(own, start) is own


def test_a_callable_may_build_a_module(start):
    def maker(begin, scale):
        assert begin is start
        return Cartesian(scale * begin.positions)

    rho = build(maker, start, scale=2.0)
    assert np.abs(rho().detach().numpy() - start.positions).max() < 1e-6


def test_a_module_takes_no_settings(start):
    with pytest.raises(TypeError, match="width"):
        build(Own(start.positions.shape), start, width=3)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (3, 20)])
def test_wrong_shapes_are_refused(start, shape):
    with pytest.raises(ValueError, match=r"\(20, 3\)"):
        build(Own(shape), start)


def test_output_that_is_no_tensor_is_refused(start):
    class Listed(Own):
        def forward(self):
            return [1.0, 2.0]

    with pytest.raises(ValueError, match="list"):
        build(Listed(start.positions.shape), start)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_output_is_refused(start, value):
    with pytest.raises(ValueError, match="not finite"):
        build(Own(start.positions.shape, value), start)


def test_nothing_to_train_is_refused(start):
    own = Own(start.positions.shape)
    own.shift.requires_grad_(False)
    with pytest.raises(ValueError, match="parameter"):
        build(own, start)


def test_output_detached_from_its_parameters_is_refused(start):
    """Nothing could be trained: descending would do nothing for 200 evaluations, or crash."""

    class Detached(Own):
        def forward(self):
            return super().forward().detach()

    with pytest.raises(ValueError, match="gradient|depend|parameter"):
        build(Detached(start.positions.shape), start)


def test_a_users_module_minimizes(tripeptide, energy_and_forces):
    simulation = tripeptide.simulation("Reference")
    own = Own((33, 3), 0.2)
    result = minimize_reparam(simulation, 5.0, reparametrization=own)
    assert result.converged
    assert result.stages[0].name == "Own"
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, abs=1e-6)


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(base, "_builders", dict(base._builders))


def test_registered_names_are_built_and_listed(start, clean_registry):
    assert {"cartesian", "gcn", "linear", "spectral"} <= set(available())

    @register("halfway")
    def builder(begin, factor=0.5):
        return Cartesian(factor * begin.positions)

    assert "halfway" in available()
    assert isinstance(build("halfway", start, factor=1.0), Cartesian)
    with pytest.raises(ValueError, match="halfway"):
        register("halfway")(builder)


def test_entry_points_of_other_packages_are_found(start, monkeypatch):
    point = importlib.metadata.EntryPoint(
        "foreign", f"{Cartesian.__module__}:build_cartesian", base.ENTRY_POINT_GROUP
    )
    monkeypatch.setattr(base, "entry_points", lambda group: [point])
    assert "foreign" in available()
    assert isinstance(build("foreign", start), Cartesian)


def test_an_entry_point_that_does_not_load_harms_only_those_who_ask_for_it(start, monkeypatch):
    point = importlib.metadata.EntryPoint("broken", "no.such.module:build", base.ENTRY_POINT_GROUP)
    monkeypatch.setattr(base, "entry_points", lambda group: [point])
    assert isinstance(build("cartesian", start), Cartesian)


def test_full_hessian_modes_are_counted_and_its_own(start):
    before = start.potential.counter.side
    rho = build("linear", start, count=4, modes_of="hessian", source="full")
    assert start.potential.counter.side == before + 6 * len(start.positions)
    values, vectors = np.linalg.eigh(dense_hessian(start.potential, start.positions))
    slow = vectors[:, np.argsort(np.abs(values))[:4]]
    got = rho.vectors.numpy()
    assert np.allclose(got @ got.T, slow @ slow.T, atol=1e-5)
