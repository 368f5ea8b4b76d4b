"""The latent example takes fewer evaluations in latents than in Cartesian coordinates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_example(name, *arguments, folder):
    """Return what an example prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_annealing_gains_with_a_pythonforce_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = run_example(
        *("latent_annealing.py", "--sequence", "AA", "--steps", "10", "--force", "python"),
        folder=tmp_path,
    )
    rows = re.findall(r"^ +\d+ K +(\S+) +(\d+) +(\S+) +(\d+)$", text, re.MULTILINE)
    assert len(rows) == 10
    cartesian, latents = (sum(int(row[k]) for row in rows) for k in (1, 3))
    assert latents < 0.7 * cartesian
    assert re.search(rf"^all +{cartesian} +{latents}$", text, re.MULTILINE)
    # Of the same minima, mostly, the latents are nearer to the bottom.
    lower = sum(float(row[2]) <= float(row[0]) + 0.05 for row in rows)
    assert lower >= 5
    before, after = (float(x) for x in re.findall(r"minimized: (\S+) kJ/mol", text))
    assert after <= before + 0.1
    saved = re.search(r"saved to .*: (\S+) kJ/mol", text)[1]
    text = run_example("load_latent.py", "latent_annealing", folder=tmp_path)
    assert f"read at {saved} kJ/mol" in text
    assert float(re.search(r"in the latents: (\S+) kJ/mol", text)[1]) < float(saved)


@pytest.mark.parametrize("name", ["latent_annealing.py", "load_latent.py"])
def test_the_examples_say_what_pythonforce_needs(name):
    assert "--force python" in (ROOT / "examples" / name).read_text().split('"""')[1]
