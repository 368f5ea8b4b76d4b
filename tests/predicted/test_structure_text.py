"""PDB and mmCIF texts: what is read, what stays, what is refused."""

import math

import gemmi
import pytest

from openmm_reparam import relax_prediction
from openmm_reparam.predicted.api import structure_text
from openmm_reparam.predicted.selection import select_atoms

FAST = {"platform": "Reference", "tolerance": 100.0}


def columns_kept(line: str) -> str:
    """Return what must not change: all but the serial and the coordinates."""
    return line[:6] + line[11:30] + line[54:]


@pytest.fixture
def two_chains(predicted):
    numbers = ["  -1 ", "   0 ", "  52 ", "  52A", "  52B"]
    text = predicted().chain("GASPK", "A", numbers, segment="PROA")
    text.chain("ACD", "b", seed=1, shift=30.0)
    return text.text("HEADER    PREDICTED", "REMARK   1 CONFIDENCE", "PARENT N/A")


def test_models_without_numbers_or_of_the_same_are_told_apart(predicted):
    lines = predicted().chain("GAG").lines
    for begin in ([], ["MODEL        1"]):
        text = "\n".join([*begin, *lines, "ENDMDL"] * 2)
        written, report = relax_prediction(text, **FAST)
        assert report.residues == 3
        assert report.notes[0] == "used model 1, the first of 2"
        assert written.count("TER") == written.count("ENDMDL") == 1


def test_joined_files_are_models(predicted):
    lines = predicted().chain("GAG").lines
    written, report = relax_prediction("\n".join([*lines, "END"] * 2), **FAST)
    assert report.residues == 3
    assert report.notes[0].endswith("the first of 2")
    assert written.splitlines()[-1] == "END"
    assert written.count("END") == 1


def test_atoms_on_one_spot_are_refused(predicted):
    lines = predicted().chain("GAG").lines
    moved = [
        line[:30] + lines[1][30:54] + line[54:] if k == 2 else line for k, line in enumerate(lines)
    ]
    with pytest.raises(ValueError, match=r"CA of A:GLY 1 and C of A:GLY 1 stand on one spot"):
        relax_prediction("\n".join(moved), **FAST)


def test_marks_and_bytes_of_other_systems_change_nothing(predicted):
    text = predicted().chain("GAG").text("REMARK   1 caf\udce9 \x85 \x0c \x1e", "REMARK   2")
    written, _ = relax_prediction(text, **FAST)
    assert written.split("\n")[:2] == text.split("\n")[:2]
    assert relax_prediction("\ufeff" + predicted().chain("GAG").text(), **FAST)[1].residues == 3


def test_a_residue_far_from_its_neighbours_is_left_out(predicted):
    text = predicted().chain("GAG").chain("GAG", numbers=[f"{n:4d} " for n in (4, 5, 6)], shift=40)
    lone = [line for line in text.lines if line[22:26] == "   4" and line.startswith("ATOM")]
    moved = [f"{line[:30]}{float(line[30:38]) + 40:8.3f}{line[38:]}" for line in lone]
    kept = [line for line in text.lines if line not in lone]
    written, report = relax_prediction("\n".join([*kept[:-11], *moved, *kept[-11:]]), **FAST)
    assert "left out A:GLY 4, which is bonded to no other residue" in report.notes
    assert report.residues == 5


@pytest.fixture
def relaxed(two_chains):
    return relax_prediction(two_chains, **FAST)


def test_heavy_atoms_keep_their_columns_and_order(two_chains, relaxed, atom_lines):
    before, after = atom_lines(two_chains), atom_lines(relaxed[0])
    assert [columns_kept(line) for line in before] == [
        columns_kept(line) for line in after if line[12:16] != " OXT"
    ]
    assert [line[30:54] for line in before] != [line[30:54] for line in after]


def test_added_atoms_take_the_metadata_of_their_residue(relaxed):
    lines = relaxed[0].splitlines()
    hydrogen = next(line for line in lines if line[12:16] == " HB2" and line[17:20] == "SER")
    assert hydrogen[16:27] == " SER A  52 "
    assert hydrogen[54:80] == "  0.87 88.50      PROA H  "
    assert sum(line[12:16] == " OXT" for line in lines) == 2


