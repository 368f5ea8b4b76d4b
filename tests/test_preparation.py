"""From files to Systems: what is repaired, what is refused, and in which words."""

import random
import urllib.error

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_reparam import preparation
from openmm_reparam.preparation import (
    SOLVENTS,
    build_system,
    fetch_pdb,
    is_water,
    prepare_file,
    restrain_heavy_atoms,
)
from openmm_reparam.testsystems import lennard_jones_cluster, peptide


@pytest.fixture(scope="module")
def molecule():
    return peptide("AGK")


@pytest.fixture(scope="module")
def solvated(molecule):
    return build_system(
        molecule.topology, molecule.positions, solvent="tip3p", padding=0.8, cutoff=0.7
    )


def energy(molecule, platform="Reference"):
    context = molecule.simulation(platform, openmm.VerletIntegrator(0.001)).context
    return context.getState(energy=True).getPotentialEnergy()._value


def force_names(molecule):
    return {force.getName() for force in molecule.system.getForces()}


def n_waters(topology):
    return sum(is_water(residue) for residue in topology.residues())


def write(path, molecule):
    """Write a molecule as PDB and return the path."""
    with path.open("w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    return path


# ---------------------------------------------------------------- Systems


@pytest.mark.parametrize("platform", ["Reference", "CPU", None])
def test_simulation_has_the_positions(molecule, platform):
    simulation = molecule.simulation(platform)
    if platform is not None:
        assert simulation.context.getPlatform().getName() == platform
    x = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    assert np.allclose(x._value, molecule.positions._value, atol=1e-6)


def test_simulation_takes_an_integrator_and_threads(molecule):
    integrator = openmm.VerletIntegrator(0.001)
    simulation = molecule.simulation("CPU", integrator, threads=1)
    platform = simulation.context.getPlatform()
    assert simulation.integrator is integrator
    assert platform.getPropertyValue(simulation.context, "Threads") == "1"


def test_unknown_platform_lists_those_there(molecule):
    with pytest.raises(ValueError, match="'GPU'.*Reference, CPU"):
        molecule.simulation("GPU")
    with pytest.raises(ValueError, match="threads"):
        molecule.simulation("Reference", threads=2)
    with pytest.raises(ValueError, match="threads"):
        molecule.simulation("CPU", threads=0)


@pytest.mark.parametrize("solvent", SOLVENTS[:3])
def test_vacuum_and_implicit_solvent_are_free_of_box_and_constraints(molecule, solvent):
    built = build_system(molecule.topology, molecule.positions, solvent=solvent)
    assert not built.system.usesPeriodicBoundaryConditions()
    assert built.system.getNumConstraints() == 0
    assert ("CustomGBForce" in force_names(built)) == (solvent != "vacuum")
    assert np.isfinite(energy(built))


def test_water_box_is_neutral_periodic_and_constrained(solvated):
    system = solvated.system
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charge = sum(
        nonbonded.getParticleParameters(i)[0]._value for i in range(system.getNumParticles())
    )
    assert charge == pytest.approx(0.0, abs=1e-6)
    assert nonbonded.getNonbondedMethod() == openmm.NonbondedForce.PME
    assert nonbonded.getCutoffDistance()._value == 0.7
    hydrogens = sum(
        a.element is app.element.hydrogen and not is_water(a.residue)
        for a in solvated.topology.atoms()
    )
    assert system.getNumConstraints() == hydrogens + 3 * n_waters(solvated.topology)


def test_constraints_by_name_constant_or_none(molecule):
    def count(constraints):
        built = build_system(molecule.topology, molecule.positions, constraints=constraints)
        return built.system.getNumConstraints()

    hydrogens = sum(a.element is app.element.hydrogen for a in molecule.topology.atoms())
    assert count("auto") == count(None) == count("none") == 0
    assert count("HBonds") == count("hbonds") == count(app.HBonds) == hydrogens
    assert count("AllBonds") == molecule.topology.getNumBonds()
    with pytest.raises(ValueError, match="HBonds"):
        count("bonds")


def test_water_box_can_be_flexible(solvated):
    flexible = build_system(
        solvated.topology,
        solvated.positions,
        solvent="tip3p",
        constraints=None,
        rigid_water=False,
        cutoff=0.7,
    )
    assert flexible.system.getNumConstraints() == 0


def test_box_full_of_water_gets_no_more(solvated):
    again = build_system(solvated.topology, solvated.positions, solvent="tip3p", cutoff=0.7)
    assert again.topology.getNumAtoms() == solvated.topology.getNumAtoms()
    box = solvated.topology.getPeriodicBoxVectors()
    assert again.topology.getPeriodicBoxVectors() == box
    assert np.array_equal(again.positions._value, solvated.positions._value)


def test_vacuum_drops_water_and_ions_and_leaves_the_input_alone(solvated, molecule):
    n_before = solvated.topology.getNumAtoms()
    dry = build_system(solvated.topology, solvated.positions)
    assert dry.topology.getNumAtoms() == molecule.topology.getNumAtoms()
    assert dry.topology.getPeriodicBoxVectors() is None
    assert f"removed {n_waters(solvated.topology)} HOH" in dry.repairs
    assert solvated.topology.getNumAtoms() == n_before
    assert solvated.topology.getPeriodicBoxVectors() is not None
    assert energy(dry) == pytest.approx(energy(molecule), rel=1e-6)


def test_solvation_is_reproducible_and_leaves_random_alone(molecule):
    random.seed(3)
    state = random.getstate()
    boxes = [
        build_system(
            molecule.topology, molecule.positions, solvent="tip3p", padding=0.6, cutoff=0.5
        )
        for _ in range(2)
    ]
    assert random.getstate() == state
    assert np.array_equal(boxes[0].positions._value, boxes[1].positions._value)


@pytest.mark.parametrize(
    ("file", "water"),
    [
        ("amber14-all.xml", "amber14/tip3p.xml"),
        ("amber14/protein.ff14SB.xml", "amber14/tip3p.xml"),
        ("amber19-all.xml", "amber19/tip3p.xml"),
        ("charmm36.xml", "charmm36/water.xml"),
        ("charmm36_2024.xml", "charmm36_2024/water.xml"),
        ("amber99sb.xml", "tip3p.xml"),
    ],
)
def test_each_family_has_its_water(file, water):
    assert preparation._tip3p_file(file) == water
    app.ForceField(water)


def test_own_force_field_file_and_own_water_file(tmp_path):
    path = tmp_path / "mine.xml"
    path.write_text('<ForceField><Include file="amber14-all.xml"/></ForceField>')
    assert energy(peptide("AG", forcefield=str(path))) == energy(peptide("AG"))
    wet = peptide(
        "AG", forcefield=[str(path), "amber14/spce.xml"], solvent="tip3p", padding=0.6, cutoff=0.5
    )
    assert n_waters(wet.topology) > 0
    with pytest.raises(ValueError, match=r"mine\.xml"):
        peptide("AG", forcefield=str(path), solvent="tip3p")


def test_bad_choices_are_refused(molecule):
    def build(**options):
        return build_system(molecule.topology, molecule.positions, **options)

    with pytest.raises(ValueError, match="vacuum, gbn2, obc2, tip3p"):
        build(solvent="water")
    with pytest.raises(ValueError, match=r"nowhere\.xml"):
        build(forcefield="nowhere.xml")
    with pytest.raises(ValueError, match="no file"):
        build(forcefield=[])
    with pytest.raises(TypeError, match="padding"):
        build(padding=1 * unit.kelvin)
    with pytest.raises(ValueError, match="cutoff"):
        build(cutoff=-1.0)
    with pytest.raises(ValueError, match="positions"):
        build_system(molecule.topology, np.zeros((3, 3)))


def test_missing_template_names_residue_and_remedy(molecule):
    modeller = app.Modeller(molecule.topology, molecule.positions)
    modeller.delete([a for a in molecule.topology.atoms() if a.element is app.element.hydrogen])
    with pytest.raises(ValueError, match=r"chain A, ALA 1.*prepare_file"):
        build_system(modeller.topology, modeller.positions)
    cluster = lennard_jones_cluster(3)
    with pytest.raises(ValueError, match="only water and ions"):
        build_system(cluster.topology, cluster.positions)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("code", "n_atoms", "repairs"),
    [
        ("2JOF", 284, ()),
        ("1PLW", 75, ()),
        ("2WXC", 711, ()),
        ("5AWL", 166, ("removed 12 HOH", "added 73 hydrogens")),
    ],
)
def test_entries_of_the_protein_data_bank(pdb_folder, code, n_atoms, repairs):
    molecule = prepare_file(pdb_folder / f"{code}.pdb")
    assert molecule.topology.getNumAtoms() == n_atoms
    assert molecule.repairs == repairs
    assert molecule.name == code
    assert energy(molecule) == pytest.approx(energy(molecule, "CPU"), abs=0.5)
    kept = app.PDBFile(str(pdb_folder / f"{code}.pdb"))
    names = [(a.residue.id, a.name) for a in molecule.topology.atoms()]
    for atom, position in zip(kept.topology.atoms(), kept.positions, strict=True):
        if not is_water(atom.residue):
            index = names.index((atom.residue.id, atom.name))
            assert np.allclose(molecule.positions._value[index], position._value, atol=1e-5)


