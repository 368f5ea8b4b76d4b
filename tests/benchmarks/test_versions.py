"""Tables show one version of a method, and say of which commit and machine."""

import pytest

from benchmarks import versions

LINE = {
    **{"case": "a", "method": "m", "starts": 3, "load": None, "platform": "CPU"},
    **{"version": "abc", "date": "2026-01-01", "processor": "P", "cores": 2},
    **{"openmm": "8.6.1.dev-x", "torch": "2.9.1+cpu"},
}
KEYS = ("case", "method")


@pytest.mark.parametrize(
    "preferred",
    [
        {"date": "2026-02-01"},
        {"date": "2025-01-01", "starts": 4},
        {"date": "2026-02-01", "load": 2.9},
    ],
)
def test_of_versions_the_newest_of_most_starts_is_shown(preferred):
    other = LINE | {"version": "def"} | preferred
    assert versions.current([LINE, other], KEYS) == [other]
    assert versions.current([other, LINE], KEYS) == [other]


@pytest.mark.parametrize("worse", [{"load": 3.1}, {"starts": 2}])
def test_a_newer_version_of_fewer_starts_or_a_busy_machine_is_not(worse):
    newer = LINE | {"version": "def", "date": "2026-02-01"} | worse
    assert versions.current([newer, LINE], KEYS) == [LINE]


def test_cases_methods_and_platforms_stay_apart():
    rows = [LINE | change for change in ({}, {"case": "b"}, {"method": "n"}, {"platform": "CUDA"})]
    assert versions.current(rows, KEYS) == rows


def test_a_caption_names_commits_days_and_machines():
    rows = [
        LINE,
        LINE | {"date": "2026-01-03"},
        LINE | {"version": "def", "date": "2026-01-02", "processor": "Q"},
        LINE | {"version": "openmm 8.6.1", "date": "2025-01-01"},
    ]
    text = versions.caption(rows)
    assert "commit def (2026-01-02), abc (2026-01-01 to 2026-01-03)." in text
    assert "P, 2 cores, OpenMM 8.6.1, torch 2.9.1; Q, 2 cores" in text
    assert "2025" not in text
