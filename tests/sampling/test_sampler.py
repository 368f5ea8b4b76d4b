"""The one call: a method of one's own on a molecule whose partition function is known."""

import dataclasses
import math
import warnings

import numpy as np
import openmm as mm
import pytest
import torch
from harmonic_peroxide import ANGLE, BARRIER, BOND, harmonic_peroxide
from openmm import app, unit
from scipy import integrate

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.sampling.method import TrainingStep
from openmm_reparam.sampling.minima_mixture import MinimaMixture
from openmm_reparam.sampling.sampler import boltzmann_sampler
from openmm_reparam.sampling.target import boltzmann_target
from openmm_reparam.surrogates.golf.oracles import context_oracle
from openmm_reparam.surrogates.oracles import python_force

ROUNDS = 80


def harmonic_water(constrained=False):
    """One water on harmonic springs, or with bonds of fixed length."""
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    elements = (app.element.oxygen, app.element.hydrogen, app.element.hydrogen)
    atoms = [topology.addAtom(e.symbol, e, residue) for e in elements]
    system = mm.System()
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    for element in elements:
        system.addParticle(element.mass)
    for hydrogen in (1, 2):
        topology.addBond(atoms[0], atoms[hydrogen])
        if constrained:
            system.addConstraint(0, hydrogen, BOND[0])
        else:
            bonds.addBond(0, hydrogen, *BOND)
    angles.addAngle(1, 0, 2, *ANGLE)
    system.addForce(bonds)
    system.addForce(angles)
    positions = [[0, 0, 0], [0.1, 0, 0], [0.1 * math.cos(1.8), 0.1 * math.sin(1.8), 0]]
    return MolecularSystem("water", topology, system, np.array(positions) * unit.nanometer)


def exact_log_z(kt):
    """Integral of exp(-E / kT) b1^2 b2^2 sin(a)."""
    bond, _ = integrate.quad(
        lambda b: b**2 * math.exp(-0.5 * BOND[1] * (b - BOND[0]) ** 2 / kt), 0, 0.3, points=[0.1]
    )
    angle, _ = integrate.quad(
        lambda a: math.sin(a) * math.exp(-0.5 * ANGLE[1] * (a - ANGLE[0]) ** 2 / kt), 0, math.pi
    )
    return 2 * math.log(bond) + math.log(angle)


class Widths(torch.nn.Module):
    """Independent normal internal coordinates, their widths fitted to the energies."""

    def __init__(self, target, generator):
        super().__init__()
        self.target, self.generator = target, generator
        reference = torch.as_tensor(target.reference)[None]
        self.register_buffer("centre", target.internal.coordinates(reference)[0][0])
        self.scale = torch.nn.Parameter(torch.full_like(self.centre, -3.0))
        self.scale.data[-1] = -1.0
        self.optimizer = torch.optim.Adam(self.parameters(), lr=0.1)

    def training_steps(self, evaluations):
        while evaluations >= 50:
            evaluations -= 50
            x, log_q = self.sample(50, self.generator)
            finite = torch.isfinite(log_q)
            loss = (log_q + self.target.beta * self.target.energy.energy(x))[finite].mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield TrainingStep("widths", loss.item())

    def sample(self, count, generator):
        size = (count, len(self.centre))
        noise = torch.randn(size, generator=generator, dtype=torch.float64)
        x, log_jacobian = self.target.internal.positions(self.centre + self.scale.exp() * noise)
        return x, self.log_normal(noise) - log_jacobian

    def log_density(self, positions):
        q, log_jacobian = self.target.internal.coordinates(positions)
        return self.log_normal((q - self.centre) / self.scale.exp()) - log_jacobian

    def log_normal(self, noise):
        return (-0.5 * noise**2 - self.scale - 0.5 * math.log(2 * math.pi)).sum(1)

    def state_dict(self):
        return {"weights": super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])


def sampler(**options):
    options = {"method": Widths, "max_force_evaluations": 50 * ROUNDS, "progress": False, **options}
    return boltzmann_sampler(harmonic_water().simulation("Reference"), 500, **options)


