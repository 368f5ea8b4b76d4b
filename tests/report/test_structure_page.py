"""The page of one structure, in a real browser."""

import numpy as np
import pytest
from openmm import unit

from openmm_reparam import minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.report.minimized import minimized_report
from openmm_reparam.report.pages import write_report
from openmm_reparam.structure.violations import find_violations

HOSTILE = "</script><script>document.title='hacked'</script>\"'&<img src=x onerror=alert(1)>é☃.pdb"


@pytest.fixture(scope="module")
def opened(open_page, tmp_path_factory):
    """A peptide whose atoms were displaced, minimized until it was stopped."""
    chain = peptide("GAVLS")
    shifts = np.random.default_rng(4).normal(0.0, 0.012, chain.positions.shape)
    start = chain.positions + shifts * unit.nanometer
    simulation = chain.simulation("Reference")
    simulation.context.setPositions(start)
    with pytest.warns(UserWarning, match="budget"):
        result = minimize_reparam(
            simulation, tolerance=0.1, max_force_evaluations=60, progress=False
        )
    end = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    violations = tuple(find_violations(chain.topology, x, chain.system) for x in (start, end))
    data = minimized_report(
        HOSTILE,
        result,
        chain.topology,
        start,
        end,
        violations=violations,
        facts={"File": HOSTILE},
        notes=(HOSTILE,),
    )
    path = tmp_path_factory.mktemp("structure") / "page.html"
    write_report(path, data)
    return open_page(path, width=480, height=400)


def test_page_loads_without_errors_and_asks_for_nothing_else(opened):
    opened.page.wait_for_selector("#viewer canvas")
    assert opened.complaints == []
    assert [url.rsplit("/", 1)[-1] for url in opened.requests] == ["page.html"]


def test_hostile_names_are_text(opened):
    assert opened.page.inner_text("h1") == HOSTILE
    assert opened.page.title() == f"{HOSTILE}: openmm-reparam"
    assert opened.page.locator("img").count() == 0


def test_page_says_that_the_run_did_not_converge_and_what_to_do(opened):
    head = opened.page.inner_text("header")
    assert "not converged" in head
    assert "raise --max-force-evaluations" in head


def test_viewer_draws_each_structure_and_both(opened):
    pictures = {}
    for name in ("before", "after", "both"):
        opened.page.check(f"input[value={name}]")
        pictures[name] = opened.picture("#viewer")
        assert pictures[name].std() > 0.01
    assert np.abs(pictures["before"] - pictures["after"]).max() > 0.3
    assert np.abs(pictures["both"] - pictures["after"]).max() > 0.3


def test_columns_sort_as_numbers_both_ways(opened):
    button = opened.page.locator("#violations thead button", has_text="before")
    for sign in (1, -1):
        button.click()
        values = np.array([float(text.split()[0]) for text in opened.column("violations", 4)])
        assert (sign * np.diff(values) >= 0).all()
    assert len(values) > 10
    heading = opened.page.locator("#violations thead th[aria-sort]")
    assert heading.get_attribute("aria-sort") == "descending"


def test_a_click_on_a_violation_shows_its_residue(opened):
    page = opened.page
    page.check("input[value=after]")
    page.click("#whole")
    whole = opened.picture("#viewer")
    row = page.locator("#violations tbody tr[data-state=mended]").first
    row.locator("td").first.click()
    residue = row.locator("button").inner_text()
    # Mended ones are to be seen before.
    assert page.inner_text("#status") == f"Showing {residue} (before)"
    assert page.is_checked("input[value=before]")
    assert np.abs(opened.picture("#viewer") - whole).max() > 0.3


def test_the_keyboard_shows_residues_and_turns_the_molecule(opened):
    page = opened.page
    page.click("#whole")
    page.locator("#violations button.show").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#status").startswith("Showing ")
    page.focus("#viewer")
    still = opened.picture("#viewer")
    page.keyboard.press("ArrowLeft")
    assert np.abs(opened.picture("#viewer") - still).max() > 0.3


def test_plots_have_curves_and_logarithmic_axes(opened):
    page = opened.page
    labels = "#plot-energy svg text"
    linear = page.locator(labels).all_text_contents()
    page.check("#log-energy")
    assert page.locator(labels).all_text_contents() != linear
    assert page.locator("#plot-force path.curve").get_attribute("d").count("L") > 10
    assert "tolerance 0.1" in page.locator("#plot-force svg").text_content()
    page.focus("#plot-energy svg")
    page.keyboard.press("Home")
    assert "evaluation" in page.inner_text("#plot-energy output")
    assert opened.complaints == []
