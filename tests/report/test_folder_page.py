"""The page of many structures, in a real browser."""

import numpy as np
import pytest

from openmm_reparam.report.data import FolderRow
from openmm_reparam.report.pages import write_folder_report

HOSTILE = "<b onclick=alert(1)>\"'</script>.pdb"
SIZE = 10_000


def _row(number, seconds, violations):
    if number == 7:
        return FolderRow(HOSTILE, "failed", message="no template for <residue> UNK")
    state = "not converged" if number % 100 == 1 else "converged"
    values = {"seconds": seconds, "violations after": violations, "RMS force": np.nan}
    own = f"own/model {number}#1.html" if number == 8 else None
    return FolderRow(f"model_{number}.pdb", state, values, report=own)


@pytest.fixture(scope="module")
def opened(open_page, tmp_path_factory):
    random = np.random.default_rng(0)
    seconds, violations = random.lognormal(size=SIZE), random.poisson(2, SIZE)
    rows = [_row(k, float(seconds[k]), int(violations[k])) for k in range(SIZE)]
    path = tmp_path_factory.mktemp("folder") / "all.html"
    write_folder_report(path, rows, title="models", facts={"Force field": "amber14-all.xml"})
    page = open_page(path)
    page.fastest = seconds.argmin()
    return page


def test_ten_thousand_rows_load_without_errors(opened):
    assert opened.page.inner_text("#count") == f"{SIZE} of {SIZE} structures"
    assert "9899 converged" in opened.page.inner_text("header")
    assert "1 failed" in opened.page.inner_text("header")
    # Not all at once: those in sight and some more.
    assert 100 < opened.page.locator("#rows tr").count() < 1000
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_scrolling_brings_more_rows(opened):
    drawn = opened.page.locator("#rows tr").count()
    opened.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    opened.page.locator("#rows tr").nth(drawn).wait_for(state="attached")


def test_histograms_are_of_all_structures(opened):
    bars = opened.page.locator("figure[data-column='violations after'] rect title")
    counts = [int(text.rsplit(": ", 1)[1]) for text in bars.all_text_contents()]
    assert sum(counts) == SIZE - 1


def test_columns_sort(opened):
    page = opened.page
    page.locator("#structures thead button", has_text="seconds").click()
    assert opened.column("structures", 1)[0] == f"model_{opened.fastest}.pdb"
    page.locator("#structures thead button", has_text="name").click()
    names = [name for name in opened.column("structures", 1) if name.startswith("model")]
    numbers = [int(name[6:-4]) for name in names]
    assert numbers == sorted(numbers)


def test_names_and_states_filter(opened):
    page = opened.page
    page.fill("#filter", "MODEL_123")
    assert page.inner_text("#count") == f"11 of {SIZE} structures"
    page.fill("#filter", "")
    page.select_option("#state", "failed")
    assert opened.column("structures", 1) == [HOSTILE]
    assert opened.column("structures", 2) == ["✗ failed"]
    assert opened.column("structures", 6) == ["no template for <residue> UNK"]
    assert page.locator("#rows b").count() == 0
    page.select_option("#state", "")


def test_a_structure_links_to_its_own_page(opened):
    page = opened.page
    page.fill("#filter", "model_8.pdb")
    assert page.locator("#rows a").get_attribute("href") == "own/model%208%231.html"
    page.fill("#filter", "")