def test_crystal_waters_stay_where_asked(pdb_folder):
    wet = prepare_file(
        pdb_folder / "5AWL.pdb", solvent="tip3p", keep_water=True, padding=0.5, cutoff=0.7
    )
    assert n_waters(wet.topology) > 100  # the unit cell's 12 do not count as a solvated box
    assert "removed 12 HOH" not in wet.repairs
    with pytest.raises(ValueError, match="keep_water"):
        prepare_file(pdb_folder / "5AWL.pdb", keep_water=True)


def test_preparation_is_reproducible(pdb_folder):
    random.seed(1)
    first = prepare_file(pdb_folder / "5AWL.pdb")
    random.seed(2)
    again = prepare_file(pdb_folder / "5AWL.pdb")
    assert np.array_equal(first.positions._value, again.positions._value)


@pytest.mark.parametrize("ending", [".cif", ".mmcif", ".ent"])
def test_other_endings(tmp_path, molecule, ending):
    path = tmp_path / f"model{ending}"
    writer = app.PDBFile if ending == ".ent" else app.PDBxFile
    with path.open("w") as file:
        writer.writeFile(molecule.topology, molecule.positions, file)
    read = prepare_file(path)
    assert read.name == "model"
    assert read.repairs == ()
    assert np.allclose(read.positions._value, molecule.positions._value, atol=1e-4)


