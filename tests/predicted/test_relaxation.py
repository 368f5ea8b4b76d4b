"""Relaxation of predictions: what it mends, what it holds, what it says."""

import json

import numpy as np
import pytest

from openmm_reparam import relax_prediction
from openmm_reparam.predicted.api import structure_text
from openmm_reparam.predicted.protocol import RelaxationSettings

REFERENCE = {"platform": "Reference"}


def moved(line: str, shift: np.ndarray) -> str:
    place = np.array([float(line[k : k + 8]) for k in (30, 38, 46)]) + shift
    return line[:30] + "".join(f"{value:8.3f}" for value in place) + line[54:]


def with_moved(text: str, atoms: list[str], shift: list[float]) -> str:
    """Move the atoms whose columns 13 to 27 start so."""
    return "\n".join(
        moved(line, np.array(shift)) if line[:4] == "ATOM" and line[12:26] in atoms else line
        for line in text.splitlines()
    )


def places(text: str) -> dict:
    return {
        (record.residue.chain, record.residue.number, record.name): np.array(record.position)
        for record in structure_text(text).records
    }


@pytest.fixture
def planted(predicted):
    """Return a text whose LEU 3 has an atom on VAL 4's CB, far from its own bond."""
    text = predicted().chain("AGLVGA").text()
    before = places(text)
    shift = before["A", "4", "CB"] - before["A", "3", "CD1"] + [0.9, 0.6, 0.3]
    return with_moved(text, [" CD1 LEU A   3"], shift.tolist())


@pytest.fixture
def relaxed(planted):
    return relax_prediction(planted, **REFERENCE)


def test_violations_are_mended_and_counted(relaxed):
    _, report = relaxed
    assert report.before.violations.total > 0
    assert "LEU 3" in report.before.violating_residues
    assert report.after.violations.total == 0
    assert report.after.violating_residues == ()
    assert report.converged
    assert report.after.energy < report.before.energy
    assert report.after.scores.molprobity_like <= report.before.scores.molprobity_like


def test_restraints_hold_residues_that_are_not_released(planted, relaxed):
    before, after = places(planted), places(relaxed[0])
    shifts = {key: np.linalg.norm(after[key] - place) for key, place in before.items()}
    elsewhere = [shift for (_, number, _), shift in shifts.items() if number in "156"]
    assert np.sqrt(np.mean(np.square(elsewhere))) < 0.3
    assert shifts["A", "3", "CD1"] > 0.5
    assert relaxed[1].rmsd == pytest.approx(
        np.sqrt(np.mean(np.square(list(shifts.values())))), abs=2e-3
    )


def test_rounds_release_residues_until_no_violation_is_left(planted):
    held = {"restraint": 1e4, **REFERENCE}
    _, first = relax_prediction(planted, max_rounds=1, **held)
    assert first.after.violating_residues
    assert first.stopped == "1 round"
    assert first.released == ()
    _, report = relax_prediction(planted, **held)
    assert len(report.rounds) > 1
    assert report.rounds[0].released == 0
    assert report.rounds[1].released == report.rounds[0].violating
    assert report.stopped == "no violations"
    assert "LEU 3" in report.released
    assert report.force_evaluations == sum(entry.force_evaluations for entry in report.rounds)


def test_its_own_output_changes_little(relaxed):
    again, report = relax_prediction(relaxed[0], **REFERENCE)
    before, after = places(relaxed[0]), places(again)
    assert before.keys() == after.keys()
    assert report.notes == ()
    # The restraints start anew at the places that they had let the atoms go to.
    assert report.rmsd < 0.25 * relaxed[1].rmsd
    assert report.force_evaluations < relaxed[1].force_evaluations


def test_the_same_text_gives_the_same_output(planted, relaxed):
    again, _ = relax_prediction(planted, **REFERENCE)
    assert again == relaxed[0]


def test_chirality_is_kept_and_a_d_amino_acid_stays_one(predicted):
    text = predicted().chain("GAVG").text()
    mirrored = [moved(line, np.zeros(3)) for line in text.splitlines() if line.startswith("ATOM")]
    swapped = []
    for line in mirrored:
        x = -float(line[30:38])
        swapped.append(f"{line[:30]}{x:8.3f}{line[38:]}".replace("ALA", "DAL"))
    written, report = relax_prediction("\n".join(swapped), **REFERENCE)
    assert report.notes[0] == "kept A:DAL 2, a D amino acid, with the parameters of ALA"
    assert report.stereo_changes == ()
    assert [line.split(":")[0] for line in report.after.violations.chirality] == [
        "ALA 2 CA",
        "VAL 3 CA",
    ]
    assert "DAL A   2" in written


