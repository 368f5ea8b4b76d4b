"""One OpenMM Context: its energies, forces, constraints, bonds and Hessians."""
