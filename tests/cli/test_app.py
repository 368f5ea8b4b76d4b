"""The command line, run for real: files in, files and exit codes out."""

import json
import os
import re
import subprocess
import sys

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_reparam.cli import fold, modes
from openmm_reparam.cli.app import main
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.sequences import SEQUENCES
from openmm_reparam.prepare.system_builder import build_system


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def alanines():
    return peptide("AAA")


COMMANDS = (
    *(("minimize",), ("relax",), ("fold",), ("modes",), ("sample",), ("doctor",)),
    *(("golf", "train"), ("golf", "relax"), ("minima", "show"), ("minima", "export")),
)


def write(molecule, path):
    writer = app.PDBFile if path.suffix == ".pdb" else app.PDBxFile
    with open(path, "w") as file:
        writer.writeFile(molecule.topology, molecule.positions, file)
    return path


def energy_of(path):
    """Vacuum energy of a file, every atom as it stands there."""
    reader = app.PDBFile if path.suffix == ".pdb" else app.PDBxFile
    structure = reader(str(path))
    context = build_system(structure.topology, structure.positions).simulation("Reference").context
    return context.getState(energy=True).getPotentialEnergy()._value


def is_one_line_of(error, *words):
    return error.count("\n") == 1 and all(word in error for word in words)


# minimize


def test_minimize_writes_what_it_reports(run, enkephalin, tmp_path):
    output, numbers = tmp_path / "new" / "folder" / "min.pdb", tmp_path / "min.json"
    code, out, err = run("minimize", enkephalin, "-o", output, "--json", numbers)
    assert (code, err) == (0, "")
    assert "Repairs: none" in out
    assert "MinimizationResult: converged" in out
    assert "stereochemistry: unchanged" in out
    document = json.loads(numbers.read_text())
    assert document["result"]["rms_force"] <= 10
    assert document["input"]["atoms"] == 75
    # A PDB file keeps three decimals in angstrom.
    assert energy_of(output) == pytest.approx(document["result"]["energy"], abs=1.0)


def test_minimize_reads_and_writes_mmcif(run, alanines, tmp_path):
    source, output = write(alanines, tmp_path / "aaa.cif"), tmp_path / "min.cif"
    code, out, _ = run("minimize", source, "-o", output, "--solvent", "gbn2", "--threads", 1)
    assert code == 0
    assert "gbn2" in out
    assert app.PDBxFile(str(output)).topology.getNumAtoms() == alanines.topology.getNumAtoms()


def test_restrained_heavy_atoms_stay(run, alanines, tmp_path):
    source = write(alanines, tmp_path / "aaa.pdb")
    moved = {}
    restrained = ("--restrain", "heavy", "--restraint", "1000")
    for name, options in {"free": (), "held": restrained}.items():
        output = tmp_path / f"{name}.pdb"
        code, out, _ = run("minimize", source, "-o", output, *options)
        assert code == 0
        before, after = app.PDBFile(str(source)), app.PDBFile(str(output))
        heavy = [a.index for a in before.topology.atoms() if a.element is not app.element.hydrogen]
        shift = (after.getPositions(asNumpy=True) - before.getPositions(asNumpy=True))._value
        moved[name] = np.linalg.norm(shift[heavy], axis=1).max()
    assert "Restraints: 16 heavy atoms, 1000 kcal/mol/A^2" in out
    assert moved["held"] < 0.01 < moved["free"]


def test_json_on_stdout_is_alone_there(run, enkephalin):
    code, out, err = run("minimize", enkephalin, "--json", "-", "--seed", 3)
    document = json.loads(out)
    assert code == 0
    assert "MinimizationResult: converged" in err
    assert document["command"] == "minimize"
    assert document["input"]["seed"] == document["result"]["seed"] == 3
    assert set(document["versions"]) == {"openmm_reparam", "openmm", "torch", "python"}
    assert document["result"]["history"]["energy"][-1] == pytest.approx(
        document["result"]["energy"], rel=1e-3
    )


def test_same_seed_on_one_thread_gives_the_same_numbers(run, enkephalin):
    energies = [
        json.loads(
            run("minimize", enkephalin, "--platform", "Reference", "--seed", 5, "--json", "-")[1]
        )["result"]["energy"]
        for _ in range(2)
    ]
    assert energies[0] == energies[1]