def test_missing_atoms_are_added(tmp_path, molecule):
    path = write(tmp_path / "model.pdb", molecule)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line[12:16].strip() not in ("CE", "OXT")))
    repaired = prepare_file(path)
    assert "added 2 heavy atoms to LYS 3" in repaired.repairs
    assert repaired.topology.getNumAtoms() == molecule.topology.getNumAtoms()


def test_nonstandard_residue_is_replaced(tmp_path):
    path = write(tmp_path / "model.pdb", peptide("AMA"))
    text = path.read_text().replace("MET", "MSE").replace(" SD ", "SE  ").replace("  S  ", " SE  ")
    path.write_text(text)
    repaired = prepare_file(path)
    assert "replaced MSE 2 by MET" in repaired.repairs
    assert [r.name for r in repaired.topology.residues()] == ["ALA", "MET", "ALA"]


def test_hydrogens_the_force_field_cannot_use_are_replaced(tmp_path, molecule):
    path = write(tmp_path / "model.pdb", molecule)
    lines = path.read_text().splitlines()
    extra = next(line for line in lines if line[12:16].strip() == "CB")
    extra = extra.replace(" CB ", " HXX").replace("           C", "           H")
    path.write_text("\n".join([*lines[:8], extra, *lines[8:]]))
    repaired = prepare_file(path)
    assert any("has no place for" in line for line in repaired.repairs)
    assert repaired.topology.getNumAtoms() == molecule.topology.getNumAtoms()


