"""Searches through the latents of a network, or of a module of one's own."""

import numpy as np
import pytest
import torch

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.geometry.superposition import rmsd_matrix
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Start, build
from openmm_reparam.search import SearchSettings
from openmm_reparam.search.latent_moves import perturb

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_module_of_ones_own_explores(optimizer):
    class Shifts(torch.nn.Module):
        """All atoms free, in units of 0.1 nm."""

        def __init__(self, start):
            super().__init__()
            self.register_buffer("positions", torch.from_numpy(start.positions.copy()))
            self.shifts = torch.nn.Parameter(torch.zeros_like(self.positions))

        def forward(self):
            return self.positions + 0.1 * self.shifts

    simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    search = SearchSettings(
        explorer=Shifts, explorer_evaluations=50, explorer_optimizer=optimizer, amplitude=0.1
    )
    result = minimize_reparam(simulation, 1, search=search, max_force_evaluations=1000)
    assert result.stages[1].name == "Shifts"
    assert sum(minimum.visits for minimum in result.minima) > 3


@pytest.mark.parametrize("amplitude", [1e-3, 0.2])
def test_a_perturbation_has_the_size_asked_for(amplitude):
    potential = Potential(peptide("AG").simulation("Reference").context)
    x = potential.positions()
    start = Start(potential, x, np.random.default_rng(0))
    for name in ("gcn", "spectral"):
        module = build(name, start)
        perturb(module, amplitude, potential.moves, np.random.default_rng(1))
        both = np.stack([x, module().detach().numpy()])
        assert rmsd_matrix(both)[0, 1] == pytest.approx(amplitude, rel=0.02)
