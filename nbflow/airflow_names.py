"""The way out of an import that looks in the wrong place: written as for Airflow, of a module that moved, or misspelt.

Python's own message stands; :func:`advice` says what to put behind it, and is asked where a DAG file's, a cell's, a
task's or a magic's error is shown. Of ``import nbflow.dag.context`` Python reports only that there is no
``nbflow.dag``: the whole name, and what was to be imported from it, is read from the import instruction at which the
traceback ends.

A module or class that moves, or comes, is a word in the tables below and in :mod:`nbflow.moved_modules`
(``tests/leaf/test_airflow_names.py`` imports all)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import NamedTuple

import nbflow
from nbflow.moved_modules import MOVED

PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nbflow": tuple(nbflow._EXPORTS),
        "nbflow.operators.bash": ("BashOperator",),
        "nbflow.operators.empty": ("EmptyOperator",),
        "nbflow.operators.latest_only": ("LatestOnlyOperator",),
        "nbflow.operators.notebook": ("NotebookOperator", "PapermillOperator"),
        "nbflow.operators.python": ("PythonOperator", "BranchPythonOperator", "ShortCircuitOperator"),
        "nbflow.operators.base": ("BaseBranchOperator", "BranchMixIn"),
        "nbflow.operators.sql": ("SQLExecuteQueryOperator", "SqliteOperator", "PostgresOperator"),
        "nbflow.operators.trigger_dagrun": ("TriggerDagRunOperator",),
        "nbflow.sensors.base": ("BaseSensorOperator", "PokeReturnValue"),
        "nbflow.sensors.external_task": ("ExternalTaskSensor", "ExternalTaskMarker"),
        "nbflow.sensors.filesystem": ("FileSensor",),
        "nbflow.sensors.python": ("PythonSensor",),
        "nbflow.sensors.time_delta": ("TimeDeltaSensor",),
        "nbflow.hooks.base": ("BaseHook",),
        "nbflow.hooks.dbapi": ("DbApiHook",),
        "nbflow.hooks.filesystem": ("FSHook",),
        "nbflow.hooks.postgres": ("PostgresHook",),
        "nbflow.hooks.sqlite": ("SqliteHook",),
        "nbflow.core.timetables": (
            *("Timetable", "DagRunInfo", "DataInterval", "TimeRestriction", "CronDataIntervalTimetable"),
            *("CronTriggerTimetable", "DeltaDataIntervalTimetable", "DeltaTriggerTimetable", "EventsTimetable"),
            *("MultipleCronTriggerTimetable",),
        ),
        "nbflow.core.states": ("TaskState", "RunState"),
        "nbflow.errors": (
            *("AirflowException", "AirflowSkipException", "AirflowFailException", "AirflowSensorTimeout"),
            *("AirflowTaskTimeout", "AirflowNotFoundException"),
        ),
    }
)
"""Module -> what users import from it."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "DummyOperator": "EmptyOperator",
        "TaskInstanceState": "TaskState",
        "DagRunState": "RunState",
        "State": "TaskState",
        "PythonSensorOperator": "PythonSensor",
    }
)
"""Airflow's name -> ours."""

MODULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "models": ("DAG", "BaseOperator", "Param", "Variable", "Connection", "XComArg"),
        "sdk": ("DAG", "dag", "task", "task_group", "Param", "Variable", "BaseHook", "BaseSensorOperator"),
        "decorators": ("dag", "task", "task_group", "setup", "teardown"),
        "utils": ("TriggerRule", "TaskGroup", "Label", "chain", "cross_downstream", "TaskState", "Context"),
        "exceptions": PLACES["nbflow.errors"],
        "timetables": ("CronTriggerTimetable", "CronDataIntervalTimetable", "EventsTimetable", "Timetable"),
        "providers": (
            "BashOperator",
            "PythonOperator",
            "SQLExecuteQueryOperator",
            "PostgresHook",
            "ExternalTaskSensor",
        ),
        "contrib": ("BashOperator", "PythonOperator", "FileSensor"),
        "hooks.base_hook": ("BaseHook",),
        "hooks.filesystem_hook": ("FSHook",),
        "hooks.sql": ("DbApiHook",),
        "operators.bash_operator": ("BashOperator",),
        "operators.branch": ("BaseBranchOperator",),
        "operators.dagrun_operator": ("TriggerDagRunOperator",),
        "operators.dummy": ("EmptyOperator",),
        "operators.dummy_operator": ("EmptyOperator",),
        "operators.papermill": ("PapermillOperator",),
        "operators.python_operator": ("PythonOperator", "BranchPythonOperator", "ShortCircuitOperator"),
        "operators.sensors": ("BaseSensorOperator",),
        "sensors.base_sensor_operator": ("BaseSensorOperator",),
        "sensors.external_task_sensor": ("ExternalTaskSensor",),
        "sensors.time_delta_sensor": ("TimeDeltaSensor",),
    }
)
"""A module of Airflow's that has no twin here -> what people import from it, of what there is."""

