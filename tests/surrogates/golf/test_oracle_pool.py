"""Oracles of many molecules: order, counts, failures, and processes that end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from golf_makers import harmonic

from openmm_reparam.surrogates.golf.buffer import Label, LabelFile
from openmm_reparam.surrogates.golf.collect import Request
from openmm_reparam.surrogates.golf.ledger import Ledger
from openmm_reparam.surrogates.golf.oracles import OraclePool, maker_of

AT = np.full((2, 3), 0.5)


QUESTIONS = [(2, AT), (0, AT), (1, -3 * AT), (1, AT)]


def check_answers(answers):
    assert [a.energy for a in answers if not a.message] == [3.0, 0.75, 1.5]
    assert answers[2].message == "ValueError: too far"
    assert np.array_equal(answers[3].forces, -2 * AT)


def test_answers_come_in_the_order_of_questions():
    with OraclePool(harmonic, [1.0, 2.0, 4.0]) as pool:
        check_answers(list(pool.ask(QUESTIONS)))
    assert (pool.calls, pool.failures) == (4, 1)


@pytest.mark.slow
def test_a_process_that_ends_is_one_failure():
    with OraclePool(harmonic, [1.0, 2.0, 4.0], workers=1) as pool:
        answers = list(pool.ask([(0, AT), (0, 3 * AT), *QUESTIONS]))
        assert "died" in answers[1].message
        check_answers(answers[2:])
    assert (pool.calls, pool.failures) == (6, 2)


@pytest.mark.slow
def test_an_oracle_that_hangs_is_ended_and_counted():
    """One that never gives the interpreter back, too."""
    with OraclePool(harmonic, [1.0, 2.0, 4.0], workers=1, limit=3) as pool:
        answers = list(pool.ask([(0, 30 * AT), *QUESTIONS]))
        assert answers[0].message == "it took longer than 3 s"
        check_answers(answers[1:])
    assert (pool.calls, pool.failures) == (5, 2)


KILLED = """
import multiprocessing, os, signal, sys
import numpy as np
from golf_makers import harmonic
from openmm_reparam.surrogates.golf.oracles import OraclePool
if __name__ == "__main__":
    pool = OraclePool(harmonic, [1.0], workers=1)
    print([a.energy for a in pool.ask([(0, np.zeros((2, 3)))])])
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=100
    )
    energies, children = done.stdout.splitlines()
    assert (done.returncode, energies) == (-signal.SIGKILL, "[0.0]")
    _, alive = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in children.split() if psutil.pid_exists(int(pid))], 20
    )
    assert not alive


@pytest.mark.parametrize("limit", [0, -1, np.nan, np.inf])
def test_limits_are_seconds(limit):
    with pytest.raises(ValueError, match="pass seconds"):
        OraclePool(harmonic, [1.0], limit=limit)


@pytest.mark.slow
def test_processes_that_cannot_begin_are_an_error(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import numpy as np\n"
        "from openmm_reparam.surrogates.golf.oracles import OraclePool\n"
        "def make(molecule):\n"
        "    return lambda x: (0.0, -x)\n"
        "list(OraclePool(make, [1], 1).ask([(0, np.zeros((1, 3)))]))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert "__main__" in done.stderr.splitlines()[-1]


def test_what_is_not_finite_is_a_failure():
    pool = OraclePool(lambda molecule: lambda x: (np.nan, x), [None])
    assert next(pool.ask([(0, AT)])).message == "no finite energy or forces"


@pytest.mark.parametrize("answer", [None, (None, AT), (0.0, AT[0]), (0.0, "none")])
def test_answers_of_another_kind_are_failures(answer):
    pool = OraclePool(lambda molecule: lambda x: answer, [None])
    assert next(pool.ask([(0, AT)])).forces is None
    assert pool.failures == 1


def test_names_and_functions_make_oracles():
    assert maker_of(harmonic) is harmonic
    with pytest.raises(ValueError, match="gfn2"):
        maker_of("gfn3")
    with pytest.raises(TypeError, match="function of an RDKit molecule"):
        maker_of(3)


def test_recorded_labels_are_not_asked_again(tmp_path):
    requests = [Request(0, AT), Request(0, 0.5 * AT), Request(0, 0.1 * AT)]
    with LabelFile(tmp_path / "labels", {}) as file, OraclePool(harmonic, [1.0]) as pool:
        ledger = Ledger(file, pool)
        first = list(ledger.ask("first", requests[:2]))
    with LabelFile(tmp_path / "labels", {}) as file, OraclePool(harmonic, [1.0]) as pool:
        ledger = Ledger(file, pool)
        again = list(ledger.ask("first", requests))
        assert pool.calls == 1
        assert [a.energy for a in again[:2]] == [a.energy for a in first]
        assert ledger.calls(("first",)) == 3
        assert ledger.calls(("check",)) == 0


def test_another_question_than_the_recorded_one_is_an_error():
    with LabelFile(None, {}) as file, OraclePool(harmonic, [1.0]) as pool:
        file.append(Label("first", 0, AT, 1.0, AT))
        with pytest.raises(ValueError, match="another way"):
            list(Ledger(file, pool).ask("first", [Request(0, AT + 1e-16 * AT + 1e-15)]))
