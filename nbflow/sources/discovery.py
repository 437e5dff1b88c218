"""Finding the files of a DAGs folder that may define DAGs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbflow.sources.loading import READERS

IGNORE_FILES = (".nbflowignore", ".airflowignore")


def find_dag_files(folder: str | os.PathLike[str], syntax: str = "glob") -> list[str]:
    """Paths of the files in a DAGs folder that may define DAGs, sorted.

    Hidden files and folders, ``__pycache__`` and ``.ipynb_checkpoints`` are passed over, and so is what a
    ``.nbflowignore`` or ``.airflowignore`` names, in its folder and below: by patterns as in ``.gitignore`` (``syntax``
    "glob", as in Airflow 3), or by regular expressions that are searched in the path from the DAGs folder on ("regexp",
    as in Airflow 2). Links to folders are followed, each folder once.
    """
    found: list[str] = []
    seen: set[str] = set()
    rules: dict[str, list[_Rule]] = {}
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        inherited = rules.get(os.path.dirname(here), []) if here != os.fspath(folder) else []
        rules[here] = active = [*inherited, *_rules_of(here, files, os.fspath(folder) if syntax == "regexp" else None)]
        folders[:] = sorted(name for name in folders if not _skipped(here, name, active, is_folder=True))
        found += [
            os.path.join(here, name)
            for name in files
            if os.path.splitext(name)[1] in (*READERS, ".zip") and not _skipped(here, name, active, is_folder=False)
        ]
    return sorted(found)


def has_links(folder: str | os.PathLike[str], paths: Iterable[str]) -> bool:
    """Whether a DAGs folder, or something of these files in it, is a link: then they change where nobody watches."""
    below = os.fspath(folder) + os.sep
    inside = [path for path in paths if path.startswith(below)]
    folders = {os.path.dirname(path) for path in inside}
    while parents := {os.path.dirname(one) for one in folders if one.startswith(below)} - folders:
        folders |= parents
    return any(map(os.path.islink, {os.fspath(folder), *folders, *inside}))


def is_dag_file(path: str | os.PathLike[str]) -> bool:
    """Whether a found file may define DAGs, by what it says: see :func:`may_define_dag`. A ZIP file may by what is in
    it: loading it says that it is not read. False for a file that cannot be read (any more)."""
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
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # broken, packed in an odd way, or with a password
        return False


def may_define_dag(text: str) -> bool:
    """Whether it is worth running a file: it says "dag", and names nbflow or Airflow (as in Airflow's safe mode), or
    has a DAG cell. The other files of the folder are modules, and scripts that nobody asked to run."""
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


def _skipped(here: str, name: str, rules: Sequence[_Rule], *, is_folder: bool) -> bool:
    if name.startswith(".") or name == "__pycache__":
        return True
    skipped = False
    for rule in rules:
        path = os.path.relpath(os.path.join(here, name), rule.base).replace(os.sep, "/")
        if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(path):
            skipped = rule.ignores
    return skipped


def _rules_of(here: str, files: Sequence[str], top: str | None) -> list[_Rule]:
    """The rules of a folder's ignore files. ``top``: where the paths begin that regular expressions are searched in;
    None: the lines are patterns."""
    rules = []
    for name in IGNORE_FILES:
        if name in files:
            with contextlib.suppress(OSError):
                lines = Path(here, name).read_text(encoding="utf-8", errors="replace").splitlines()
                made = (_rule(here, line.rstrip()) if top is None else _searched(top, line.strip()) for line in lines)
                rules += [rule for rule in made if rule is not None]
    return rules


def _searched(top: str, line: str) -> _Rule | None:
    """One line of an ignore file of Airflow 2. None for a comment, an empty line, or what is no regular expression."""
    expression = line.partition("#")[0].strip()
    try:
        return _Rule(top, re.compile(f".*(?:{expression}).*"), True, False) if expression else None
    except re.error:
        return None


#: In this order: what a longer one took is no longer there for a shorter one.
_WILDCARDS = (
    (r"\*\*/", "(?:.*/)?"),
    (r"/\*\*", "/.*"),
    (r"\*\*", ".*"),
    (r"\*", "[^/]*"),
    (r"\?", "[^/]"),
)


def _rule(base: str, line: str) -> _Rule | None:
    """One line of an ignore file; None for a comment, an empty line, or a pattern that cannot be read."""
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