TO_COME: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "assets": (
            *("Asset", "AssetAlias", "AssetAll", "AssetAny", "AssetOrTimeSchedule", "Metadata"),
            *("Dataset", "DatasetAlias", "DatasetAll", "DatasetAny", "DatasetOrTimeSchedule"),
        ),
    }
)
"""What a later release brings -> the names that users import for it."""

_MODULE_OF = {name: module for module, names in PLACES.items() for name in names}
_COMES_WITH = {name: what for what, names in TO_COME.items() for name in names}


def import_line(*names: str) -> str:
    """``from nbflow import DAG; from nbflow.errors import AirflowException``"""
    by_module: dict[str, list[str]] = {}
    for name in names:
        by_module.setdefault(_MODULE_OF[name], []).append(name)
    return "; ".join(f"from {module} import {', '.join(found)}" for module, found in by_module.items())


# --------------------------------------------------------------------------------------------- what was to be imported


class Wanted(NamedTuple):
    """``from module import names``; without names ``import module``."""

    module: str
    names: tuple[str, ...] = ()


_LACKS_NAME = re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)' \(")


def _wanted(error: ImportError) -> Wanted:
    """What the import that failed was to bring; of a module that is there only the name that it lacks."""
    if lacking := _LACKS_NAME.match(str(error)):
        return Wanted(lacking["module"], (lacking["name"],))
    reported = Wanted(error.name or "")
    if not isinstance(error, ModuleNotFoundError) or error.__traceback__ is None:
        return reported
    asked = _import_at_the_end_of(error.__traceback__)
    return asked if asked is not None and f"{asked.module}.".startswith(f"{reported.module}.") else reported


def _import_at_the_end_of(trace: TracebackType) -> Wanted | None:
    """The import statement at which a traceback ends; None where something else raised."""
    import dis

    while trace.tb_next is not None and not trace.tb_next.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
        trace = trace.tb_next
    loaded: object = None
    for step in dis.get_instructions(trace.tb_frame.f_code):
        if step.offset == trace.tb_lasti:
            names = loaded if isinstance(loaded, tuple) else ()
            return Wanted(step.argval, tuple(map(str, names))) if step.opname == "IMPORT_NAME" else None
        if step.opname == "LOAD_CONST":
            loaded = step.argval  # the last constant before an IMPORT_NAME holds the names after `import`, or None
    return None


# ------------------------------------------------------------------------------------------------- where it is instead


def import_advice(error: BaseException) -> str:
    """What to import instead, to be put behind the error's own words, or an empty text: of nbflow's and Airflow's
    modules alone."""
    if not isinstance(error, ImportError):
        return ""
    wanted = _wanted(error)
    match wanted.module.partition(".")[0]:
        case "nbflow":
            said = _moved(wanted) or _instead_of(wanted)
        case "airflow":
            example = "from nbflow import DAG, task; from nbflow.operators.bash import BashOperator"
            known = import_line(*_todays(wanted.names)) if _all_known(wanted.names) else example
            said = f"Airflow is not installed. nbflow's own names are the same: {known}."
        case _:
            return ""
    return f". {said}"


def _moved(wanted: Wanted) -> str:
    """The new path of a module that moved; and a public name's place, which stays."""
    if not wanted.names and wanted.module not in MOVED:
        rooms = sorted({new.rpartition(".")[0] for old, new in MOVED.items() if old.startswith(f"{wanted.module}.")})
        return f"Its modules are in {', '.join(rooms)} now." if rooms else ""
    paths = [wanted.module] if wanted.module in MOVED else [f"{wanted.module}.{name}" for name in wanted.names]
    if not paths or not MOVED.keys() >= set(paths):
        return ""
    said = "; ".join(f"{path} is {MOVED[path]} now" for path in paths)
    public = wanted.module in MOVED and _all_known(wanted.names)
    return f"{said}. Write: {import_line(*_todays(wanted.names))}" if public else f"{said}."


