"""Hints for errors that Python reports without one: failed imports, and common mistakes in DAG files.

:func:`error_hint` returns a hint, which is appended to Python's message where the error of a DAG file, cell, task or
magic is shown. For ``import nbflow.dag.context`` Python reports only that ``nbflow.dag`` does not exist; the full
module name and the imported names are read from the import instruction at which the traceback ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NamedTuple

from nbflow.airflow_names import MODULE_OF, MODULES, PLACES, PLANNED_FEATURE, RENAMED, import_line
from nbflow.moved_modules import MOVED

# -------------------------------------------------------------------------------------------------------- failed import


class FailedImport(NamedTuple):
    """``from module import names``; without names ``import module``."""

    module: str
    names: tuple[str, ...] = ()


_LACKS_NAME = re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)' \(")


def _failed_import(error: ImportError) -> FailedImport:
    """The import that failed; if the module exists, only the name that it lacks."""
    if lacking := _LACKS_NAME.match(str(error)):
        return FailedImport(lacking["module"], (lacking["name"],))
    reported = FailedImport(error.name or "")
    if not isinstance(error, ModuleNotFoundError) or error.__traceback__ is None:
        return reported
    statement = _import_at_the_end_of(error.__traceback__)
    if statement is not None and f"{statement.module}.".startswith(f"{reported.module}."):
        return statement
    return reported


def _import_at_the_end_of(trace: TracebackType) -> FailedImport | None:
    """The import statement at which a traceback ends; None where something else raised."""
    import dis

    while trace.tb_next is not None and not trace.tb_next.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
        trace = trace.tb_next
    loaded: object = None
    for step in dis.get_instructions(trace.tb_frame.f_code):
        if step.offset == trace.tb_lasti:
            names = loaded if isinstance(loaded, tuple) else ()
            return FailedImport(step.argval, tuple(map(str, names))) if step.opname == "IMPORT_NAME" else None
        if step.opname == "LOAD_CONST":
            loaded = step.argval  # the last constant before an IMPORT_NAME holds the names after `import`, or None
    return None


# --------------------------------------------------------------------------------------------------------- import hints


def import_hint(error: BaseException) -> str:
    """The hint for a failed import of a module of nbflow or Airflow, to append to the error's message; otherwise an
    empty string."""
    if not isinstance(error, ImportError):
        return ""
    failed = _failed_import(error)
    match failed.module.partition(".")[0]:
        case "nbflow":
            hint = _moved(failed) or _instead_of(failed)
        case "airflow":
            example = "from nbflow import DAG, task; from nbflow.operators.bash import BashOperator"
            imports = import_line(*_current_names(failed.names)) if _all_known(failed.names) else example
            hint = f"Airflow is not installed; import from nbflow, which has the same names: {imports}."
        case _:
            return ""
    return f". {hint}"


def _moved(failed: FailedImport) -> str:
    """The hint for a module that moved: its new path, and the import of public names, which did not move."""
    if not failed.names and failed.module not in MOVED:
        packages = sorted({new.rpartition(".")[0] for old, new in MOVED.items() if old.startswith(f"{failed.module}.")})
        return f"Its modules moved to {', '.join(packages)}." if packages else ""
    paths = [failed.module] if failed.module in MOVED else [f"{failed.module}.{name}" for name in failed.names]
    if not paths or not MOVED.keys() >= set(paths):
        return ""
    moves = "; ".join(f"{path} moved to {MOVED[path]}" for path in paths)
    public = failed.module in MOVED and _all_known(failed.names)
    return f"{moves}. Write: {import_line(*_current_names(failed.names))}" if public else f"{moves}."


def _instead_of(failed: FailedImport) -> str:
    known = [name for name in failed.names if _all_known([name])]
    unknown = [_missing_name(name, failed.module) for name in failed.names if name not in known]
    if known:
        return " ".join([f"Write: {import_line(*_current_names(known))}{'.' if unknown else ''}", *unknown])
    for path in (failed.module, *(f"{failed.module}.{name}" for name in failed.names)):
        module = path.removeprefix("nbflow.")
        if module in MODULES:
            imports = import_line(*MODULES[module])
            lacks = unknown and path == failed.module
            return f"{' '.join(unknown)} Available of {module}: {imports}" if lacks else f"Write: {imports}"
    nearest = _nearest_module(failed.module)
    if nearest:
        return f"Did you mean {nearest!r}?"
    return " ".join(unknown) or f"This release of nbflow has no {failed.module}."


def _missing_name(name: str, module: str) -> str:
    if name in PLANNED_FEATURE:
        return f"This release of nbflow has no {name}; {PLANNED_FEATURE[name]} are planned for a later release."
    nearest = _nearest(name, PLACES.get(module, ())) or _nearest(name, MODULE_OF)
    if not nearest:
        return f"This release of nbflow has no {name}."
    return f"Did you mean {nearest!r}? Write: {import_line(nearest)}."


def _all_known(names: Iterable[str]) -> bool:
    current = _current_names(names)
    return bool(current) and MODULE_OF.keys() >= set(current)


def _current_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(RENAMED.get(name, name) for name in names)


#: Minimum similarity of a misspelt name, from 0 to 1: `Asset` and `setup` (0.6) are too different, and so are
#: TaskInstance and TaskState (0.76).
_MIN_SIMILARITY = 0.8
_SUFFIX = re.compile(r"(?<=.)(operator|sensor|hook|timetable|exception)$")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The name of ``known`` that ``name`` may be a misspelling of. A common suffix does not count: S3Hook is not a
    misspelling of FSHook."""
    from difflib import get_close_matches

    match = _SUFFIX.search(name.lower())
    suffix = match[1] if match else ""
    stems = {other.lower().removesuffix(suffix): other for other in known if other.lower().endswith(suffix)}
    stem = name.lower().removesuffix(suffix)
    swapped = [other for other in stems if sorted(other) == sorted(stem)]  # two letters in the wrong order: `bahs`
    nearest = get_close_matches(stem, list(stems), n=1, cutoff=_MIN_SIMILARITY) or swapped
    return stems[nearest[0]] if nearest else ""


