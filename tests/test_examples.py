"""Every example runs as a user would run it, with small settings."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from openmm import app

from openmm_reparam.prepare.peptides import peptide

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(name, *arguments, folder):
    """Return what an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def energies(text):
    """Return (initial, final) of every result printed."""
    pattern = r"initial energy: (\S+) kJ/mol\n +energy: (\S+) kJ/mol"
    return [(float(a), float(b)) for a, b in re.findall(pattern, text)]


def test_there_are_no_untested_examples():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == [
        "demo.py",
        "fold_2jof.py",
        "latent_annealing.py",
        "load_latent.py",
        "minimize_existing_script.py",
        "own_reparametrization.py",
        "sample_dipeptide.py",
        "xtb.py",
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_how_to_run_it(path):
    text = path.read_text()
    assert text.startswith('"""')
    assert f"python examples/{path.name}" in text


@pytest.mark.slow
def test_sample_dipeptide(tmp_path):
    arguments = ("--evaluations", "2000", "--samples", "500", "--steps", "3000")
    text = run_example("sample_dipeptide.py", *arguments, folder=tmp_path)
    assert "forward check on 30 configurations" in text
    assert "kJ/mol" in text
    assert "in biased dynamics" in text
    assert (tmp_path / "ramachandran.png").exists()


def test_minimize_existing_script(tmp_path):
    # Its own default, OpenMM's test.pdb, has five times as many atoms.
    molecule = peptide("AA", solvent="tip3p")
    with open(tmp_path / "my.pdb", "w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    text = run_example("minimize_existing_script.py", "my.pdb", "--steps", "10", folder=tmp_path)
    ((before, after),) = energies(text)
    assert after < before
    assert "MinimizationResult: converged" in text
    steps = [float(x) for x in re.findall(r"^10,.*,(.*)$", text, re.MULTILINE)]
    # Dynamics from a bad structure would explode within these steps.
    assert len(steps) == 1
    assert 50 < steps[0] < 400


@pytest.mark.slow
def test_demo_with_small_molecules(tmp_path):
    molecule = peptide("AA", solvent="tip3p")
    with open(tmp_path / "box.pdb", "w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    small = ("--sequence", "YGGFM", "--evaluations", "600", "--seconds", "1")
    text = run_example("demo.py", "--file", "box.pdb", *small, folder=tmp_path)
    line = r"^  (.*\S) +(\S+) kJ/mol +(\d+) evaluations +(\S+) s   "
    found = {name: (float(e), int(n)) for name, e, n, _ in re.findall(line, text, re.MULTILINE)}
    own, other = found["openmm-reparam"], found["simulation.minimizeEnergy()"]
    assert own[1] < other[1]
    assert own[0] < other[0] or "ended by itself" in text
    assert found["search"][0] < found["annealing"][0]
    # OpenMM's minimizer stops between iterations only, a line search or two too late.
    assert found["search"][1] <= 600
    assert 540 <= found["annealing"][1] <= 700
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {"energies.png", "minimized.pdb", "folded.pdb"}


def test_demo_names_the_whole_run_from_the_benchmarks():
    sys.path.insert(0, str(EXAMPLES))
    try:
        text = importlib.import_module("demo").whole_run()
    finally:
        sys.path.remove(str(EXAMPLES))
    assert re.search(r"end: \d{4} evaluations, \d+ s, -\d+ kJ/mol", text)
    assert re.search(r"tolerance after \d+ evaluations, \d+ s, at -\d+ kJ/mol", text)


@pytest.mark.slow
def test_fold_2jof_with_a_short_chain(tmp_path, enkephalin):
    text = run_example(
        *("fold_2jof.py", "--sequence", "1PLW", "--minutes", "0.1", "--native", enkephalin),
        folder=tmp_path,
    )
    wide, near, last = energies(text)
    assert wide[1] < wide[0]
    assert near[1] <= wide[1] + 1e-3
    assert last[1] <= near[1] + 1e-3
    # Of the second, the message may be that it found nothing lower.
    assert len(re.findall("stage: slow-modes: .*stopped by the reporter", text)) == 2
    assert "MinimizationResult: converged" in text
    assert len(re.findall(r"CA RMSD from .* [0-9.]+ A", text)) == 1
    written = {path.name for path in (tmp_path / "fold_2jof").iterdir()}
    assert written == {"folded.pdb", "folded.png", "energy.png", "minima.pdb"}
    models = app.PDBFile(str(tmp_path / "fold_2jof" / "minima.pdb"))
    assert 1 <= models.getNumFrames() <= 10


@pytest.mark.slow
def test_own_reparametrization(tmp_path):
    text = run_example("own_reparametrization.py", "--sequence", "YGGFM", folder=tmp_path)
    assert text.count("MinimizationResult: converged") == 2
    assert "stage: ResidueShifts:" in text
    assert "stage: residue-shifts:" in text
    assert all(after < before for before, after in energies(text))


@pytest.mark.slow
def test_latent_annealing_and_loading_it_without_this_package(tmp_path):
    pytest.importorskip("openmmtorch")
    text = run_example(
        *("latent_annealing.py", "--sequence", "AA", "--modes", "20", "--steps", "5"),
        folder=tmp_path,
    )
    before, after = (float(x) for x in re.findall(r"minimized: (\S+) kJ/mol", text))
    assert after < before + 50
    assert len(re.findall(r"^\d+,", text, re.MULTILINE)) == 10
    saved = re.search(r"saved to .*: (\S+) kJ/mol", text)[1]
    text = run_example("load_latent.py", "latent_annealing", folder=tmp_path)
    assert f"read at {saved} kJ/mol" in text
    assert float(re.search(r"in the latents: (\S+) kJ/mol", text)[1]) < float(saved)
    source = (EXAMPLES / "load_latent.py").read_text()
    assert "import openmm_reparam" not in source.split('"""')[2]


@pytest.mark.slow
def test_xtb(tmp_path):
    for library in ("rdkit", "tblite"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    options = ("--tolerance", "5", "--output", "minimum.sdf")
    text = run_example("xtb.py", *options, folder=tmp_path)
    pattern = r"^(\S+): (\S+) kJ/mol after (\d+) evaluations of xTB"
    found = {name: (float(e), int(n)) for name, e, n in re.findall(pattern, text, re.MULTILINE)}
    own, other = found["openmm-reparam"], found["LocalEnergyMinimizer"]
    assert own[0] == pytest.approx(other[0], abs=0.5)
    assert own[1] < other[1]
    assert "V2000" in (tmp_path / "minimum.sdf").read_text()
