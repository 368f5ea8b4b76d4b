"""The preconditioner P of a descent, from a System's stiff terms."""
