"""The compiled core reads what OpenMM's own Python methods tell, number by number."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import compiled
from openmm_reparam.potentials.bonded import bonded_parameters
from openmm_reparam.potentials.potential import Potential, constraints_of
from openmm_reparam.prepare.peptides import peptide


@pytest.fixture(scope="module")
def system():
    return peptide("ACDEFG", solvent="tip3p").system


def bare(parameters):
    return [getattr(p, "_value", p) for p in parameters]


def force_of(system, kind):
    return next(force for force in system.getForces() if isinstance(force, kind))


def test_particles_and_constraints(system):
    masses, sites = compiled.particles(compiled.address(system))
    count = system.getNumParticles()
    assert masses.tolist() == [system.getParticleMass(i)._value for i in range(count)]
    assert not sites.any()
    pairs, distances = constraints_of(system)
    known = [bare(system.getConstraintParameters(k)) for k in range(system.getNumConstraints())]
    assert len(known) > 100
    assert np.column_stack([pairs, distances]).tolist() == known


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (mm.HarmonicBondForce, "Bond"),
        (mm.HarmonicAngleForce, "Angle"),
        (mm.PeriodicTorsionForce, "Torsion"),
    ],
)
def test_bonded_parameters(system, kind, name):
    force = force_of(system, kind)
    count = getattr(force, f"getNum{name}s")()
    known = [bare(getattr(force, f"get{name}Parameters")(k)) for k in range(count)]
    assert len(known) > 10
    assert np.column_stack(bonded_parameters(force)).tolist() == known


def test_ryckaert_bellemans_torsions():
    force = mm.RBTorsionForce()
    force.addTorsion(4, 3, 2, 1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    atoms, parameters = bonded_parameters(force)
    assert atoms.tolist() == [[4, 3, 2, 1]]
    assert parameters.tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]


def test_a_force_without_bonded_terms_is_refused():
    with pytest.raises(TypeError, match="NonbondedForce"):
        bonded_parameters(mm.NonbondedForce())


def test_nonbonded_parameters_with_offsets():
    force = mm.NonbondedForce()
    for i in range(4):
        force.addParticle(0.1 * i, 0.2 + i, 0.3 + i)
    force.addException(0, 2, 0.5, 0.6, 0.7)
    force.addGlobalParameter("scale", 2.0)
    force.addParticleParameterOffset("scale", 1, 0.01, 0.02, 0.03)
    force.addExceptionParameterOffset("scale", 0, 1.0, 2.0, 3.0)
    particles, pairs, exceptions = compiled.nonbonded(compiled.address(force), {"scale": 3.0})
    np.testing.assert_allclose(particles[1], [0.1 + 0.03, 1.2 + 0.06, 1.3 + 0.09])
    np.testing.assert_allclose(particles[2], [0.2, 2.2, 2.3])
    assert pairs.tolist() == [[0, 2]]
    np.testing.assert_allclose(exceptions, [[3.5, 6.6, 9.7]])


def test_exclusions():
    force = mm.CustomNonbondedForce("r")
    assert compiled.exclusions(compiled.address(force)).shape == (0, 2)
    force.addExclusion(3, 1)
    assert compiled.exclusions(compiled.address(force)).tolist() == [[3, 1]]


def test_carriers_of_virtual_sites_are_their_parents_that_move():
    system = mm.System()
    for mass in (1.0, 0.0, 0.0, 16.0):
        system.addParticle(mass)
    system.setVirtualSite(1, mm.TwoParticleAverageSite(0, 2, 0.5, 0.5))
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    assert Potential(context).carriers == {1: [0]}


def test_reading_leaks_nothing(system):
    force = force_of(system, mm.NonbondedForce)

    def resident():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    def read(times):
        for _ in range(times):
            compiled.nonbonded(compiled.address(force), {})
            constraints_of(system)

    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    read(200)
    before = resident()
    read(1000)
    size = compiled.nonbonded(compiled.address(force), {})[0].nbytes
    assert resident() - before < 100 * size


def test_without_the_core_the_message_says_what_to_do():
    code = (
        "import sys; sys.modules['openmm_reparam._core'] = None\n"
        "try:\n    import openmm_reparam.potentials.potential\n"
        "except ImportError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install ." in told.stdout
    assert "compiler" in told.stdout
