"""One-letter sequences: of what users ask for by name, and what they may hold."""

from __future__ import annotations

__all__ = ["AMINO_ACIDS", "REFUSED_CODES", "SEQUENCES", "letters_of"]

#: One-letter sequences of the proteins folded in the neural reparametrization paper, by PDB code.
#: Caps, amidated ends and modified residues of the entries are left out: both ends are charged.
SEQUENCES: dict[str, str] = {
    "1PLW": "YGGFM",  # Met-enkephalin
    "5AWL": "YYDPETGTWY",  # chignolin CLN025
    "2JOF": "DAYAQWLKDGGPSSGRPPPS",  # Trp-cage TC10b
    "1UNC": "HLSIEDFTQAFGMTPAAFSALPRWKQQNLKKEKGLF",  # villin headpiece, human: its last 36 residues
    "2WXC": "GSQNNDALSPAIRRLLAEWNLDASAIKGTGVGGRLTREDVEKHLAKA",  # BBL
    "3GB1": "MTYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE",  # GB1
}
REFUSED_CODES = {
    "2MGO": "2MGO closes a ring through a disulfide bond, which a chain grown residue by residue "
    "does not: prepare its PDB entry with openmm_reparam.prepare.structure_files.prepare_file"
}
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


def letters_of(sequence: str, fewest: int = 2) -> tuple[str, str]:
    """Return a name and the checked one-letter codes of a sequence or PDB code."""
    if not isinstance(sequence, str):
        raise TypeError(f'sequence is {sequence!r}: pass a string such as "YGGFM" or "2JOF"')
    code = sequence.upper()
    if code in REFUSED_CODES:
        raise NotImplementedError(REFUSED_CODES[code])
    if code in SEQUENCES:
        return code, SEQUENCES[code]
    if len(code) == 4 and code[0].isdigit():
        raise ValueError(
            f"the sequence of PDB entry {code} is not known here: pass its one-letter codes, or "
            f"one of {', '.join(SEQUENCES)}"
        )
    for position, letter in enumerate(sequence, start=1):
        if letter not in AMINO_ACIDS:
            raise ValueError(
                f"{letter!r} at position {position} of {sequence!r} is no amino acid: "
                f"use the letters {AMINO_ACIDS}"
            )
    if len(sequence) < fewest:
        raise ValueError(
            f"the sequence is {sequence!r}: pass two letters or more, as force fields have no "
            "template for a residue that is both ends of its chain; or capped=True"
        )
    return sequence, sequence
