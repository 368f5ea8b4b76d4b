"""The one call: a method of one's own on a molecule whose partition function is known."""

import math

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit
from scipy import integrate

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.sampling.method import TrainingStep
from openmm_reparam.sampling.sampler import boltzmann_sampler

BOND, ANGLE = (0.1, 2e4), (1.8, 300.0)
ROUNDS = 80
BARRIER = 15.0  # kJ/mol, half of the whole


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


def harmonic_peroxide():
    """Hydrogen peroxide on harmonic springs, with a torsion."""
    topology = app.Topology()
    residue = topology.addResidue("PER", topology.addChain())
    elements = [app.element.oxygen] * 2 + [app.element.hydrogen] * 2
    atoms = [topology.addAtom(f"{e.symbol}{k}", e, residue) for k, e in enumerate(elements)]
    system = mm.System()
    bonds, angles, torsions = (
        mm.HarmonicBondForce(),
        mm.HarmonicAngleForce(),
        mm.PeriodicTorsionForce(),
    )
    for element in elements:
        system.addParticle(element.mass)
    for i, j, length in ((0, 1, 0.145), (0, 2, 0.1), (1, 3, 0.1)):
        topology.addBond(atoms[i], atoms[j])
        bonds.addBond(i, j, length, BOND[1])
    for i, j, k in ((2, 0, 1), (0, 1, 3)):
        angles.addAngle(i, j, k, *ANGLE)
    torsions.addTorsion(2, 0, 1, 3, 1, 0.0, BARRIER)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    positions = [[0, 0, 0], [0.145, 0, 0], [-0.02, 0.097, 0], [0.165, -0.09, 0.04]]
    return MolecularSystem("peroxide", topology, system, np.array(positions) * unit.nanometer)


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
        ({"max_force_evaluations": -1}, "max_force_evaluations"),
        ({"seed": "one"}, "seed"),
    ],
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        sampler(**options)


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