def test_compare_is_an_independent_run_of_openmm(run, enkephalin, tmp_path):
    plot = tmp_path / "energy.png"
    code, out, err = run("minimize", enkephalin, "--compare", "--plot", plot, "--json", "-")
    document = json.loads(out)
    reparam, baseline = document["result"], document["local_energy_minimizer"]
    assert code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    # A row for each iteration, and one for the structure OpenMM returned.
    assert baseline["iterations"] + 1 == len(baseline["history"]["energy"]) > 10
    assert baseline["history"]["energy"][-1] == pytest.approx(baseline["energy"], abs=0.1)
    assert baseline["converged"] == (baseline["rms_force"] <= 10)
    assert baseline["energy"] < reparam["initial_energy"]
    lower = "openmm-reparam" if reparam["energy"] < baseline["energy"] else "LocalEnergyMinimizer"
    if abs(reparam["energy"] - baseline["energy"]) > 0.1:
        assert f"{lower} reached the lower energy" in err
        assert f"{lower} was down to the final energy of" in err
    assert "lower bound" in err
    rows = {line.split("  ")[0]: line.split()[1:] for line in err.splitlines()}
    assert rows["openmm-reparam"][0] == str(reparam["force_evaluations"])
    assert rows["openmm-reparam"][2] == f"{reparam['energy']:.3f}"
    assert rows["LocalEnergyMinimizer"][:2] == [">=", str(baseline["iterations"])]
    ratio = baseline["iterations"] / reparam["force_evaluations"]
    assert f">= {ratio:.2f} x" in err


def test_not_converged_is_exit_code_1(run, enkephalin, tmp_path):
    output = tmp_path / "early.pdb"
    code, out, err = run("minimize", enkephalin, "--max-iterations", 3, "-o", output)
    assert (code, err) == (1, "")
    assert "NOT converged" in out
    assert "maxIterations = 3" in out
    assert output.exists()


# fold


def test_fold_compares_with_the_native_of_the_file(run, enkephalin, tmp_path):
    output = tmp_path / "folded.pdb"
    code, out, _ = run("fold", enkephalin, "-o", output, "--json", tmp_path / "fold.json")
    document = json.loads((tmp_path / "fold.json").read_text())
    assert code == 0
    assert "YGGFM (5 residues)" in out
    assert "in a nearby minimum, not in the fold" in out
    native, folded = mdtraj.load(enkephalin)[0], mdtraj.load(str(output))
    expected = 10 * mdtraj.rmsd(
        folded,
        native,
        atom_indices=folded.topology.select("name CA"),
        ref_atom_indices=native.topology.select("name CA"),
    )
    assert document["native"]["rmsd_angstrom"]["CA"] == pytest.approx(expected[0], abs=0.01)
    gyration = mdtraj.compute_rg(folded, np.array([a.element.mass for a in folded.topology.atoms]))
    assert document["radius_of_gyration_nm"]["end"] == pytest.approx(gyration[0], abs=1e-3)


def test_fold_never_sees_native_coordinates(run, enkephalin, tmp_path):
    """The same run with the native at hand, with a distorted one, and from the sequence alone."""
    distorted = tmp_path / "distorted.pdb"
    structure = app.PDBFile(enkephalin)
    noise = np.random.default_rng(0).normal(0, 0.1, (75, 3)) * unit.nanometer
    with open(distorted, "w") as file:
        positions = structure.getPositions(asNumpy=True) + noise
        app.PDBFile.writeFile(structure.topology, positions, file)
    energies = [
        json.loads(run("fold", target, "--platform", "Reference", "--json", "-")[1])["result"][
            "energy"
        ]
        for target in (enkephalin, distorted, "YGGFM")
    ]
    assert energies[0] == energies[1] == energies[2]


def test_fold_searches_for_deeper_minima(run, tmp_path):
    options = ("--search", "auto", "--max-force-evaluations", 1500, "--platform", "Reference")
    code, out, _ = run(
        *("fold", "GAGS", *options, "--plot", tmp_path / "s.png", "--json", tmp_path / "s.json")
    )
    document = json.loads((tmp_path / "s.json").read_text())
    assert code == 0
    assert "hops" in out
    assert "need not be the fold" in out
    assert (tmp_path / "s.png").stat().st_size > 5000
    energies = [minimum["energy"] for minimum in document["result"]["minima"]]
    assert energies == sorted(energies)
    plain = json.loads(run("fold", "GAGS", *options[4:], "--json", "-")[1])["result"]["energy"]
    assert document["result"]["energy"] <= plain
    code, _, err = run("fold", "GAGS", "--search", "auto")
    assert code != 0
    assert "--max-force-evaluations" in err
    code, _, err = run("fold", "GAGS", "--search", "deep", "--max-force-evaluations", 10)
    assert code != 0
    assert "slow-modes" in err


