"""What goes into pages, and how they are written."""

from html.parser import HTMLParser

import numpy as np
import pytest
from openmm import app
from PeptideBuilder import PeptideBuilder

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.report.curves import thinned
from openmm_reparam.report.data import Curve, FolderRow, ReportData, ShownStructure
from openmm_reparam.report.next_steps import next_step
from openmm_reparam.report.pages import write_folder_report, write_report
from openmm_reparam.report.shown_molecule import shown_molecule
from openmm_reparam.report.violation_rows import violation_rows
from openmm_reparam.structure.stereochemistry import Stereochemistry
from openmm_reparam.structure.violations import Violations, find_violations

PLAIN = ReportData("ala.pdb", True, "the RMS force reached the tolerance")


def with_water(topology, positions, count):
    """Return a chain beside so many water molecules."""
    modeller = app.Modeller(topology, positions)
    water, chain_places = app.Topology(), []
    chain = water.addChain()
    for number in range(count):
        residue = water.addResidue("HOH", chain)
        atoms = [water.addAtom(name, app.element.Element.getBySymbol(name[0]), residue)
                 for name in ("O", "H1", "H2")]  # fmt: skip
        water.addBond(atoms[0], atoms[1])
        water.addBond(atoms[0], atoms[2])
        place = np.array([3.0 + number, 3.0, 3.0])
        chain_places += [place, place + [0.0957, 0, 0], place + [-0.024, 0.0927, 0]]
    modeller.add(water, np.array(chain_places) * app.modeller.nanometer)
    return modeller.topology, np.array(modeller.positions._value)


# Files


def test_a_page_is_written_beside_and_put_into_its_place(tmp_path):
    class Unwritable:
        def __str__(self):
            raise OSError("disk full")

    path = tmp_path / "page.html"
    write_report(path, PLAIN)
    old = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        write_report(path, ReportData("a", True, "m", facts={"File": Unwritable()}))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        write_report(tmp_path / "nowhere" / "page.html", PLAIN)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        write_folder_report(tmp_path / "nowhere" / "page.html", [], title="models")


def test_names_that_are_no_unicode_are_written(tmp_path):
    name = b"\xff<b>.pdb".decode("utf-8", "surrogateescape")
    write_report(tmp_path / "one.html", ReportData(name, True, "m"))
    write_folder_report(tmp_path / "all.html", [FolderRow(name, "converged")], title=name)
    assert "&lt;b&gt;.pdb" in (tmp_path / "one.html").read_text("utf-8")
    assert "<b>" not in (tmp_path / "all.html").read_text("utf-8")


def test_a_page_names_no_address_to_load_from(tmp_path):
    class Addresses(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attrs):
            self.found += tuple(value for name, value in attrs if name in ("src", "href"))

    write_report(tmp_path / "page.html", PLAIN)
    text = (tmp_path / "page.html").read_text("utf-8")
    parser = Addresses()
    parser.feed(text)
    assert set(parser.found) == {"data:,", "#main"}
    assert "default-src 'none'" in text


# Contents


def test_water_is_left_out_of_the_view_and_said_so():
    chain = peptide("AG")
    size = chain.topology.getNumAtoms()
    topology, x = with_water(chain.topology, chain.positions, 5)
    shown = shown_molecule(topology, {"before": x, "after": x})
    assert len(shown["names"]) == size
    assert shown["left_out"] == "water and ions"
    assert max(shown["bonds"]) < size


def test_structures_are_superposed_and_keep_their_shapes():
    chain = peptide("AGA")
    x = np.array(chain.positions._value)
    turned = x @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) + 3.0
    shown = shown_molecule(chain.topology, {"before": turned, "after": x})["conformations"]
    before, after = (np.reshape(conformation["xyz"], (-1, 3)) for conformation in shown)
    assert np.abs(before - after).max() <= 1  # pm
    assert np.linalg.norm(after[0] - after[-1]) == pytest.approx(
        1000 * np.linalg.norm(x[0] - x[-1]), abs=2
    )


def test_a_helix_is_shown_as_one():
    chain = peptide("A" * 12)
    helix = PeptideBuilder.make_structure("A" * 12, [-57] * 11, [-47] * 11)
    places = {
        (residue.id[1], atom.id): atom.coord / 10
        for residue in helix.get_residues()
        for atom in residue
    }
    # Hydrogens stay where they are: DSSP finds hydrogen bonds by N, C and O.
    positions = np.array(chain.positions._value)
    for atom in chain.topology.atoms():
        key = (atom.residue.index + 1, atom.name)
        positions[atom.index] = places.get(key, positions[atom.index])
    shown = shown_molecule(chain.topology, {"before": chain.positions, "after": positions})
    before, after = (conformation["structure"] for conformation in shown["conformations"])
    assert "h" not in before
    assert after[2:9] == "h" * 7


