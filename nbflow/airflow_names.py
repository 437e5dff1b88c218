"""Airflow's names and nbflow's: where users import each name from, and the names that nbflow lacks.

:mod:`nbflow.error_hints` makes the hints for failed imports from these tables. A public class that moves or is added
needs an entry (``tests/leaf/test_error_hints.py`` imports all of them)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import nbflow

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
"""Module -> the names that users import from it."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "DummyOperator": "EmptyOperator",
        "TaskInstanceState": "TaskState",
        "DagRunState": "RunState",
        "State": "TaskState",
        "PythonSensorOperator": "PythonSensor",
    }
)
"""Airflow's name -> nbflow's name."""

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
"""A module of Airflow that nbflow does not have -> the names of nbflow that users import from it."""

PLANNED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "assets": (
            *("Asset", "AssetAlias", "AssetAll", "AssetAny", "AssetOrTimeSchedule", "Metadata"),
            *("Dataset", "DatasetAlias", "DatasetAll", "DatasetAny", "DatasetOrTimeSchedule"),
        ),
    }
)
"""Feature of a later release -> the names that users import for it."""

MODULE_OF = {name: module for module, names in PLACES.items() for name in names}
PLANNED_FEATURE = {name: feature for feature, names in PLANNED.items() for name in names}


def import_line(*names: str) -> str:
    """``from nbflow import DAG; from nbflow.errors import AirflowException``"""
    by_module: dict[str, list[str]] = {}
    for name in names:
        by_module.setdefault(MODULE_OF[name], []).append(name)
    return "; ".join(f"from {module} import {', '.join(imported)}" for module, imported in by_module.items())
