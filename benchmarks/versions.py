"""Which version of a method a table shows, and what is said of versions and machines below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A load of so many processes for each core makes seconds say little.
BUSY = 1.5


def is_busy(row: dict) -> bool:
    """Tell whether other programs slowed down the runs of a line; older lines have no load."""
    return bool(row["load"]) and row["load"] > BUSY * float(row["cores"])


def current(rows: Iterable[dict], keys: Sequence[str]) -> list[dict]:
    """Return one version of each method in each case: no table compares a method with its past.

    Of several versions, or machines, that is the one run from most starts; of these one on a
    machine that did nothing else, and the newest. Platforms are told apart.

    Parameters
    ----------
    rows : iterable of dict
        Lines of a summary.
    keys : sequence of str
        What tells lines apart besides versions and machines.

    Returns
    -------
    list of dict
        In the order in which their case and method first came.

    Examples
    --------
    >>> line = {"method": "a", "starts": 3, "load": None, "cores": 2, "platform": "CPU"}
    >>> old, new = line | {"date": "2026-01-01"}, line | {"date": "2026-02-01"}
    >>> current([new, old], ("method",)) == [new]
    True
    """
    chosen: dict[tuple, dict] = {}
    for row in rows:
        key = (*(row[name] for name in keys), row["platform"])
        # Of equal ones the last: rows are appended.
        chosen[key] = max(row, chosen.get(key, row), key=_preference)
    return list(chosen.values())


def _preference(row: dict) -> tuple:
    return row["starts"], not is_busy(row), row["date"]


def origin(row: dict) -> str:
    """Return the version of a line's runs, a platform other than CPU, and a high load."""
    elsewhere = "" if row["platform"] == "CPU" else f", {row['platform']}"
    return f"{row['version']}{elsewhere}{', busy machine' if is_busy(row) else ''}"


def caption(rows: Sequence[dict]) -> str:
    """Return a line with the commits, days, machines and libraries of lines of a summary."""
    own = [row for row in rows if " " not in row["version"]]
    days: dict[str, set] = {}
    for row in own:
        days.setdefault(row["version"], set()).add(row["date"])
    commits = [f"{name} ({_span(found)})" for name, found in sorted(days.items(), key=_last_day)]
    machines = dict.fromkeys(
        f"{_machine(row)}, OpenMM {row['openmm'].partition('.dev')[0]}, "
        f"torch {row['torch'].partition('+')[0]}"
        for row in rows
    )
    told = [f"Machine: {'; '.join(machines)}."]
    if commits:
        told.insert(0, f"openmm-reparam at commit {', '.join(commits)}.")
    return f"*{' '.join(told)}*"


def _machine(row: dict) -> str:
    known = row["cores"] != "not recorded"
    return f"{row['processor']}, {row['cores']} cores" if known else "not recorded"


def _last_day(item: tuple[str, set]) -> str:
    return max(item[1])


def _span(days: set) -> str:
    first, last = min(days), max(days)
    return first if first == last else f"{first} to {last}"