def test_caps_are_kept(tmp_path):
    path = write(tmp_path / "model.pdb", peptide("AAA"))
    renamed = {("1", "CA"): "CH3", ("1", "C"): "C", ("1", "O"): "O", ("3", "N"): "N"}
    renamed |= {("3", "CA"): "C"} | {("2", name): name for name in ("N", "CA", "C", "O", "CB")}
    lines = []
    for line in path.read_text().splitlines():
        name = renamed.get((line[22:26].strip(), line[12:16].strip()))
        if line.startswith("ATOM") and name is not None:
            residue = {"1": "ACE", "2": "ALA", "3": "NME"}[line[22:26].strip()]
            lines.append(f"{line[:12]} {name:<3} {residue}{line[20:]}")
    path.write_text("\n".join(lines))
    capped = prepare_file(path)
    assert [r.name for r in capped.topology.residues()] == ["ACE", "ALA", "NME"]
    assert capped.topology.getNumAtoms() == 22


def test_only_the_first_model_is_read(tmp_path, molecule):
    body = write(tmp_path / "one.pdb", molecule).read_text()
    atoms = "\n".join(line for line in body.splitlines() if line.startswith(("ATOM", "TER")))
    path = tmp_path / "two.pdb"
    path.write_text(f"MODEL        1\n{atoms}\nENDMDL\nMODEL        2\n{atoms}\nENDMDL\nEND\n")
    read = prepare_file(path)
    assert read.repairs[0] == "used the first of 2 models"
    assert read.topology.getNumAtoms() == molecule.topology.getNumAtoms()


def test_gap_is_refused_or_built(pdb_folder, tmp_path):
    lines = (pdb_folder / "5AWL.pdb").read_text().splitlines()
    path = tmp_path / "gap.pdb"
    path.write_text(
        "\n".join(
            line
            for line in lines
            if not (line.startswith("ATOM") and line[22:26].strip() in ("5", "6"))
        )
    )
    with pytest.raises(ValueError, match=r"PRO 4 and GLY 7 of chain A.*build_missing_residues"):
        prepare_file(path)
    built = prepare_file(path, build_missing_residues=True)
    assert "built the missing residues GLU-THR" in built.repairs
    assert built.topology.getNumAtoms() == 166