def _nearest_module(module: str) -> str:
    """Another module with a similar name, compared part by part."""
    parts = module.split(".")
    for other in (known.split(".") for known in PLACES if known != module and known.count(".") == len(parts) - 1):
        if all(_nearest(part, [other_part]) for part, other_part in zip(parts, other, strict=True)):
            return ".".join(other)
    return ""


# ----------------------------------------------------------------------------------------------- hints for other errors

_EXPLAINED: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (
            r"unsupported operand type\(s\) for (>>|<<): 'list' and 'list'",
            lambda match: (
                "Python has no edge between two lists: cross_downstream(a, b) joins each with each, "
                "chain(a, b) pairwise."
            ),
        ),
        (
            r"'(?P<kind>\w+(Operator|Sensor))' object has no attribute 'expand(_kwargs)?'",
            lambda match: (
                f"Map the operator before it is created: {match['kind']}.partial(task_id=..., ...).expand(...)."
            ),
        ),
        (
            r"TaskFactory\.(?P<method>expand|partial)\(\) takes 1 positional argument",
            lambda match: f".{match['method']}() takes the function's arguments by name: .{match['method']}(x=...).",
        ),
        (
            r"object of type '\w*XComArg' has no len\(\)",
            lambda match: "A task's result exists only when the DAG runs: take its length inside a task.",
        ),
    )
)


def error_hint(error: BaseException) -> str:
    """The hint for a common error that Python reports, to append to its message; otherwise an empty string."""
    if not isinstance(error, TypeError | AttributeError):
        return import_hint(error)
    text = str(error)
    for pattern, explain in _EXPLAINED:
        if match := pattern.search(text):
            return f". {explain(match)}"
    return ""