def test_rows_have_amounts_of_both_structures():
    chain = peptide("GAPV")
    start = np.array(chain.positions._value)
    atoms = {(a.residue.id, a.name): a.index for a in chain.topology.atoms()}
    first, second = atoms["2", "CB"], atoms["4", "CG1"]
    end = start.copy()
    end[second] = start[first] + [0.0, 0.0, 0.12]
    before, after = (find_violations(chain.topology, x, chain.system) for x in (start, end))
    rows = violation_rows(chain.topology, before, after, start, end)
    row = next(row for row in rows if row.where == "ALA 2 CB - VAL 4 CG1")
    distance = np.linalg.norm(start[first] - start[second])
    assert (row.kind, row.state, row.atoms) == ("clash", "new", (first, second))
    assert (row.before, row.after) == (f"{distance:.3f} nm", "0.120 nm")
    # The sum of the radii less the overlap that is allowed.
    assert row.limit == "≥ 0.190"
    # Every label that is given is of atoms.
    assert all(row.atoms for row in rows)
    assert len(rows) == sum(n for n in after.counts.values())


def test_rows_of_peptide_bonds_and_chains_name_their_atoms():
    chain = peptide("GP")
    modeller = app.Modeller(chain.topology, chain.positions)
    modeller.add(chain.topology, chain.positions)
    x = np.array(modeller.positions._value)
    labels = list(Stereochemistry(modeller.topology).peptide_bonds(x))
    found = Violations(
        clashes=("A:GLY 1 N - A:PRO 2 CD: 0.1 nm",), cis_prolines=(f"{labels[1]}: cis",)
    )
    clash, cis = violation_rows(modeller.topology, found, found, x, x)
    atoms = list(modeller.topology.atoms())
    assert [atoms[a].name for a in cis.atoms] == ["CA", "C", "N", "CA"]
    assert {atoms[a].residue.chain.index for a in cis.atoms} == {1}
    # Both chains are called A here: rather no atom than a wrong one.
    assert clash.atoms == ()


def test_a_million_points_are_thinned_and_spikes_stay(tmp_path):
    energy = np.linspace(5.0, 1.0, 10**6)
    energy[[123_456, 654_321]] = -7.0, np.nan
    curve = thinned(Curve("run", np.arange(10**6), energy, energy + 10))
    assert len(curve.energy) <= 2000
    assert np.nanmin(curve.energy) == -7.0
    assert (curve.energy[0], curve.energy[-1]) == (5.0, 1.0)
    write_report(tmp_path / "page.html", ReportData("a", True, "m", curves=(curve,)))
    assert (tmp_path / "page.html").stat().st_size < 200_000


def test_a_large_solute_loses_its_hydrogens_first():
    chain = peptide("A" * 30)
    topology, count = app.Topology(), 70
    for _ in range(count):
        copies = {}
        new = topology.addChain()
        for residue in chain.topology.residues():
            added = topology.addResidue(residue.name, new)
            for atom in residue.atoms():
                copies[atom] = topology.addAtom(atom.name, atom.element, added)
        for first, second in chain.topology.bonds():
            topology.addBond(copies[first], copies[second])
    x = np.concatenate([chain.positions._value] * count)
    shown = shown_molecule(topology, {"before": x})
    assert shown["left_out"] == "hydrogens"
    assert "H" not in shown["elements"]
    # Chains are not joined: a residue's number follows its neighbour's only within one.
    steps = np.diff(shown["numbers"])
    assert (steps == 2).sum() == count - 1
    assert (steps == 1).sum() == 29 * count


@pytest.mark.parametrize(
    ("message", "step"),
    [
        ("stopped at RMS force 3, above the tolerance 1: the budget of 9 force evaluations is used "
         "up", "--max-force-evaluations"),
        ("stopped at RMS force 3, above the tolerance 1: maxIterations = 5 reached",
         "--max-iterations"),
        ("stopped at RMS force 0.2, above the tolerance 0.01: no step lowers the energy",
         "--platform Reference"),
    ],
)  # fmt: skip
def test_next_steps_name_the_option(message, step):
    assert step in next_step(message)


def test_shown_structure_needs_no_violations(tmp_path):
    chain = peptide("AG")
    data = ReportData(
        "a", True, "m", structure=ShownStructure(chain.topology, {"before": chain.positions})
    )
    write_report(tmp_path / "page.html", data)
    assert "3Dmol" in (tmp_path / "page.html").read_text("utf-8")