def test_selenomethionine_becomes_methionine_in_its_place(predicted):
    text = predicted().chain("GMG").text()
    lines = [
        line.replace("ATOM  ", "HETATM").replace(" SD  MET", "SE   MSE").replace("MET", "MSE")
        if "MET" in line
        else line
        for line in text.splitlines()
    ]
    lines = [f"{line[:76]}SE{line[78:]}" if line[12:14] == "SE" else line for line in lines]
    written, report = relax_prediction("\n".join(lines), **REFERENCE)
    assert report.notes[0] == "replaced A:MSE 2 by MET"
    sulfur = next(line for line in written.splitlines() if line[12:20] == " SD  MET")
    assert sulfur.startswith("ATOM")
    assert sulfur[76:78] == " S"
    assert sulfur[60:66] == next(line for line in lines if line[12:14] == "SE")[60:66]
    wanted = places(text)["A", "2", "SD"]
    assert np.linalg.norm(places(written)["A", "2", "SD"] - wanted) < 0.5


def test_a_phosphate_goes_with_the_residue_that_it_modified(predicted):
    text = predicted().chain("GSG").text().replace("SER", "SEP")
    lines = text.splitlines()
    oxygen = next(k for k, line in enumerate(lines) if line[12:20] == " OG  SEP")
    phosphorus = lines[oxygen][:12] + " P  " + lines[oxygen][16:76] + " P  "
    lines.insert(oxygen + 1, moved(phosphorus, np.array([1.6, 0.0, 0.0])))
    written, report = relax_prediction("\n".join(lines), **REFERENCE)
    assert report.notes[0] == "replaced A:SEP 2 by SER"
    assert " P   SE" not in written
    assert ("A", "2", "HG") in places(written)


def test_missing_atoms_are_added_and_said(predicted):
    text = predicted().chain("GKG").text()
    cut = "\n".join(line for line in text.splitlines() if line[12:20] not in (" NZ  LYS",))
    written, report = relax_prediction(cut, **REFERENCE)
    assert "added 1 missing heavy atom to A:LYS 2" in report.notes
    assert "added OXT to A:GLY 3" in report.notes
    assert np.linalg.norm(places(written)["A", "2", "NZ"] - places(text)["A", "2", "CE"]) < 3.0


def test_a_gap_in_the_numbers_ends_a_chain_a_close_pair_does_not(predicted):
    close = ["   1 ", "   2 ", "   9 ", "  10 "]
    text = predicted().chain("GAAG", numbers=close).text()
    _, report = relax_prediction(text, **REFERENCE)
    assert not any("chain break" in note for note in report.notes)
    apart = with_moved(
        text,
        [line[12:26] for line in text.splitlines() if line[22:26] in ("   9", "  10")],
        [6.0, 0.0, 0.0],
    )
    written, report = relax_prediction(apart, **REFERENCE)
    assert report.notes[0] == (
        "chain break between A:ALA 2 and A:ALA 9: both are relaxed as ends of chains"
    )
    assert ("A", "2", "OXT") in places(written)
    assert report.chains == 1


def test_disulfides_are_found_and_have_no_hydrogens(predicted):
    text = predicted().chain("GCG", "A").chain("GCG", "B", seed=1).text()
    sulfurs = [places(text)[chain, "2", "SG"] for chain in "AB"]
    second = [
        line[12:26] for line in text.splitlines() if line[21:22] == "B" and line[:4] == "ATOM"
    ]
    alphas = [places(text)[chain, "2", "CB"] for chain in "AB"]
    outward = (sulfurs[0] - alphas[0]) / np.linalg.norm(sulfurs[0] - alphas[0])
    joined = with_moved(text, second, (sulfurs[0] + 2.04 * outward - sulfurs[1]).tolist())
    written, report = relax_prediction(joined, tolerance=100.0, **REFERENCE)
    assert report.disulfides == ("A:CYS 2-B:CYS 2",)
    assert " HG  CYS" not in written
    assert report.chains == 2


def test_the_report_prints_and_goes_into_json(relaxed):
    report = relaxed[1]
    told = json.loads(json.dumps(report.to_dict()))
    assert told["after"]["violations"]["total"] == 0
    assert told["settings"]["restraint"] == 10.0
    assert len(told["rounds"]) == len(report.rounds)
    shown = repr(report)
    assert "clashes of heavy atoms" in shown
    assert f"{report.force_evaluations} force evaluations" in shown
    assert "MolProbity-like score" in shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restraint": -1.0}, "restraint is -1.0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"max_rounds": 0}, "max_rounds is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RelaxationSettings(**settings)


def test_an_unknown_setting_is_named(planted):
    with pytest.raises(TypeError, match="stiffness is no setting of a relaxation: there are force"):
        relax_prediction(planted, stiffness=10.0)


def test_an_entry_of_the_protein_data_bank_keeps_its_hydrogens(villin):
    text = villin.read_text()
    written, report = relax_prediction(text, tolerance=100.0, platform="CPU", threads=1)
    assert len(places(written)) == report.atoms
    assert report.stereo_changes == ()
    assert report.rmsd < 0.5
    assert report.after.violations.total <= report.before.violations.total