@pytest.mark.parametrize(
    ("solvent", "options", "words", "not_words"),
    [
        ("vacuum", (), "local minimization in vacuum", "stopped"),
        ("gbn2", (), "local minimization in implicit solvent (GBn2)", "vacuum"),
        ("gbn2", ("--max-iterations", 2), "stopped before it reached a minimum", "it ends in"),
        (
            "obc2",
            ("--search", "auto", "--max-force-evaluations", 400),
            "deepest minimum found in implicit solvent (OBC2)",
            "without water",
        ),
    ],
)
def test_the_last_words_of_fold_fit_what_was_run(run, solvent, options, words, not_words):
    out = run("fold", "GG", "--solvent", solvent, *options)[1]
    remark = out.strip().splitlines()[-1]
    assert words in remark
    assert not_words not in remark


def test_a_comparison_fits_what_was_run(run):
    searched = ("--search", "auto", "--max-force-evaluations", 400)
    for options, words in (
        ((), "first minimum that it reaches"),
        (("--max-iterations", 2), "stopped above the tolerance"),
        (searched, "went on to search for deeper minima"),
    ):
        # In double precision both meet their tolerance, whatever the threads do.
        assert words in run("fold", "GG", "--platform", "Reference", "--compare", *options)[1]


def test_a_ca_trace_is_refused_with_advice_that_fits(run, alanines, tmp_path):
    path = write(alanines, tmp_path / "trace.pdb")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*(k for k in lines if k[12:16].strip() == "CA"), "END"]))
    for command, advice in (("minimize", "PULCHRA"), ("modes", "PULCHRA"), ("fold", "one-letter")):
        code, _, err = run(command, path)
        assert code == 2
        assert is_one_line_of(err, "CA atoms of 3 of its 3 amino acids", advice)
        assert "--keep-heterogens" not in err


def test_fold_without_a_native_says_so(run):
    code, out, _ = run("fold", "GAG", "--start", "random-coil", "--solvent", "obc2")
    assert code == 0
    assert "No native structure to compare with: name one with --native FILE." in out
    assert "from a random-coil chain" in out


def test_fold_with_another_proteins_native_keeps_its_output(run, enkephalin, tmp_path):
    output = tmp_path / "folded.pdb"
    code, _, err = run("fold", "GAG", "--native", enkephalin, "-o", output)
    assert code == 2
    assert is_one_line_of(err, "differ in sequence")
    assert output.exists()


@pytest.mark.parametrize(
    ("target", "sequence"), [("2jof", "DAYAQWLKDGGPSSGRPPPS"), ("AAAA", "AAAA")]
)
def test_codes_and_sequences_are_told_apart(target, sequence):
    assert fold.resolve_target(target).sequence == sequence


@pytest.mark.parametrize("code", ["1PLW", "2JOF", "5AWL", "2WXC"])
def test_sequences_of_files_are_those_of_their_codes(tmp_path, code):
    path = write(peptide(code), tmp_path / "chain.pdb")
    assert fold.resolve_target(str(path)).sequence == fold.resolve_target(code).sequence


def test_sequences_of_experimental_structures_are_read(villin, crystal):
    target = fold.resolve_target(str(villin))
    assert target.sequence == "MLSDEDFKAVFGMTRSAFANLPLWKQQNLKKEKGLF"
    assert fold.resolve_target(str(crystal)).sequence == "GIGGYSAGERIVDIIATD"


def test_fold_refuses_a_cyclic_chain_in_words(run):
    code, _, err = run("fold", "2MGO")
    assert code == 2
    assert "disulfide" in err