def test_other_records_stay_and_serials_count_anew(relaxed):
    lines = relaxed[0].splitlines()
    assert lines[:3] == ["HEADER    PREDICTED", "REMARK   1 CONFIDENCE", "PARENT N/A"]
    numbered = [line for line in lines if line.startswith(("ATOM", "TER"))]
    assert [int(line[6:11]) for line in numbered] == list(range(1, len(numbered) + 1))
    assert [line[17:27] for line in lines if line.startswith("TER")] == ["LYS A  52B", "ASP b   3 "]
    assert lines[-1] == "END"


def test_connections_follow_the_serials(predicted):
    text = predicted().chain("GAG").text()
    carbon = next(line for line in text.splitlines() if line[12:20] == " CB  ALA")
    other = next(line for line in text.splitlines() if line[12:20] == " CA  ALA")
    text = text.replace("END\n", f"CONECT{carbon[6:11]}{other[6:11]}\nEND\n")
    written, _ = relax_prediction(text, **FAST)
    lines = written.splitlines()
    wanted = [
        next(line[6:11] for line in lines if line[12:20] == name)
        for name in (" CB  ALA", " CA  ALA")
    ]
    assert f"CONECT{wanted[0]}{wanted[1]}" in lines


def test_mmcif_keeps_all_categories_and_columns(two_chains, as_mmcif):
    text = as_mmcif(two_chains)
    written, report = relax_prediction(text, **FAST)
    before, after = (gemmi.cif.read_string(source)[0] for source in (text, written))
    assert after.name == before.name
    assert before.get_mmcif_category_names() == after.get_mmcif_category_names()
    for category in before.get_mmcif_category_names():
        if category != "_atom_site.":
            assert before.get_mmcif_category(category) == after.get_mmcif_category(category)
    old, new = (block.find_mmcif_category("_atom_site.") for block in (before, after))
    assert list(old.tags) == list(new.tags)
    moved = [k for k, tag in enumerate(old.tags) if tag.endswith((".id", "Cartn_x", "_y", "_z"))]
    place = [tag.split(".")[1] for tag in old.tags].index
    heavy = [
        row
        for row in new
        if row[place("type_symbol")] != "H" and row[place("label_atom_id")] != "OXT"
    ]
    assert [[v for k, v in enumerate(row) if k not in moved] for row in old] == [
        [v for k, v in enumerate(row) if k not in moved] for row in heavy
    ]
    assert [row[place("id")] for row in new] == [str(k + 1) for k in range(len(new))]
    assert report.atoms == len(new)


def test_mmcif_and_pdb_relax_to_the_same_places(two_chains, relaxed, as_mmcif):
    written, _ = relax_prediction(as_mmcif(two_chains), **FAST)
    table = structure_text(written).records
    for one, other in zip(structure_text(relaxed[0]).records, table, strict=True):
        assert (one.name, one.residue) == (other.name, other.residue)
        assert math.dist(one.position, other.position) < 0.003


def test_the_first_model_is_taken_and_said(predicted):
    atoms = predicted().chain("GAG").lines
    moved = [line[:30] + "   1.000" + line[38:] for line in atoms]
    text = "\n".join(
        ["MODEL        1", *atoms, "ENDMDL", "MODEL        2", *moved, "ENDMDL", "END"]
    )
    written, report = relax_prediction(text, **FAST)
    assert report.notes[0] == "used model 1, the first of 2"
    assert [line for line in written.splitlines() if line.startswith(("MODEL", "ENDMDL"))] == [
        "MODEL        1",
        "ENDMDL",
    ]


def test_the_alternative_of_the_highest_occupancy_is_taken(predicted):
    lines = []
    for line in predicted().chain("GSG").lines:
        if line[12:20] == " OG  SER":
            lines += [f"{line[:16]}A{line[17:54]}  0.40{line[60:]}"]
            lines += [f"{line[:16]}B{line[17:54]}  0.60{line[60:]}"]
        else:
            lines.append(line)
    selection = select_atoms(structure_text("\n".join(lines)).records)
    assert selection.notes == ("used alternative B of A, B of A:SER 2",)
    assert selection.residues[1].atoms["OG"].altloc == "B"