def exact_configurations(count, kt, seed=0):
    """Exact samples: the harmonic ones, weighted by the Jacobian and drawn again."""
    rng = np.random.default_rng(seed)
    b = rng.normal(BOND[0], math.sqrt(kt / BOND[1]), (20 * count, 2))
    a = rng.normal(ANGLE[0], math.sqrt(kt / ANGLE[1]), 20 * count)
    weights = (b**2).prod(1) * np.sin(a)
    chosen = rng.choice(len(a), count, p=weights / weights.sum())
    b, a = b[chosen], a[chosen]
    x = np.zeros((count, 3, 3))
    x[:, 1, 0] = b[:, 0]
    x[:, 2] = np.column_stack([b[:, 1] * np.cos(a), b[:, 1] * np.sin(a), np.zeros(count)])
    return x


def test_partition_function_and_averages_are_exact():
    trained = sampler()
    kt = BOLTZMANN * 500
    ensemble = trained.sample(4000, configurations=exact_configurations(2000, kt), progress=False)
    assert ensemble.effective_sample_size > 0.8
    found = ensemble.log_z
    assert abs(found.value - exact_log_z(kt)) < 4 * found.error < 0.1
    check = ensemble.check
    assert not check.lost_mode
    assert check.effective_sample_size == pytest.approx(ensemble.effective_sample_size, abs=0.1)
    assert abs(check.log_z.value - exact_log_z(kt)) < 4 * check.log_z.error < 0.1
    assert ensemble.evaluations == trained.evaluations == 2 + 50 * ROUNDS - 50 + 4000 + 2000
    energy = ensemble.mean(lambda x: ensemble.energies)
    assert abs(energy.value - 1.5 * kt) < 5 * energy.error


def test_partition_function_with_fixed_bonds_is_that_of_the_angle():
    simulation = harmonic_water(constrained=True).simulation("Reference")
    trained = boltzmann_sampler(
        simulation, 500, method=Widths, max_force_evaluations=50 * ROUNDS, progress=False
    )
    ensemble = trained.sample(2000, progress=False)
    kt = BOLTZMANN * 500
    angle, _ = integrate.quad(
        lambda a: math.sin(a) * math.exp(-0.5 * ANGLE[1] * (a - ANGLE[0]) ** 2 / kt), 0, math.pi
    )
    found = ensemble.log_z
    assert abs(found.value - 4 * math.log(BOND[0]) - math.log(angle)) < 4 * found.error < 0.1
    np.testing.assert_allclose(ensemble.measure("distance 0 2"), BOND[0], rtol=1e-5)


def test_free_energy_of_a_torsion_is_its_energy():
    """Nothing else of peroxide depends on its torsion; the barrier is 12 kT high."""
    trained = boltzmann_sampler(
        harmonic_peroxide().simulation("Reference"),
        300,
        max_force_evaluations=6000,
        progress=False,
    )
    trained.sample(6000, broad=True, progress=False)
    profile = trained.free_energy(bins=24)
    fine = np.linspace(-np.pi, np.pi, 24 * 50, endpoint=False).reshape(24, 50) + np.pi / (24 * 50)
    kt = BOLTZMANN * 300
    exact = -kt * np.log(np.exp(-BARRIER * (1 + np.cos(fine)) / kt).mean(axis=1))
    deviations = profile.values - exact
    deviations -= np.average(deviations, weights=profile.errors**-2)
    assert np.abs(deviations / profile.errors).max() < 4
    narrow = trained.sample(6000, progress=False)
    assert narrow.effective_sample_size > 0.8
    # On the barrier, where one structure in 10^5 would be without.
    assert profile.errors.max() < 0.7 * trained.free_energy(bins=24).errors.max()


def test_a_minimum_at_half_a_turn_has_its_share():
    """Descents end on either side of it, and one of these is beyond the torsion's window."""
    target = boltzmann_target(harmonic_peroxide().simulation("Reference"), 300)
    start, _ = target.internal.coordinates(torch.as_tensor(target.reference)[None])
    for torsion in (2.8, -2.8):
        start[0, -1] = torsion
        positions, _ = target.internal.positions(start)
        there = dataclasses.replace(target, reference=positions[0].numpy())
        mixture = MinimaMixture(there, torch.Generator().manual_seed(0))
        drawn, log_q = mixture.sample(50, torch.Generator().manual_seed(0))
        assert torch.isfinite(log_q).all()
        torsions = target.internal.coordinates(drawn)[0][:, -1]
        assert torsions.abs().min() > 1.5


