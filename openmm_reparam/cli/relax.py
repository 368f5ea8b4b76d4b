"""``openmm-reparam relax``: predicted structures as their pipelines relax them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..distributed.cluster import workers_for
from ..distributed.file_work import default_summary, file_rows, file_summary
from ..distributed.files import read_text, write_text
from ..distributed.prediction_task import RELAXATION_COLUMNS
from ..distributed.relax_many import check_relaxation, relaxation_work
from ..distributed.structure_inputs import STRUCTURE_ENDINGS, structure_files
from ..distributed.summary import read_summary, row_state
from ..predicted.api import relax_structure
from ..predicted.protocol import RelaxationSettings
from .relaxation_page import write_relaxation_page, write_relaxations_page
from .settings import Console, platform_name
from .workforce import Workforce, say_workers

__all__ = ["relax_file_of", "relax_files_of", "relaxation_settings"]

_PDB_ENDINGS = (".pdb", ".ent")
# Of the table on the terminal.
_LONGEST_NAME = 40
_HEADINGS = ("residues", "clashes", "violating", "score", "RMSD", "seconds")


def relaxation_settings(**options: Any) -> RelaxationSettings:
    """Return the settings that options of the command line say.

    Parameters
    ----------
    **options
        Attributes of `RelaxationSettings`; threads without a platform mean the CPU.

    Returns
    -------
    RelaxationSettings
    """
    settings = RelaxationSettings(**options)
    return replace(settings, platform=platform_name(settings.platform, settings.threads))


def relax_file_of(
    file: Path,
    settings: RelaxationSettings,
    output: Path | None,
    json_file: str | None,
    page: Path | None = None,
) -> int:
    """Relax one file, report and write.

    Parameters
    ----------
    file : Path
    settings : RelaxationSettings
    output : Path or None
        In the format of the input.
    json_file : str or None
        A path, or "-" for the standard output.
    page : Path or None
        HTML file.

    Returns
    -------
    int
        Exit code: 0 converged, 1 not.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it cannot be relaxed, or the output would be of another format.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    _refuse_another_format(file, output)
    console = Console(json_file)
    try:
        relaxed = relax_structure(read_text(file), name=file.name, **vars(settings))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    report = relaxed.report
    console.say(repr(report))
    if output is not None:
        write_text(output, relaxed.text)
        console.say(f"Wrote the structure: {output}")
    if json_file is not None:
        told = json.dumps({"file": str(file), **report.to_dict()}, indent=2)
        if json_file == "-":
            print(told)
        else:
            write_text(Path(json_file), told)
            console.say(f"Wrote the report: {json_file}")
    if page is not None:
        write_relaxation_page(relaxed, page)
        console.say(f"Wrote the page: {page}")
    return 0 if report.converged else 1


def relax_files_of(
    source: Path,
    settings: RelaxationSettings,
    output: Path | None,
    *,
    workforce: Workforce,
    summary: Path | None = None,
    page: Path | None = None,
) -> int:
    """Relax every structure file of a folder or a list, and summarize them.

    Parameters
    ----------
    source : Path
        A folder, or a file with a path a line.
    settings : RelaxationSettings
    output : Path or None
        A folder: it gets files of the same names.
    workforce : Workforce
    summary : Path or None
        CSV or Parquet file; None is ``summary.csv`` in the folder of outputs, if there is one.
    page : Path or None
        HTML file with a row for each file; it takes a summary.

    Returns
    -------
    int
        Exit code: 0 all converged, 1 some not converged or failed.

    Raises
    ------
    FileExistsError
        The summary is of an earlier run, and that is not to be resumed.
    ValueError
        There is no file to relax, or the arguments cannot be right for any.
    KeyboardInterrupt
        Ctrl-C, once the workers have ended; the summary holds the files that were done.
    """
    if output is not None and output.suffix.lower() in STRUCTURE_ENDINGS:
        raise ValueError(f"-o {output}: for a folder of files, name a folder")
    if output is not None and output.resolve() == source.resolve():
        raise ValueError(f"-o {output} would overwrite the input: name another folder")
    files = structure_files(source)
    check_relaxation(settings)
    path = default_summary(summary, output)
    if page is not None and path is None:
        raise ValueError(f"--report {page} is made of the summary: name one by --csv, or -o FOLDER")
    processes = workforce.cluster.processes(files.total)
    work = relaxation_work(settings, processes, workforce.resources)
    with ExitStack() as stack:
        table = stack.enter_context(file_summary(files, work, output, path, workforce.resume))
        kept = files.among(table.kept)
        left = files.total - len(kept)
        print(f"{left} of {files.total} files of {source}", flush=True)
        client = stack.enter_context(workers_for(left, workforce.cluster))
        say_workers(client, processes, Console(None))
        rows = stack.enter_context(
            closing(file_rows(client, files, work, output, table, resources=workforce.resources))
        )
        counts = Counter(kept.values()) + _shown(rows, files.total, len(kept))
    print(
        f"{counts['converged']} of {counts.total()} converged, {counts['not converged']} did not, "
        f"{counts['failed']} failed"
    )
    if path is not None:
        print(f"Wrote the summary: {path}")
    if page is not None and path is not None:
        write_relaxations_page(read_summary(path, RELAXATION_COLUMNS), page, str(source))
        print(f"Wrote the page: {page}")
    return 0 if counts["converged"] == counts.total() else 1


def _shown(rows: Iterable[dict[str, Any]], total: int, kept: int) -> Counter[str]:
    """Print a line for each file when it is done, above a bar; count what became of them."""
    print("Before > after: heavy-atom clashes, residues with violations, MolProbity-like score.")
    print(f"{'file':<{_LONGEST_NAME}}" + "".join(f"{title:>14}" for title in _HEADINGS))
    states: Counter[str] = Counter()
    with tqdm(
        total=total, initial=kept, unit="file", smoothing=0, leave=False, disable=None
    ) as bar:
        for row in rows:
            bar.write(_line(row), file=sys.stdout)
            bar.update()
            states[row_state(row)] += 1
    return states


def _line(row: dict[str, Any]) -> str:
    if row["error"]:
        return f"{row['file']:<{_LONGEST_NAME}}  FAILED: {row['error']}"
    cells = (
        f"{row['residues']}",
        _both(row, "clashes", "d"),
        _both(row, "violating_residues", "d"),
        _both(row, "molprobity_like", ".2f"),
        f"{row['rmsd_angstrom']:.3f}",
        f"{row['seconds']:.1f}",
    )
    end = "" if row["converged"] else "  NOT converged"
    return f"{row['file']:<{_LONGEST_NAME}}" + "".join(f"{cell:>14}" for cell in cells) + end


def _both(row: dict[str, Any], name: str, form: str) -> str:
    values = (row[f"{name}_before"], row[f"{name}_after"])
    return " > ".join("-" if value is None else format(value, form) for value in values)


def _refuse_another_format(file: Path, output: Path | None) -> None:
    if output is None:
        return
    if output.resolve() == file.resolve():
        raise ValueError(f"-o {output} would overwrite the input: name another file")
    kinds = [path.suffix.lower() in _PDB_ENDINGS for path in (file, output)]
    if output.suffix.lower() not in STRUCTURE_ENDINGS or kinds[0] != kinds[1]:
        wanted = ".pdb" if kinds[0] else ".cif"
        raise ValueError(
            f"-o {output}: the metadata are kept in the format of the input, name a {wanted} file"
        )