def test_fold_refuses_a_file_of_two_chains(run, tmp_path, alanines):
    modeller = app.Modeller(alanines.topology, alanines.positions)
    modeller.add(alanines.topology, alanines.positions + np.full(3, 2.0) * unit.nanometer)
    with open(tmp_path / "two.pdb", "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    code, _, err = run("fold", tmp_path / "two.pdb")
    assert code == 2
    assert is_one_line_of(err, "two.pdb has 2 protein chains")


# modes


def test_modes_of_the_hessian_are_slow_nonrigid_and_animated(run, alanines, tmp_path):
    source, output = write(alanines, tmp_path / "aaa.pdb"), tmp_path / "modes.dcd"
    code, out, _ = run(
        *("modes", source, "--count", 6, "-o", output, "--plot", tmp_path / "modes.png"),
        *("--amplitude", 0.05, "--frames", 8, "--mode", 2, "--json", tmp_path / "modes.json"),
    )
    assert code == 0
    table = json.loads((tmp_path / "modes.json").read_text())["modes"]["table"]
    values = [row["eigenvalue"] for row in table]
    assert len(values) == 6
    # At a minimum without rigid motions every direction is uphill.
    assert all(0 < a <= b for a, b in zip(values, values[1:], strict=False))
    assert all(0 < row["collectivity"] <= 1 for row in table)
    assert "ALA 1" in out
    assert (tmp_path / "modes.png").stat().st_size > 10_000
    trajectory = mdtraj.load(str(output), top=str(tmp_path / "modes.pdb"))
    assert trajectory.n_frames == 8
    shift = np.linalg.norm(trajectory.xyz[2] - trajectory.xyz[0], axis=1)
    assert shift.max() == pytest.approx(0.05, abs=1e-3)
    # Neither translation nor rotation: no net displacement, no net moment.
    centred = trajectory.xyz[0] - trajectory.xyz[0].mean(axis=0)
    step = trajectory.xyz[2] - trajectory.xyz[0]
    assert np.abs(step.mean(axis=0)).max() < 1e-4
    assert np.abs(np.cross(centred, step).mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize("kind", ["coupling-graph", "backbone"])
def test_modes_of_the_coupling_graph_need_no_minimum(run, enkephalin, tmp_path, kind):
    """By today's name and by the first version's."""
    output = tmp_path / "modes.pdb"
    code, out, _ = run(
        *("modes", enkephalin, "--kind", kind, "--no-minimize", "--count", 4, "-o", output)
    )
    assert code == 0
    assert "coupling graph" in out
    assert "the bonded terms alone" in out
    assert "(kJ/mol/nm^2)^2" in out
    assert mdtraj.load(str(output)).n_frames == 20


def test_modes_say_what_they_are_of(run, alanines, tmp_path):
    source = write(alanines, tmp_path / "aaa.pdb")
    out = run("modes", source, "--max-iterations", 2, "--count", 3)[1]
    assert "which is no minimum yet" in out
    assert modes.headline("hessian", "full", True, 1).endswith(
        "at the minimum reached; 1 force evaluations:"
    )
    assert "no minimum" not in modes.negative_remark("bonded")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mode", "21"), ("--mode 21", "20 modes")),
        (("--solvent", "tip3p"), ("constrains bonds", "--kind coupling-graph")),
        (("--amplitude", "0"), ("--amplitude",)),
        (("-o", "modes.xyz"), (".pdb or .dcd",)),
        (("--kind", "torsion"), ("--kind", "'torsion'", "hessian or coupling-graph")),
    ],
)
def test_modes_refuse_bad_input(run, enkephalin, arguments, words):
    code, out, err = run("modes", enkephalin, *arguments)
    assert (code, out) == (2, "")
    assert is_one_line_of(err, *words)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("minimize", "missing.pdb"), ("there is no file missing.pdb",)),
        (("sample", "missing.pdb"), ("there is no file missing.pdb",)),
        (("golf", "train", "missing.smi", "-o", "m.pt"), ("there is no file missing.smi",)),
        (("minimize", "FILE", "--forcefield", "nope.xml"), ("nope.xml",)),
        (("minimize", "FILE", "--solvent", "steam"), ("steam", "tip3p")),
        (("minimize", "FILE", "--platform", "Warp"), ("Warp", "Reference, CPU")),
        (("minimize", "FILE", "--tolerance", "-1"), ("tolerance",)),
        (("minimize", "FILE", "--tolerance", "nan"), ("tolerance",)),
        (("minimize", "FILE", "--reparametrization", "magic"), ("magic", "gcn")),
        (("minimize", "FILE", "--keep-water"), ("--solvent tip3p",)),
        (("minimize", "FILE", "-o", "out.xyz"), ("out.xyz", ".pdb or .cif")),
        (("minimize", "FILE", "--plot", "out.docx"), ("out.docx", ".png")),
        (("minimize", "FILE", "--no-such-option"), ("--no-such-option",)),
        (("fold", "AXA"), ("'X' at position 2",)),
        (("fold", "folder/missing.pdb"), ("there is no file",)),
        (("fold", "GAG", "--native", "missing.pdb"), ("there is no file missing.pdb",)),
        (("unfold", "GAG"), ("unfold", "(openmm-reparam --help ")),
        (
            ("minimize", "FILE", "--tolernce", "1"),
            ("--tolerance", "(openmm-reparam minimize --help "),
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, enkephalin, arguments, words):
    code, _, err = run(*(enkephalin if a == "FILE" else a for a in arguments))
    assert code == 2
    assert is_one_line_of(err, "openmm-reparam: ", *words)


