"""Builds the DAG of a topologies or xcom case with nbflow's public API.

The tasks are Python functions with the behaviour in the case; ``Recorder`` collects the values that they pull. nbflow's
scheduler runs them with the sequential executor, on a separate metastore.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nbflow import DAG, TaskGroup, get_current_context, task, task_group
from nbflow.errors import AirflowFailException, AirflowSkipException
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.latest_only import LatestOnlyOperator
from nbflow.sensors.base import PokeReturnValue
from nbflow.sensors.python import PythonSensor

START = datetime(2024, 1, 1, tzinfo=UTC)


class Recorder:
    """The values that the tasks pulled, by run."""

    def __init__(self) -> None:
        self.index_of_run: dict[str, int] = {}
        self.pulled: dict[str, list[dict[str, Any]]] = {}
        self.pokes: dict[tuple[str, str, int], int] = {}

    def pulled_in(self, run_id: str) -> list[dict[str, Any]]:
        return self.pulled.get(run_id, [])

    def record(self, label: str, value: Any, *, kind: str | None = None) -> None:
        ti = get_current_context()["ti"]
        type_name = kind or _type_name(value)
        recorded = list(value) if type_name in ("lazy_sequence", "tuple", "pair") else value
        self.pulled.setdefault(ti.run_id, []).append(
            {"task_id": ti.task_id, "map_index": ti.map_index, "label": label, "type": type_name, "value": recorded}
        )


def _type_name(value: Any) -> str:
    plain = (str, bytes, list, tuple, dict, type(None), int, float, bool)
    if not isinstance(value, plain) and hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return "lazy_sequence"
    return type(value).__name__


def _value(raw: Any) -> Any:
    """A returned literal: ``{"__pairs__": [[k, v]]}`` is a dict with keys of any type."""
    if isinstance(raw, dict) and "__pairs__" in raw:
        return dict(raw["__pairs__"])
    return raw


class Body:
    """The behaviour of one task."""

    def __init__(self, behaviour: Mapping[str, Any], recorder: Recorder) -> None:
        self.behaviour, self.recorder = behaviour, recorder

    def now(self) -> Mapping[str, Any]:
        per_run = self.behaviour.get("per_run")
        if not per_run:
            return self.behaviour
        return per_run[self.recorder.index_of_run[get_current_context()["ti"].run_id]]

    def work(self, x: Any, y: Any) -> Any:
        does, ti = self.now(), get_current_context()["ti"]
        for key, value in does.get("push", {}).items():
            ti.xcom_push(key=key, value=value)
        if ti.try_number == 1:
            for key, value in does.get("push_on_first_try", {}).items():
                ti.xcom_push(key=key, value=value)
        self._raise(does, x, ti.try_number)
        for label, arguments in does.get("pull", {}).items():
            kwargs = dict(arguments)
            if label == "tuple":
                kwargs["task_ids"] = tuple(kwargs["task_ids"])
            self.recorder.record(label, ti.xcom_pull(**kwargs))
        if does.get("record_args"):
            self.recorder.record("args", x)
        if does.get("xy"):
            self.recorder.record("xy", (x, y), kind="pair")
        if does.get("return_arg"):
            return x
        if does.get("return_double"):
            return x * 2
        return _value(does.get("returns"))

    def _raise(self, does: Mapping[str, Any], x: Any, try_number: int) -> None:
        kind = does.get("do", "success")
        if kind == "fail" or (kind == "fail_first" and try_number <= does["n"]) or _hit(does, "fail_on", x):
            raise RuntimeError("as the case says")
        if kind == "skip" or _hit(does, "skip_on", x):
            raise AirflowSkipException("as the case says")
        if kind == "fail_hard":
            raise AirflowFailException("as the case says")

    def poke(self) -> Any:
        does, ti = self.now(), get_current_context()["ti"]
        key = (ti.run_id, ti.task_id, ti.map_index)
        count = self.recorder.pokes[key] = self.recorder.pokes.get(key, 0) + 1
        if does.get("poke_raises"):
            raise RuntimeError("as the case says")
        if does.get("poke_skips"):
            raise AirflowSkipException("as the case says")
        done = does.get("true_at_poke") is not None and count >= does["true_at_poke"]
        return PokeReturnValue(is_done=done, xcom_value=does["xcom"]) if "xcom" in does else done


def _hit(does: Mapping[str, Any], name: str, x: Any) -> bool:
    return name in does and x in does[name]


def _call(body: Body):
    def call(x=None, y=None):
        return body.work(x, y)

    return call


def _dict_call(body: Body):
    def call(x=None, y=None) -> dict:
        return body.work(x, y)

    return call


_BASE = ("trigger_rule", "retries", "depends_on_past", "wait_for_downstream", "max_active_tis_per_dag", "do_xcom_push")
_SENSOR = {"timeout_s": "timeout", "mode": "mode", "soft_fail": "soft_fail", "silent_fail": "silent_fail"}


class Builder:
    """One case's DAG."""

    def __init__(self, case: Mapping[str, Any], recorder: Recorder) -> None:
        self.case, self.recorder = case, recorder
        self.tasks: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}
        self.specs = {spec["id"]: spec for spec in case["tasks"]}
        self.group_specs = {spec["id"]: spec for spec in case.get("groups", [])}

    def build(self) -> DAG:
        options = self.case.get("dag", {})
        dag = DAG(
            f"case_{self.case['id']}".replace(" ", "_"),
            schedule="@daily",
            start_date=START,
            catchup=options.get("catchup", True),
            default_args={"retry_delay": timedelta(0), **options.get("default_args", {})},
            fail_fast=options.get("fail_fast", False),
        )
        with dag:
            self._build_inside(None, {})
            for spec in self.case["tasks"]:
                if "teardown" in spec:
                    self._teardown(spec)
            for before, after in self.case["edges"]:
                self._find(before) >> self._find(after)
        return dag

    def _build_inside(self, group: str | None, arguments: Mapping[str, Any]) -> None:
        for spec in self.case["tasks"]:
            if spec.get("group") == group:
                self._get_task(spec["id"], arguments)
        for spec in self.group_specs.values():
            if spec.get("parent") == group and spec["id"] not in self.groups:
                self._build_group(spec, arguments)

    def _build_group(self, spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        name = spec["id"].rsplit(".", 1)[-1]
        if "expand" not in spec:
            with TaskGroup(name) as group:
                self.groups[spec["id"]] = group
                self._build_inside(spec["id"], arguments)
            return
        mapped = {key: self._argument(value, arguments) for key, value in spec["expand"].items()}

        @task_group(group_id=name)
        def body(x=None, y=None):
            self._build_inside(spec["id"], {"x": x, "y": y})

        self.groups[spec["id"]] = body.expand(**mapped)

    def _get_task(self, task_id: str, arguments: Mapping[str, Any]) -> Any:
        if task_id not in self.tasks:
            self.tasks[task_id] = self._task(self.specs[task_id], arguments)
        return self.tasks[task_id]

    def _argument(self, raw: Any, arguments: Mapping[str, Any]) -> Any:
        match raw:
            case {"ref": task_id, "key": key}:
                return self._output(task_id, arguments)[key]
            case {"ref": task_id}:
                return self._output(task_id, arguments)
            case {"arg": name}:
                return arguments[name]
            case {"zip": [first, *others]}:
                rest = [self._argument(other, arguments) for other in others]
                return self._argument(first, arguments).zip(*rest)
            case {"concat": [first, *others]}:
                rest = [self._argument(other, arguments) for other in others]
                return self._argument(first, arguments).concat(*rest)
            case {"of": task_id, "map_drop": dropped}:

                def keep(value):
                    if value in dropped:
                        raise AirflowSkipException("dropped by map")
                    return value

                return self._output(task_id, arguments).map(keep)
        return raw

    def _output(self, task_id: str, arguments: Mapping[str, Any]) -> Any:
        task_object = self._get_task(task_id, arguments)
        return task_object if hasattr(task_object, "map") else task_object.output

    def _task(self, spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        behaviour = spec.get("behaviour", {})
        options = {name: spec[name] for name in _BASE if name in spec}
        options["task_id"] = spec["id"].rsplit(".", 1)[-1]
        body, kind = Body(behaviour, self.recorder), behaviour.get("do", "success")
        if kind == "latest_only":
            return LatestOnlyOperator(**options)
        if kind == "empty":
            return EmptyOperator(**options)
        if kind == "sensor":
            sensor_options = {name: behaviour[key] for key, name in _SENSOR.items() if key in behaviour}
            if "never_fail" in behaviour:
                sensor_options["never_fail"] = behaviour["never_fail"]
            return PythonSensor(python_callable=body.poke, poke_interval=0.05, **sensor_options, **options)
        return self._called(spec, self._decorated(spec, behaviour, body, options), arguments)

    def _decorated(self, spec: Mapping[str, Any], behaviour: Mapping[str, Any], body: Body, options: dict) -> Any:
        kind = behaviour.get("do", "success")
        if "multiple_outputs" in spec:
            options["multiple_outputs"] = spec["multiple_outputs"]
        if kind == "branch":

            def choose(x=None):
                does = {**behaviour, **body.now()}
                body._raise({**does, "do": "success"}, x, 1)
                return does["to"]

            return task.branch(**options)(choose)
        if kind == "short_circuit":

            def test(x=None):
                does = {**behaviour, **body.now()}
                body._raise({**does, "do": "success"}, x, 1)
                return does["result"]

            rules = behaviour.get("ignore_downstream_trigger_rules", True)
            return task.short_circuit(ignore_downstream_trigger_rules=rules, **options)(test)
        return task(**options)(_dict_call(body) if behaviour.get("annotate_dict") else _call(body))

    def _called(self, spec: Mapping[str, Any], decorated: Any, arguments: Mapping[str, Any]) -> Any:
        def kwargs_of(name: str) -> dict[str, Any]:
            return {key: self._argument(value, arguments) for key, value in spec.get(name, {}).items()}

        if "partial" in spec:
            decorated = decorated.partial(**kwargs_of("partial"))
        if "expand" in spec:
            called = decorated.expand(**kwargs_of("expand"))
        elif "expand_kwargs" in spec:
            called = decorated.expand_kwargs(self._argument(spec["expand_kwargs"], arguments))
        else:
            called = decorated(**kwargs_of("args"))
        return called.as_setup() if spec.get("setup") else called

    def _teardown(self, spec: Mapping[str, Any]) -> None:
        options = dict(spec["teardown"])
        setups = [self.tasks[setup] for setup in options.pop("setups", [])]
        self.tasks[spec["id"]].as_teardown(setups=setups or None, **options)

    def _find(self, name: str) -> Any:
        return self.tasks[name] if name in self.tasks else self.groups[name]
