"""Where things are, for those who look in the wrong place: imports written as for Airflow, or misspelt.

``import nbflow`` puts :class:`nbflow.Signpost` at the end of ``sys.meta_path``; for a module of nbflow that does not
exist Python asks it last, and it answers with an error from here. :func:`advice` says the same of names that a module
lacks, and of a few mistakes that Python reports in words of its own; the reader of DAG files adds it to what it shows.
A module or class that moves, or comes, is a word in the tables below (``tests/leaf/test_airflow_names.py`` imports
all)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from nbflow.errors import did_you_mean

PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nbflow": (
            *("DAG", "dag", "task", "task_group", "TaskGroup", "setup", "teardown", "BaseOperator", "XComArg", "Param"),
            *("Label", "chain", "chain_linear", "cross_downstream", "get_current_context", "TriggerRule"),
            *("Connection", "Variable"),
        ),
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
        "nbflow.authoring.context": ("Context",),
        "nbflow.authoring.templating": ("literal",),
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

_MODULE_OF = {name: module for module, names in PLACES.items() for name in names}


def import_line(*names: str) -> str:
    """``from nbflow import DAG; from nbflow.errors import AirflowException``"""
    by_module: dict[str, list[str]] = {}
    for name in names:
        by_module.setdefault(_MODULE_OF[name], []).append(name)
    return "; ".join(f"from {module} import {', '.join(found)}" for module, found in by_module.items())


def missing(fullname: str) -> ModuleNotFoundError:
    """The error for a module (or, after ``from ... import``, a name) of nbflow that does not exist.

    It has no ``name``: Python drops one that has while it looks at the names of a ``from nbflow import ...``.
    """
    inside = fullname.removeprefix("nbflow.")
    if inside in MODULES:
        return ModuleNotFoundError(f"There is no {fullname}. Write: {import_line(*MODULES[inside])}")
    parent, _, name = fullname.rpartition(".")
    return ModuleNotFoundError(f"There is no {name!r} in {parent}.{_instead_of(name, parent)}")


def _instead_of(name: str, module: str) -> str:
    today = RENAMED.get(name, name)
    if today in _MODULE_OF:
        return f" Write: {import_line(today)}"
    hint = did_you_mean(name, PLACES.get(module, ())) or did_you_mean(name, _neighbours(module))
    return hint or did_you_mean(name, _MODULE_OF) or " This release may not have it: the README lists what there is."


def _neighbours(module: str) -> list[str]:
    """The modules beside the one that was looked for."""
    return [known.removeprefix(f"{module}.") for known in PLACES if known.startswith(f"{module}.")]


# ------------------------------------------------------------------------------------------ what Python says, explained


def _lacks_name(said: re.Match[str]) -> str:
    return _instead_of(said["name"], said["module"])


_EXPLAINED: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), explain)
    for pattern, explain in (
        (r"cannot import name '(?P<name>\w+)' from '(?P<module>nbflow[\w.]*)'", _lacks_name),
        (
            r"No module named 'airflow\b",
            lambda said: (
                " Airflow is not installed. nbflow's own names are the same: from nbflow import DAG, task; "
                "from nbflow.operators.bash import BashOperator."
            ),
        ),
        (
            r"unsupported operand type\(s\) for (>>|<<): 'list' and 'list'",
            lambda said: (
                " Python has no edge between two lists: cross_downstream(a, b) joins each with each, "
                "chain(a, b) pairwise."
            ),
        ),
        (
            r"'(?P<kind>\w+(Operator|Sensor))' object has no attribute 'expand(_kwargs)?'",
            lambda said: f" What is mapped is not made yet: {said['kind']}.partial(task_id=..., ...).expand(...).",
        ),
        (
            r"TaskFactory\.(?P<way>expand|partial)\(\) takes 1 positional argument",
            lambda said: f" .{said['way']}() takes the function's arguments by name: .{said['way']}(x=...).",
        ),
        (
            r"object of type '\w*XComArg' has no len\(\)",
            lambda said: " A task's result exists only when the DAG runs: take its length inside a task.",
        ),
    )
)


def advice(error: BaseException) -> str:
    """The way out of a mistake that Python itself reports, to be put behind its words, or an empty text."""
    if not isinstance(error, ImportError | TypeError | AttributeError):
        return ""
    text = str(error)
    for pattern, explain in _EXPLAINED:
        if found := pattern.search(text):
            return f".{explain(found)}"
    return ""