def test_useless_weights_are_warned_of():
    untrained = sampler(max_force_evaluations=0)
    untrained.method.scale.data += 3.0  # hardly any structure has bonds of a sensible length
    with pytest.warns(UserWarning, match="cannot be relied on.*Train with more"):
        untrained.sample(1000, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        untrained.sample(100, progress=False)  # too few to judge by
        sampler().sample(1000, progress=False)


def test_methods_that_cannot_draw_broadly_say_so():
    with pytest.raises(ValueError, match="cannot draw broadly"):
        sampler(max_force_evaluations=0).sample(10, broad=True)


def test_user_and_global_random_states_are_left_alone():
    simulation = harmonic_water().simulation("Reference")
    torch.manual_seed(3)
    before = simulation.context.getState(positions=True, velocities=True), torch.get_rng_state()
    boltzmann_sampler(simulation, 300, method=Widths, max_force_evaluations=500, progress=False)
    after = simulation.context.getState(positions=True, velocities=True), torch.get_rng_state()
    assert mm.XmlSerializer.serialize(before[0]) == mm.XmlSerializer.serialize(after[0])
    assert torch.equal(before[1], after[1])


def test_same_seed_same_structures():
    first, second, other = (
        sampler(seed=seed, max_force_evaluations=300).sample(10, progress=False)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.positions, second.positions)
    assert not np.array_equal(first.positions, other.positions)


def test_a_checkpoint_is_gone_on_with(tmp_path):
    file = tmp_path / "run.pt"
    whole = sampler(max_force_evaluations=2000)
    sampler(max_force_evaluations=1002, checkpoint=file)
    resumed = sampler(max_force_evaluations=2000, checkpoint=file)
    assert resumed.evaluations == whole.evaluations
    torch.testing.assert_close(resumed.method.scale, whole.method.scale)
    with pytest.raises(ValueError, match="another System"):
        boltzmann_sampler(
            harmonic_water().simulation("Reference"), 300, method=Widths, checkpoint=file
        )
    content = torch.load(file)
    content["method"]["weights"] = {}
    torch.save(content, file)
    with pytest.raises(ValueError, match="another version"):
        sampler(checkpoint=file)
    file.write_text("nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        sampler(checkpoint=file)


def test_ctrl_c_keeps_what_is_trained(tmp_path):
    class Interrupted(Widths):
        def training_steps(self, evaluations):
            for count, step in enumerate(super().training_steps(evaluations)):
                if count == 20:
                    raise KeyboardInterrupt
                yield step

    with pytest.warns(UserWarning, match="interrupted"):
        stopped = sampler(method=Interrupted, checkpoint=tmp_path / "run.pt")
    assert stopped.interrupted
    assert stopped.evaluations < 50 * ROUNDS
    assert stopped.sample(100, progress=False).effective_sample_size > 0.01
    assert (tmp_path / "run.pt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "guess"}, "choose one of"),
        ({"method": None}, "method is None: choose one of"),
        ({"method": 3}, "method is 3: choose one of"),
        ({"latents": None}, 'latents is None: pass "auto"'),
        ({"latents": 5}, 'latents is 5: pass "auto"'),
        ({"latents": "phi"}, "latents is 'phi': pass \"auto\""),
        ({"latents": (1, 2, 3, 4)}, "1 is nothing that can be measured"),
        ({"max_force_evaluations": -1}, "max_force_evaluations is -1"),
        ({"max_force_evaluations": 0.5}, "max_force_evaluations is 0.5: pass a whole number"),
        ({"max_force_evaluations": np.nan}, "max_force_evaluations is nan"),
        ({"seed": "one"}, "seed is 'one': pass a whole number"),
        ({"seed": -1}, "seed is -1: it must be 0 or more"),
        ({"seed": 2**70}, "seed is 1180591620717411303424: it must be .* or less"),
        ({"temperature": 0}, "temperature is 0: pass one above zero"),
        ({"temperature": np.nan}, "temperature is nan"),
        ({"temperature": -1 * unit.kelvin}, "temperature is .*not negative"),
        ({"temperature": 300 * unit.picosecond}, "temperature is 300 ps: .*kelvin"),
        ({"temperature": "300"}, "temperature is '300': .*kelvin"),
        ({"temperature": None}, "temperature is None: .*kelvin"),
    ],
)
def test_wrong_arguments_are_refused_in_words(options, words):
    options = {"temperature": 500, "method": Widths, **options}
    with pytest.raises((ValueError, TypeError), match=words):
        boltzmann_sampler(harmonic_water().simulation("Reference"), progress=False, **options)


@pytest.mark.parametrize("count", [0, -3, 1.5, "many", None])
def test_as_many_structures_as_a_whole_number_says(count):
    with pytest.raises((ValueError, TypeError), match=f"count is {count!r}"):
        sampler(max_force_evaluations=0).sample(count)


@pytest.fixture
def interruptible():
    """Peroxide by a PythonForce that Ctrl-C hits in the evaluation that is named."""
    given = harmonic_peroxide()
    energy = Interrupted(context_oracle(given.simulation("Reference").context))
    system = mm.System()
    for k in range(4):
        system.addParticle(given.system.getParticleMass(k))
    system.addForce(python_force(energy))
    molecule = MolecularSystem("peroxide", given.topology, system, given.positions)
    return molecule.simulation("Reference"), energy


class Interrupted:
    def __init__(self, oracle):
        self.oracle, self.calls, self.at = oracle, 0, None

    def __call__(self, positions):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.oracle(positions)


def test_ctrl_c_keeps_what_is_drawn(interruptible):
    simulation, energy = interruptible
    trained = boltzmann_sampler(simulation, max_force_evaluations=0, progress=False)
    energy.at = energy.calls + 300
    with pytest.warns(UserWarning, match="interrupted: 256 of 2000 structures are kept"):
        ensemble = trained.sample(2000, progress=False)
    assert len(ensemble) == 256
    assert trained.interrupted
    assert trained.free_energy("torsion 2 0 1 3").values.shape == (60,)  # of those drawn
    energy.at = energy.calls + 5
    with pytest.raises(KeyboardInterrupt):  # there is nothing to keep
        trained.sample(2000, progress=False)


@pytest.mark.parametrize("at", [30, 300, 1000])
@pytest.mark.parametrize("method", ["conditional", "minima", "latent"])
def test_ctrl_c_at_any_time_leaves_a_training_that_goes_on(interruptible, tmp_path, method, at):
    """In a search, too, which keeps Ctrl-C to itself."""
    simulation, energy = interruptible
    options = {"method": method, "checkpoint": tmp_path / "run.pt", "progress": False}
    boltzmann_sampler(simulation, max_force_evaluations=0, **options)
    energy.at = energy.calls * 2 + at  # a second time for the method that is made again
    with pytest.warns(UserWarning, match="interrupted after"):
        stopped = boltzmann_sampler(simulation, max_force_evaluations=1500, **options)
    assert energy.calls == energy.at
    ensemble = stopped.sample(200, progress=False)
    assert np.isfinite(ensemble.log_weights).any()
    resumed = boltzmann_sampler(simulation, max_force_evaluations=0, **options)
    again = [s.method.sample(5, torch.Generator().manual_seed(0)) for s in (stopped, resumed)]
    torch.testing.assert_close(*again)


def test_configurations_of_another_molecule_are_refused():
    with pytest.raises(ValueError, match=r"\(m, 3, 3\)"):
        sampler(max_force_evaluations=0).check(np.zeros((5, 4, 3)))


def test_torsions_have_to_be_named_where_there_are_none():
    trained = sampler(max_force_evaluations=0)
    with pytest.raises(ValueError, match="0 torsions"):
        trained.free_energy()
    trained.sample(200, progress=False)
    profile = trained.free_energy("distance 0 1", bins=10)
    assert profile.values.min() == 0


@pytest.mark.parametrize(
    ("scale", "count", "match"),
    [(1.0, 5, "too few"), (np.nan, 30, "not finite")],
)
def test_configurations_that_tell_nothing_are_refused_before_drawing(scale, count, match):
    trained = sampler(max_force_evaluations=0)
    before = trained.evaluations
    with pytest.raises(ValueError, match=match):
        trained.sample(10, configurations=scale * exact_configurations(count, 4.0))
    assert trained.evaluations == before