@pytest.mark.parametrize("command", ["minimize", "relax"])
@pytest.mark.parametrize("tolerance", ["-1", "0", "inf"])
def test_a_tolerance_out_of_reach_is_refused_before_the_preparation(
    run, enkephalin, command, tolerance
):
    code, out, err = run(command, enkephalin, "--tolerance", tolerance)
    assert (code, out) == (2, "")
    assert is_one_line_of(err, f"a tolerance of {tolerance} has to be above zero and finite")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder that refuses files, to all")
@pytest.mark.parametrize("option", ["-o", "--report", "--json"])
def test_a_folder_without_room_for_files_is_refused_before_the_run(run, enkephalin, option):
    ending = {"-o": "pdb", "--report": "html", "--json": "json"}[option]
    code, out, err = run("minimize", enkephalin, option, f"/proc/self/x.{ending}")
    assert (code, out) == (2, "")
    assert is_one_line_of(err, "no file can be written in /proc/self")


def test_two_atoms_on_one_spot_are_named(run, alanines, tmp_path):
    positions = alanines.positions._value.copy()
    names = [f"{a.name} of {a.residue.name} {a.residue.id}" for a in alanines.topology.atoms()]
    positions[20] = positions[3]
    source = tmp_path / "twins.pdb"
    with open(source, "w") as file:
        app.PDBFile.writeFile(alanines.topology, positions * unit.nanometer, file)
    code, _, err = run("minimize", source)
    assert code == 2
    assert is_one_line_of(err, "stand on one spot", names[3], names[20])


def test_coordinates_that_are_no_numbers_are_refused(run, alanines, tmp_path):
    source = write(alanines, tmp_path / "aaa.pdb")
    lines = source.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    lines[first] = lines[first][:30] + "     nan" + lines[first][38:]
    source.write_text("\n".join(lines))
    code, _, err = run("minimize", source)
    assert code == 2
    assert is_one_line_of(err, "not finite")


def test_an_interrupt_is_exit_code_130(run, enkephalin, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("openmm_reparam.prepare.restraints.prepare_file", interrupt)
    assert run("minimize", enkephalin) == (130, "", "openmm-reparam: interrupted\n")


def test_a_bug_is_named_and_its_traceback_is_there_on_demand(run, enkephalin, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("openmm_reparam.prepare.restraints.prepare_file", fail)
    monkeypatch.delenv("OPENMM_REPARAM_DEBUG", raising=False)
    code, _, err = run("minimize", enkephalin)
    assert code == 70
    assert is_one_line_of(err, "ZeroDivisionError: a bug", "OPENMM_REPARAM_DEBUG=1")
    monkeypatch.setenv("OPENMM_REPARAM_DEBUG", "1")
    assert "Traceback" in run("minimize", enkephalin)[2]


def test_help_of_fold_lists_the_codes_known_offline(run):
    code, out, _ = run("fold", "--help")
    assert code == 0
    assert all(code in out for code in SEQUENCES)


def test_help_names_what_an_option_takes(run):
    """And not its Python type, <int range> say."""
    for command in COMMANDS:
        code, out, _ = run(*command, "--help")
        assert code == 0
        assert not re.findall(r"^ +-.*<(?:str|int|float)\b.*>", out, re.MULTILINE), command


def test_help_of_a_training_says_how_many_processes_it_takes(run):
    out = " ".join(run("golf", "train", "--help")[1].split())
    assert "Processes that evaluate the genuine potential. [default: 1; x>=1]" in out


def test_runs_as_a_module():
    command = [sys.executable, "-m", "openmm_reparam.cli"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("openmm-reparam ")
    empty = subprocess.run(command, capture_output=True, text=True, check=False)
    assert empty.returncode == 2
    assert "Usage" in empty.stderr


def test_fold_tells_free_energies_of_minima(run, tmp_path):
    options = ("--search", "auto", "--max-force-evaluations", 300, "--platform", "Reference")
    numbers = tmp_path / "fold.json"
    code, out, err = run("fold", "GA", *options, "--temperature", 310, "--json", numbers)
    assert (code, err) == (0, "")
    assert "minima at 310 K, classical oscillators" in out
    found = json.loads(numbers.read_text())["harmonic_superposition"]
    free_energies = [minimum["free_energy"] for minimum in found["minima"]]
    assert free_energies == sorted(free_energies)
    assert sum(minimum["population"] for minimum in found["minima"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--temperature", 300), "add --search auto"),
        (("--temperature", 0, "--search", "auto"), "above zero"),
        (("--temperature", 300, "--search", "auto", "--solvent", "tip3p"), "a box of water"),
    ],
)
def test_a_temperature_that_cannot_be_right_is_refused(run, options, words):
    code, _, err = run("fold", "GA", *options, "--max-force-evaluations", 10)
    assert code == 2
    assert is_one_line_of(err, "--temperature", words)
