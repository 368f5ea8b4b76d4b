"""A reparametrization of your own: any torch module whose forward() returns (N, 3) positions.

Two ways to use one: hand the module to `minimize_reparam`, or register a builder under a name,
which then works everywhere, on the command line too (through an entry point of your package in the
group "openmm_reparam.reparametrizations").

The module here moves each residue as a whole, plus its atoms one by one: big steps for the
residues, small ones for the atoms.

Run it (a few seconds):

    python examples/own_reparametrization.py
"""

import argparse

import torch

from openmm_reparam import minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Start, available, register


class ResidueShifts(torch.nn.Module):
    """X = X0 + a shift for each residue + smaller shifts for each atom, in nm."""

    learning_rate = 0.002  # the latent stage's Adam starts with this

    def __init__(self, positions, residues, atom_scale=0.3):
        super().__init__()
        # Buffers stay as they are, parameters train; double precision keeps forces exact.
        self.register_buffer("start", torch.as_tensor(positions, dtype=torch.float64))
        self.register_buffer("residues", torch.as_tensor(residues))
        self.atom_scale = atom_scale
        count = int(self.residues.max()) + 1
        self.shifts = torch.nn.Parameter(torch.zeros(count, 3, dtype=torch.float64))
        self.details = torch.nn.Parameter(torch.zeros_like(self.start))

    def forward(self):
        """Positions, (N, 3) in nm."""
        return self.start + self.shifts[self.residues] + self.atom_scale * self.details


@register("residue-shifts")
def build_residue_shifts(start: Start, *, atom_scale: float = 0.3) -> torch.nn.Module:
    """Build the module from the start of a run; the settings come from minimize_reparam()."""
    residues = [atom.residue.index for atom in start.potential.topology.atoms()]
    return ResidueShifts(start.positions, residues, atom_scale)


parser = argparse.ArgumentParser(description="Minimize with a reparametrization of your own.")
parser.add_argument("--sequence", default="5AWL", help="a code or one-letter sequence")
arguments = parser.parse_args()
molecule = peptide(arguments.sequence)

print("1. The module itself")
positions = molecule.positions._value
residues = [atom.residue.index for atom in molecule.topology.atoms()]
result = minimize_reparam(
    molecule.simulation("CPU"), tolerance=1, reparametrization=ResidueShifts(positions, residues)
)
print(result)

print(f"\n2. By its registered name; there are now {', '.join(available())}")
result = minimize_reparam(
    molecule.simulation("CPU"),
    tolerance=1,
    reparametrization="residue-shifts",
    atom_scale=0.1,
    latent_iterations=100,
)
print(result)
