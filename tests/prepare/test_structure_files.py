"""From files to Systems: what is repaired, what is refused, and in which words."""

import random
import urllib.error
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.structure_files import fetch_pdb, prepare_file
from openmm_reparam.structure.selections import is_water


def energy(molecule, platform="Reference"):
    context = molecule.simulation(platform, openmm.VerletIntegrator(0.001)).context
    return context.getState(energy=True).getPotentialEnergy()._value


def n_waters(topology):
    return sum(is_water(residue) for residue in topology.residues())


def write(path, molecule):
    """Write a molecule as PDB and return the path."""
    with path.open("w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    return path


@pytest.mark.parametrize(
    ("structure", "n_atoms", "repairs"),
    [
        ("enkephalin", 75, ()),
        ("villin", 596, ()),
        ("crystal", 252, ("removed 8 HOH", "added 125 hydrogens")),
    ],
)
def test_structures_are_kept_and_completed(request, structure, n_atoms, repairs):
    path = Path(request.getfixturevalue(structure))
    molecule = prepare_file(path)
    assert molecule.topology.getNumAtoms() == n_atoms
    assert molecule.repairs == repairs
    assert molecule.name == path.stem
    assert energy(molecule) == pytest.approx(energy(molecule, "CPU"), abs=0.5)
    kept = app.PDBFile(str(path))
    names = [(a.residue.id, a.name) for a in molecule.topology.atoms()]
    for atom, position in zip(kept.topology.atoms(), kept.positions, strict=True):
        if not is_water(atom.residue):
            index = names.index((atom.residue.id, atom.name))
            assert np.allclose(molecule.positions._value[index], position._value, atol=1e-5)


def test_crystal_waters_stay_where_asked(crystal):
    wet = prepare_file(crystal, solvent="tip3p", keep_water=True, padding=0.5, cutoff=0.7)
    assert n_waters(wet.topology) > 100  # the unit cell's 8 do not count as a solvated box
    assert "removed 8 HOH" not in wet.repairs
    with pytest.raises(ValueError, match="keep_water"):
        prepare_file(crystal, keep_water=True)


def test_preparation_is_reproducible(crystal):
    random.seed(1)
    first = prepare_file(crystal)
    random.seed(2)
    again = prepare_file(crystal)
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
    x = np.array(repaired.positions._value)
    end = {a.name: x[a.index] for a in repaired.topology.atoms() if a.residue.name == "LYS"}
    arms = [end[name] - end["C"] for name in ("O", "OXT", "CA")]
    arms = [arm / np.linalg.norm(arm) for arm in arms]
    angles = [np.degrees(np.arccos(arms[i] @ arms[j])) for i, j in ((0, 1), (1, 2))]
    assert angles == pytest.approx([120, 120], abs=8)
    assert np.linalg.norm(end["OXT"] - end["C"]) == pytest.approx(0.125, abs=0.002)


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


def test_the_gap_of_an_entry_is_refused(entries):
    with pytest.raises(ValueError, match="GLN 137 and MET 154 of chain A.*build_missing_residues"):
        prepare_file(entries / "1BHL.pdb")


def test_gap_is_refused_or_built(villin, tmp_path):
    lines = villin.read_text().splitlines()
    path = tmp_path / "gap.pdb"
    path.write_text(
        "\n".join(
            line
            for line in lines
            if not (line.startswith("ATOM") and line[22:26].strip() in ("51", "52"))
        )
    )
    with pytest.raises(ValueError, match=r"VAL 50 and MET 53 of chain A.*build_missing_residues"):
        prepare_file(path)
    built = prepare_file(path, build_missing_residues=True)
    assert "built the missing residues PHE-GLY" in built.repairs
    assert built.topology.getNumAtoms() == 596


def test_solvated_file_keeps_its_box_where_asked(tmp_path, solvated):
    path = write(tmp_path / "box.pdb", solvated)
    box = prepare_file(path, solvent="tip3p", keep_water=True, keep_heterogens=True, cutoff=0.7)
    assert box.topology.getNumAtoms() == solvated.topology.getNumAtoms()
    assert box.repairs == ()
    dry = prepare_file(path)
    assert [line.split()[0] for line in dry.repairs] == ["removed", "removed"]
    # AGK has a charge of +1, and its chloride is a heterogen.
    charged = prepare_file(path, solvent="tip3p", keep_water=True, cutoff=0.7)
    assert any("net charge of +1" in line for line in charged.repairs)


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


def test_a_ca_trace_is_refused_with_advice_that_fits(tmp_path, molecule):
    path = write(tmp_path / "trace.pdb", molecule)
    lines = path.read_text().splitlines()
    trace = [line for line in lines if line[12:16].strip() == "CA"]
    path.write_text("\n".join([*trace, "END"]))
    for keep_heterogens in (False, True):
        with pytest.raises(ValueError, match="CA atoms of 3 of its 3 amino acids.*PULCHRA"):
            prepare_file(path, keep_heterogens=keep_heterogens)
    # The backbone alone is enough: side chains are added.
    backbone = [line for line in lines if line[12:16].strip() in ("N", "CA", "C", "O")]
    path.write_text("\n".join([*backbone, "END"]))
    assert prepare_file(path).topology.getNumAtoms() == molecule.topology.getNumAtoms()


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


def test_fetch_reads_what_arrives(monkeypatch, villin):
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: villin.open("rb"))
    assert fetch_pdb("1VII").topology.getNumAtoms() == 596
