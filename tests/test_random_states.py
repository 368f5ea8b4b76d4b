"""Global random states belong to the user, whatever is imported on the way."""

import random
import subprocess
import sys
import textwrap

import numpy as np
import torch

from openmm_reparam.random_states import global_random_states_kept

# A fresh process: packages draw from these states when they are imported first.
SCRIPT = """
import random

import numpy as np
import torch
from rdkit import Chem

torch.set_num_threads(1)
from openmm_reparam import boltzmann_sampler
from openmm_reparam.golf import Golf
from openmm_reparam.prepare.ligands import complete_ligand
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.torsion_gp import TorsionGP
from openmm_reparam.surrogates.golf.network import NetworkSettings


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def sampled(method):
    simulation = peptide("A", capped=True, constraints=None).simulation("Reference")
    sampler = boltzmann_sampler(
        simulation, method=method, max_force_evaluations=800, progress=False
    )
    sampler.sample(50, progress=False)


def fitted():
    gp = TorsionGP(np.random.default_rng(0))
    for angle in np.linspace(0, 6, 25):
        gp.tell(np.array([angle]), np.cos(angle))
    gp.predict(np.zeros((1, 1)))


def relaxed():
    molecule, _ = complete_ligand(Chem.MolFromSmiles("CO"))
    golf = Golf.train(
        [molecule], "gfnff", labels=4, validation=[], progress=False,
        network=NetworkSettings(features=8, interactions=1),
    )
    golf.relax(molecule, progress=False)


methods = ("latent", "conditional", "minima")
calls = {method: lambda method=method: sampled(method) for method in methods}
for name, call in {**calls, "search": fitted, "golf": relaxed}.items():
    before = states()
    call()
    print(name, [a == b for a, b in zip(before, states())])
"""


def test_no_call_changes_them():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=False
    )
    lines = run.stdout.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["[True, True, True]"] * 5, run.stderr


def test_what_is_drawn_in_the_block_is_drawn_again():
    draws = []
    for _ in range(2):
        with global_random_states_kept():
            draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert draws[0] == draws[1]
