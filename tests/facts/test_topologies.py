"""Whole DAGs that are run: final states, tries, XComs, values that tasks pulled; and trigger rules in runs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from nbflow import DAG, task
from nbflow.app import App
from nbflow.config import Settings
from nbflow.core import run_changes
from nbflow.core.run_ids import make_run_id
from nbflow.core.snapshot import Run, RunKey
from nbflow.core.states import TaskState
from nbflow.errors import AirflowSkipException
from nbflow.operators.empty import EmptyOperator
from nbflow.services.dag_test import drive, register_inline
from nbflow.store import open_store

from .topologies import START, Builder, Recorder


@pytest.fixture
def app(tmp_path):
    settings = Settings.load({}, tmp_path)
    with App(settings=settings, store=open_store("memory://"), environ={}) as opened:
        yield opened


def _make_run(app: App, version, index: int, case: dict[str, Any], days: int) -> RunKey:
    logical = START + timedelta(days=index)
    if case.get("now_run"):
        midnight = app.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        logical = midnight - timedelta(days=1)
    kind = case.get("run_type", "scheduled")
    end = logical + timedelta(days=1)
    run = Run(
        dag_id=version.dag_id,
        run_id=make_run_id(kind, logical_date=logical, run_after=end),
        run_type=kind,
        logical_date=logical,
        data_interval_start=logical,
        data_interval_end=end,
        run_after=end,
        version=version.number,
    )
    app.store.apply([run_changes.new_run(version.spec, run, app.clock.now())], actor="test")
    return run.key


def _report(app: App, run: RunKey, pulled: list[dict[str, Any]]) -> dict[str, Any]:
    tis = app.store.instances(run)
    return {
        "run_state": app.store.run(run).state.value,
        "tasks": {str(ti.key): None if ti.state is TaskState.NONE else ti.state.value for ti in tis},
        "tries": {str(ti.key): ti.try_number for ti in tis if ti.try_number > 1},
        "xcoms": [
            {"task_id": key.task_id, "map_index": key.map_index, "key": name, "value": json.loads(text)}
            for key, name, text in app.store.xcoms(run)
        ],
        "pulled": pulled,
    }


def _run_case(app: App, case: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the case; one report for each of its runs."""
    recorder = Recorder()
    dag = Builder(case, recorder).build()
    version = register_inline(app, dag)
    count = case.get("runs", 1)
    if not case.get("concurrent"):
        return [_run_alone(app, case, recorder, dag, version, index) for index in range(count)]
    keys = [_make_run(app, version, index, case, count) for index in range(count)]
    by_run = {key.run_id: index for index, key in enumerate(keys)}
    recorder.index_of_run = by_run
    drive(app, keys, {version.number: dag})
    return [_report(app, key, recorder.pulled_in(key.run_id)) for key in keys]


def _run_alone(app: App, case, recorder: Recorder, dag: DAG, version, index: int) -> dict[str, Any]:
    key = _make_run(app, version, index, case, case.get("runs", 1))
    recorder.index_of_run[key.run_id] = index
    drive(app, [key], {version.number: dag})
    return _report(app, key, recorder.pulled_in(key.run_id))


def _comparable(reports: list[dict[str, Any]], case: dict[str, Any]) -> list[dict[str, Any]]:
    """The reports without the tasks that the case marks as order-dependent, sorted."""
    ignored = set(case.get("order_dependent", []))
    comparable = []
    for report in reports:
        comparable.append(
            {
                "run_state": report["run_state"],
                "tasks": {k: v for k, v in sorted(report["tasks"].items()) if k not in ignored},
                "tries": {k: v for k, v in sorted(report["tries"].items()) if k not in ignored},
                "xcoms": sorted(report["xcoms"], key=lambda x: (x["task_id"], x["map_index"], x["key"])),
                "pulled": sorted(report["pulled"], key=lambda x: (x["task_id"], x["map_index"], x["label"])),
            }
        )
    return comparable


@pytest.mark.facts("topologies")
def test_topology(case, check, app):
    check(lambda: _comparable(_run_case(app, case), case), want=_comparable(check.expected, case))


@pytest.mark.facts("xcom")
def test_xcom(case, check, app):
    check(lambda: _comparable(_run_case(app, case), case), want=_comparable(check.expected, case))


def _upstream(state: str, index: int):
    """A task whose run ends in ``state``."""
    name = f"u{index}"
    if state == "upstream_failed":

        @task(task_id=f"{name}_before")
        def fail():
            raise RuntimeError("as the case says")

        target = EmptyOperator(task_id=name)
        fail() >> target
        return target

    @task(task_id=name)
    def end():
        if state == "failed":
            raise RuntimeError("as the case says")
        if state == "skipped":
            raise AirflowSkipException("as the case says")

    return end()


def _real_run(app: App, case: dict[str, Any]) -> str:
    with DAG("real", schedule="@daily", start_date=START, catchup=True) as dag:
        target = EmptyOperator(task_id="target", trigger_rule=case["trigger_rule"])
        for index, state in enumerate(case["upstream"]):
            _upstream(state, index) >> target
    version = register_inline(app, dag)
    key = _make_run(app, version, 0, case, 1)
    drive(app, [key], {version.number: dag})
    return next(ti.state.value for ti in app.store.instances(key) if ti.task_id == "target")


@pytest.mark.facts("trigger_rules_real_runs")
def test_trigger_rule_in_a_real_run(case, check, app):
    check(lambda: _real_run(app, case))
