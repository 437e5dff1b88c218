"""Finds the files that may define DAGs: those of a folder, and the example DAGs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.sources.loading import READERS

if TYPE_CHECKING:
    from nbflow.config import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "example_dags"
"""The DAG files that nbflow ships; parsed only with ``[core] load_examples``."""
IGNORE_FILES = (".nbflowignore", ".airflowignore")


def find_dag_files(folder: str | os.PathLike[str], syntax: str = "glob") -> list[str]:
    """Return the sorted paths of the files in a DAGs folder that may define DAGs.

    Hidden files and folders, ``__pycache__`` and ``.ipynb_checkpoints`` are skipped, and the files that a
    ``.nbflowignore`` or ``.airflowignore`` in their folder or a parent folder names: by patterns as in ``.gitignore``
    (``syntax`` "glob", as in Airflow 3), or by regular expressions that are searched in the path relative to the DAGs
    folder ("regexp", as in Airflow 2). Symbolic links to folders are followed, each folder once.
    """
    paths: list[str] = []
    visited: set[str] = set()
    rules: dict[str, list[_Rule]] = {}
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        inherited = rules.get(os.path.dirname(current), []) if current != os.fspath(folder) else []
        new_rules = _rules_of(current, files, os.fspath(folder) if syntax == "regexp" else None)
        rules[current] = active = [*inherited, *new_rules]
        folders[:] = sorted(name for name in folders if not _is_ignored(current, name, active, is_folder=True))
        paths += [
            os.path.join(current, name)
            for name in files
            if os.path.splitext(name)[1] in (*READERS, ".zip")
            and not _is_ignored(current, name, active, is_folder=False)
        ]
    return sorted(paths)


def configured_dag_files(settings: Settings) -> list[str]:
    """The files that the DAG processor parses: those in the DAGs folder and, with ``[core] load_examples``, the example
    DAGs."""
    core = settings.core
    return find_dag_files(core.dags_folder, core.dag_ignore_file_syntax) + (
        find_dag_files(EXAMPLES) if core.load_examples else []
    )


def has_links(folder: str | os.PathLike[str], paths: Iterable[str]) -> bool:
    """Whether a DAGs folder, one of these files in it or a folder between is a symbolic link: a file watcher does not
    see changes of its target."""
    below = os.fspath(folder) + os.sep
    inside = [path for path in paths if path.startswith(below)]
    folders = {os.path.dirname(path) for path in inside}
    while parents := {os.path.dirname(path) for path in folders if path.startswith(below)} - folders:
        folders |= parents
    return any(map(os.path.islink, {os.fspath(folder), *folders, *inside}))


def is_dag_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file may define DAGs, by its text (:func:`may_define_dag`). For a ZIP file the files in it decide;
    loading it then gives the error that ZIP files are not supported. False for a file that cannot be read."""
    try:
        if os.fspath(path).endswith(".zip"):
            return _packs_dags(path)
        return may_define_dag(Path(path).read_bytes().decode("utf-8", "replace"))
    except OSError:
        return False


def _packs_dags(path: str | os.PathLike[str]) -> bool:
    """Whether Airflow would find DAGs in a ZIP file: in a ``.py`` file at its root."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as pack:
            names = [name for name in pack.namelist() if name.endswith(".py") and "/" not in name]
            return any(may_define_dag(pack.read(name).decode("utf-8", "replace")) for name in names)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # broken, unknown compression, or encrypted
        return False


def may_define_dag(text: str) -> bool:
    """Whether to run a file: its text has "dag" and "nbflow" or "airflow" (as in Airflow's safe mode), or a DAG cell.
    Other files of the folder are modules and scripts, which must not be run."""
    if "%%dag" in text:
        return True
    lowered = text.lower()
    return "dag" in lowered and ("nbflow" in lowered or "airflow" in lowered)


@dataclass(frozen=True, slots=True)
class _Rule:
    base: str
    pattern: re.Pattern[str]
    ignores: bool
    folders_only: bool


def _is_ignored(folder: str, name: str, rules: Sequence[_Rule], *, is_folder: bool) -> bool:
    if name.startswith(".") or name == "__pycache__":
        return True
    ignored = False
    for rule in rules:
        path = os.path.relpath(os.path.join(folder, name), rule.base).replace(os.sep, "/")
        if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(path):
            ignored = rule.ignores
    return ignored


def _rules_of(folder: str, files: Sequence[str], regexp_base: str | None) -> list[_Rule]:
    """The rules of a folder's ignore files. ``regexp_base``: the lines are regular expressions for paths relative to
    this folder; None: the lines are patterns."""
    rules = []
    for name in IGNORE_FILES:
        if name in files:
            with contextlib.suppress(OSError):
                lines = Path(folder, name).read_text(encoding="utf-8", errors="replace").splitlines()
                parsed = (
                    _pattern_rule(folder, line.rstrip())
                    if regexp_base is None
                    else _regexp_rule(regexp_base, line.strip())
                    for line in lines
                )
                rules += [rule for rule in parsed if rule is not None]
    return rules


def _regexp_rule(base: str, line: str) -> _Rule | None:
    """A line of an Airflow 2 ignore file. None for a comment, an empty line, or an invalid regular expression."""
    expression = line.partition("#")[0].strip()
    try:
        return _Rule(base, re.compile(f".*(?:{expression}).*"), True, False) if expression else None
    except re.error:
        return None


#: Replaced in this order, so that `*` does not replace a part of `**`.
_WILDCARDS = (
    (r"\*\*/", "(?:.*/)?"),
    (r"/\*\*", "/.*"),
    (r"\*\*", ".*"),
    (r"\*", "[^/]*"),
    (r"\?", "[^/]"),
)


def _pattern_rule(base: str, line: str) -> _Rule | None:
    """A line of an ignore file. None for a comment, an empty line, or an invalid pattern."""
    ignores = not line.startswith("!")
    glob = line.lstrip("!") if not ignores else line
    if not glob or glob.startswith("#"):
        return None
    folders_only = glob.endswith("/")
    glob = glob.rstrip("/")
    anywhere = "/" not in glob
    text = re.escape(glob.lstrip("/"))
    for escaped, regex in _WILDCARDS:
        text = text.replace(escaped, regex)
    text = re.sub(r"\\\[(!?)(.*?)\\\]", lambda m: f"[{'^' if m[1] else ''}{m[2]}]".replace(r"\-", "-"), text)
    try:
        pattern = re.compile(("(?:.*/)?" if anywhere else "") + text)
    except re.error:
        return None
    return _Rule(base, pattern, ignores, folders_only)
