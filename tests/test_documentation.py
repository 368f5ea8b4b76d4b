"""What README and the documentation point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    if "_build" not in page.parts and "generated" not in page.parts
)
LINK = re.compile(r"\]\(([^)\s#]+)")
SOURCE = re.compile(r"`([\w.]+/[\w./]*\.(?:py|cpp|h|csv))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_named_exist(page):
    text = page.read_text()
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    for name in SOURCE.findall(text):
        if not any((folder / name).exists() for folder in (ROOT, ROOT / "openmm_reparam")):
            missing.append(name)
    assert not missing


def test_where_is_it_comes_first_and_answers_five_questions():
    text = (ROOT / "docs" / "development" / "index.md").read_text()
    assert text.startswith("# Where is it?")
    table = text.split("\n\n")[2].splitlines()
    assert len(table) - 2 == 5
    assert all(SOURCE.search(row) or "`reparametrizations/`" in row for row in table[2:])