def test_waters_ligands_and_single_residues_are_left_out_by_name(predicted):
    text = predicted().chain("GAG")
    text.lines += [
        "HETATM   90  O   HOH A 101       9.000   9.000   9.000  1.00 50.00           O  ",
        "HETATM   91  O   HOH A 102       9.000   9.000  14.000  1.00 50.00           O  ",
        "HETATM   92 ZN    ZN A 103      30.000   9.000  14.000  1.00 50.00          ZN  ",
        "ATOM     93  CA  GLY C   1      40.000   9.000  14.000  1.00 50.00           C  ",
        "ATOM     94  N   GLY C   1      41.200   9.000  14.000  1.00 50.00           N  ",
        "ATOM     95  C   GLY C   1      40.000  10.300  14.000  1.00 50.00           C  ",
    ]
    written, report = relax_prediction(text.text(), **FAST)
    assert report.notes[:3] == (
        "left out 2 HOH",
        "left out A:ZN 103",
        "left out C:GLY 1, a chain of one residue",
    )
    assert "HETATM" not in written
    assert "GLY C" not in written


def line_of(name: str, residue: str = "GLY", place: str = "   1.000   2.000   3.000") -> str:
    return f"ATOM      1  {name:<3} {residue} A   1    {place}  1.00 90.00           C  \n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("HEADER    NOTHING\nEND\n", "there is no atom"),
        (
            line_of("CA", place="   1.000     nan   3.000"),
            "line 1 has a coordinate that is not",
        ),
        (line_of("CA", place="   1.000           3.000"), "line 1 has no coordinates"),
        ("data_x\n_cell.length_a 1\n", "the file has no atoms"),
        (line_of("CA") + line_of("CA", "ALA"), "2 of 2 amino acids have only their CA atom"),
        (line_of("N") + line_of("CA") + line_of("C") + line_of("CA"), "has atom CA twice"),
        (line_of("N") + line_of("C"), "A:GLY 1 has no backbone atom CA"),
        ("".join(line_of(n, "UNK") for n in ("N", "CA", "C")), "A:UNK 1 is no residue that"),
        (line_of("O", "HOH"), "there is no protein or nucleic acid to relax .left out A:HOH 1"),
    ],
)
def test_what_cannot_be_relaxed_is_refused_in_words(text, message):
    with pytest.raises(ValueError, match=message):
        relax_prediction(text)


def test_an_atom_that_a_residue_does_not_have_is_named(predicted):
    text = predicted().chain("GAG").text().replace(" CB  ALA", " CX  ALA")
    with pytest.raises(ValueError, match="A:ALA 2 has an atom CX, which ALA has not"):
        relax_prediction(text)


def test_residues_are_told_apart_by_insertion_code(two_chains):
    residues = select_atoms(structure_text(two_chains).records).residues
    assert [residue.key[1:3] for residue in residues[:5]] == [
        ("-1", ""),
        ("0", ""),
        ("52", ""),
        ("52", "A"),
        ("52", "B"),
    ]


def test_the_text_must_be_a_string():
    with pytest.raises(TypeError, match="not bytes"):
        relax_prediction(b"ATOM")


@pytest.mark.parametrize(("occupancy", "taken"), [("  0.13", ""), ("  0.99", "B")])
def test_an_alternative_without_a_letter_is_one(predicted, occupancy, taken):
    lines = predicted().chain("GSA").lines
    (place,) = (k for k, line in enumerate(lines) if line[12:20] == " OG  SER")
    other = lines[place][:16] + "B" + lines[place][17:54] + occupancy + lines[place][60:]
    lines.insert(place + 1, other)
    selection = select_atoms(structure_text("\n".join(lines)).records)
    serine = selection.residues[1]
    assert serine.atoms["OG"].altloc == taken
    assert set(serine.atoms) == {"N", "CA", "C", "O", "CB", "OG"}
    assert "of without a letter, B of A:SER 2" in selection.notes[0]


def test_a_residue_in_two_places_is_refused_with_what_to_do(predicted):
    lines = predicted().chain("GSA").lines
    (place,) = (k for k, line in enumerate(lines) if line[12:20] == " N   SER")
    lines.insert(-1, lines.pop(place))
    with pytest.raises(ValueError, match="atoms of A:SER 2 stand in 2 places of the file"):
        select_atoms(structure_text("\n".join(lines)).records)


@pytest.mark.parametrize(
    ("name", "hydrogens"),
    [("HID", {"HD1"}), ("HSE", {"HE2"}), ("HIP", {"HD1", "HE2"})],
)
def test_names_of_protonation_states_are_read_and_kept(predicted, name, hydrogens):
    written, _ = relax_prediction(predicted().chain("GHG").text().replace("HIS", name), **FAST)
    found = {line[12:16].strip() for line in written.splitlines() if line[17:20] == name}
    assert found & {"HD1", "HE2"} == hydrogens
    assert {"HD2", "HE1"} <= found