def test_solvated_file_keeps_its_box_where_asked(tmp_path, solvated):
    path = write(tmp_path / "box.pdb", solvated)
    box = prepare_file(path, solvent="tip3p", keep_water=True, keep_heterogens=True, cutoff=0.7)
    assert box.topology.getNumAtoms() == solvated.topology.getNumAtoms()
    assert box.repairs == ()
    dry = prepare_file(path)
    assert [line.split()[0] for line in dry.repairs] == ["removed", "removed"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.pdb", ""),
        ("words.pdb", "no atoms here\n"),
        ("words.cif", "no atoms here\n"),
        ("broken.pdb", "ATOM      1  CA  ALA A   1      what   1.0     1.0\n"),
        ("model.txt", "text"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=name):
        prepare_file(path)


def test_missing_file_and_missing_protein(tmp_path, solvated):
    with pytest.raises(FileNotFoundError, match=r"gone\.pdb"):
        prepare_file(tmp_path / "gone.pdb")
    modeller = app.Modeller(solvated.topology, solvated.positions)
    modeller.delete([r for r in solvated.topology.residues() if not is_water(r)])
    path = tmp_path / "water.pdb"
    with path.open("w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    with pytest.raises(ValueError, match="no protein"):
        prepare_file(path)


# ---------------------------------------------------------------- restraints


def test_restraint_energy_is_half_k_d_squared(molecule):
    built = build_system(molecule.topology, molecule.positions)
    force = restrain_heavy_atoms(built.system, built.topology, built.positions, 500.0)
    force.setForceGroup(5)
    heavy = [a for a in built.topology.atoms() if a.element is not app.element.hydrogen]
    assert force.getNumParticles() == len(heavy)
    context = built.simulation("Reference").context
    state = context.getState(energy=True, forces=True, groups={5})
    assert state.getPotentialEnergy()._value == 0.0
    assert np.isfinite(state.getForces(asNumpy=True)._value).all()

    shift = np.array([0.1, -0.2, 0.2])
    context.setPositions(built.positions._value + shift)
    moved = context.getState(energy=True, groups={5}).getPotentialEnergy()._value
    assert moved == pytest.approx(0.5 * 500.0 * 0.09 * len(heavy))
    context.setParameter("restraint_k", 100.0)
    softer = context.getState(energy=True, groups={5}).getPotentialEnergy()._value
    assert softer == pytest.approx(moved / 5)


def test_restraint_default_is_ten_kilocalories_per_square_angstrom(molecule):
    built = build_system(molecule.topology, molecule.positions)
    force = restrain_heavy_atoms(built.system, built.topology, built.positions)
    assert force.getGlobalParameterDefaultValue(0) == pytest.approx(4184.0)


def test_restraint_in_a_box_holds_to_the_nearest_image_and_spares_water(molecule, solvated):
    system = openmm.XmlSerializer.clone(solvated.system)
    force = restrain_heavy_atoms(system, solvated.topology, solvated.positions)
    force.setForceGroup(5)
    heavy = [a for a in molecule.topology.atoms() if a.element is not app.element.hydrogen]
    assert force.getNumParticles() == len(heavy)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    box = np.diag(solvated.topology.getPeriodicBoxVectors()._value)
    context.setPositions(solvated.positions._value + box)
    state = context.getState(energy=True, forces=True, groups={5})
    assert state.getPotentialEnergy()._value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(state.getForces(asNumpy=True)._value).all()


def test_bad_restraints_are_refused(molecule):
    built = build_system(molecule.topology, molecule.positions)
    with pytest.raises(TypeError, match="force_constant"):
        restrain_heavy_atoms(built.system, built.topology, built.positions, 1 * unit.kelvin)
    with pytest.raises(ValueError, match="negative"):
        restrain_heavy_atoms(built.system, built.topology, built.positions, -1.0)
    with pytest.raises(ValueError, match="particles"):
        restrain_heavy_atoms(openmm.System(), built.topology, built.positions)
    argon = lennard_jones_cluster(3)
    with pytest.raises(ValueError, match="no heavy atom"):
        restrain_heavy_atoms(argon.system, argon.topology, argon.positions)


# ---------------------------------------------------------------- downloads


def test_fetch_refuses_what_is_no_code():
    for code in ("JOF2", "2JO", "2JOFF", 2):
        with pytest.raises(ValueError, match="no PDB code"):
            fetch_pdb(code)


def test_fetch_says_when_there_is_no_network_or_no_entry(monkeypatch):
    def unreachable(url, timeout):
        raise urllib.error.URLError("no route")

    def unknown(url, timeout):
        raise urllib.error.HTTPError(url, 404, "Not Found", None, None)

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(ConnectionError, match="2JOF.*no route.*pass its path"):
        fetch_pdb("2jof")
    monkeypatch.setattr("urllib.request.urlopen", unknown)
    with pytest.raises(ValueError, match="has no PDB file of 9ZZZ"):
        fetch_pdb("9ZZZ")


def test_fetch_reads_what_arrives(monkeypatch, pdb_folder):
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda url, timeout: (pdb_folder / "1PLW.pdb").open("rb")
    )
    assert fetch_pdb("1PLW").topology.getNumAtoms() == 75
