"""A real Ctrl-C, wherever in a run it arrives, leaves the Context as it was."""

import os
import signal
import subprocess
import sys

import pytest

# A mid-size peptide; a line after some iterations, then as many as it takes for the signal to come.
PROGRAM = """
import sys
import numpy as np
import openmm as mm
from openmm_reparam import minimize_reparam
from openmm_reparam.prepare.peptides import peptide

constraints = {"none": None, "HBonds": "HBonds"}[sys.argv[1]]
molecule = peptide("NLYIQWLKDGG", constraints=constraints)
simulation = molecule.simulation("Reference")
context = simulation.context
context.setVelocitiesToTemperature(300, 1)


def held():
    state = context.getState(positions=True, velocities=True)
    arrays = (state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True))
    return [array._value.tobytes() for array in arrays]


class Telling(mm.MinimizationReporter):
    def report(self, iteration, x, grad, args):
        if iteration == self.when:
            print("inside", flush=True)
        return False


before = held()
for when in (0, 3, 12):
    reporter = Telling()
    reporter.when = when
    try:
        minimize_reparam(simulation, 1e-9, reporter=reporter)
        print("was not interrupted", flush=True)
    except KeyboardInterrupt:
        print("kept" if held() == before else "changed", flush=True)
print(minimize_reparam(simulation, 1000).converged)
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as POSIX does")
@pytest.mark.parametrize("constraints", [pytest.param("none", marks=pytest.mark.slow), "HBonds"])
def test_ctrl_c_leaves_the_context_as_it_was(constraints):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, constraints],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background of a script ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    told = []
    for line in process.stdout:
        told.append(line.strip())
        if told[-1] == "inside":
            os.kill(process.pid, signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait() == 0, errors
    assert told == 3 * ["inside", "kept"] + ["True"]