def _instead_of(wanted: Wanted) -> str:
    known = [name for name in wanted.names if _all_known([name])]
    unknown = [_missing_name(name, wanted.module) for name in wanted.names if name not in known]
    if known:
        return " ".join([f"Write: {import_line(*_todays(known))}{'.' if unknown else ''}", *unknown])
    for path in (wanted.module, *(f"{wanted.module}.{name}" for name in wanted.names)):
        twin = path.removeprefix("nbflow.")
        if twin in MODULES:
            there = import_line(*MODULES[twin])
            lacks = unknown and path == wanted.module
            return f"{' '.join(unknown)} What it has of {twin}: {there}" if lacks else f"Write: {there}"
    near = _nearest_module(wanted.module)
    return f"Did you mean {near!r}?" if near else " ".join(unknown) or f"This release of nbflow has no {wanted.module}."


def _missing_name(name: str, module: str) -> str:
    if name in _COMES_WITH:
        return f"This release of nbflow has no {name} yet: {_COMES_WITH[name]} come with a later one."
    near = _nearest(name, PLACES.get(module, ())) or _nearest(name, _MODULE_OF)
    return f"Did you mean {near!r}? Write: {import_line(near)}." if near else f"This release of nbflow has no {name}."


def _all_known(names: Iterable[str]) -> bool:
    today = _todays(names)
    return bool(today) and _MODULE_OF.keys() >= set(today)


def _todays(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(RENAMED.get(name, name) for name in names)


#: How alike two words are, from 0 to 1, so that one may be a slip for the other: `Asset` and `setup` (0.6) are not, nor
#: TaskInstance and TaskState (0.76).
_ALIKE = 0.8
_FAMILY = re.compile(r"(?<=.)(operator|sensor|hook|timetable|exception)$")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``name`` may be a slip for. What all of a family are called makes none of them alike:
    S3Hook is no slip for FSHook."""
    from difflib import get_close_matches

    def stem(word: str, family: str) -> str:
        return word.lower().removesuffix(family)

    found = _FAMILY.search(name.lower())
    family = found[1] if found else ""
    stems = {stem(one, family): one for one in known if one.lower().endswith(family)}
    sought = stem(name, family)
    swapped = [one for one in stems if sorted(one) == sorted(sought)]  # two letters the wrong way round: `bahs`
    near = get_close_matches(sought, list(stems), n=1, cutoff=_ALIKE) or swapped
    return stems[near[0]] if near else ""


def _nearest_module(module: str) -> str:
    """Another module that is written alike, part by part."""
    parts = module.split(".")
    for there in (known.split(".") for known in PLACES if known != module and known.count(".") == len(parts) - 1):
        if all(_nearest(part, [other]) for part, other in zip(parts, there, strict=True)):
            return ".".join(there)
    return ""


# ------------------------------------------------------------------------------------------- other mistakes, explained

_EXPLAINED: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (
            r"unsupported operand type\(s\) for (>>|<<): 'list' and 'list'",
            lambda said: (
                "Python has no edge between two lists: cross_downstream(a, b) joins each with each, "
                "chain(a, b) pairwise."
            ),
        ),
        (
            r"'(?P<kind>\w+(Operator|Sensor))' object has no attribute 'expand(_kwargs)?'",
            lambda said: f"What is mapped is not made yet: {said['kind']}.partial(task_id=..., ...).expand(...).",
        ),
        (
            r"TaskFactory\.(?P<way>expand|partial)\(\) takes 1 positional argument",
            lambda said: f".{said['way']}() takes the function's arguments by name: .{said['way']}(x=...).",
        ),
        (
            r"object of type '\w*XComArg' has no len\(\)",
            lambda said: "A task's result exists only when the DAG runs: take its length inside a task.",
        ),
    )
)


def advice(error: BaseException) -> str:
    """The way out of a mistake that Python itself reports, to be put behind its words, or an empty text."""
    if not isinstance(error, TypeError | AttributeError):
        return import_advice(error)
    text = str(error)
    for pattern, explain in _EXPLAINED:
        if found := pattern.search(text):
            return f". {explain(found)}"
    return ""
