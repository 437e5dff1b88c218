"""DAGs, versions, due DAGs, import errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbflow.core.snapshot import RunKey
from nbflow.errors import NbflowError
from nbflow.store.base import DagImportError, DagLimits, DagRow, DagVersion, Store
from tests.store.worlds import DAY, T0, a_run, add, after, register, spec, started_run


def test_a_registered_version_keeps_its_number(store: Store) -> None:
    first = register(store)
    second = register(store, spec("extract"))
    again = register(store)

    assert [version.number for version in (first, second, again)] == [1, 2, 1]
    assert len(first.digest) == 64
    assert store.versions("sales") == [first, second]
    assert store.version("sales", 2) == second
    assert store.version("sales") == first
    assert first.created_at == T0
    assert (store.version("sales", 3), store.version("none")) == (None, None)


def test_the_same_spec_from_another_source_is_another_version(store: Store) -> None:
    first = register(store, files={"sales.py": "# one"})
    second = register(store, files={"sales.py": "# two"})

    assert (first.number, second.number) == (1, 2)


def test_registration_creates_the_dags_row(store: Store) -> None:
    dag = spec(schedule_text="@daily", tags=("a", "b"), owners=("ada",), description="Sales")

    register(store, dag)

    row = DagRow(
        dag_id="sales",
        version=1,
        fileloc="/dags/sales.py",
        paused=False,
        schedule_text="@daily",
        tags=("a", "b"),
        owners=("ada",),
        description="Sales",
        last_parsed_at=T0,
    )
    assert store.dag("sales") == row
    assert store.dags() == [row]
    assert store.dag("none") is None


def test_a_kernels_version_is_not_scheduled_until_its_file_is_saved(store: Store) -> None:
    draft = DagVersion(dag_id="sales", spec=spec(), fileloc="<kernel 7>", origin="kernel")
    registered = store.register(draft, now=T0, paused=False, activate=False)
    before = (store.dag("sales"), store.version("sales"))

    saved = store.register(replace(draft, origin="file", fileloc="/dags/s.ipynb"), now=T0, paused=True)

    assert before == (None, registered)
    assert (saved.number, saved.origin, saved.fileloc) == (1, "file", "/dags/s.ipynb")
    row = store.dag("sales")
    assert row is not None
    assert (row.paused, row.fileloc) == (True, "/dags/s.ipynb")


def test_a_newer_kernel_version_does_not_change_the_schedule(store: Store) -> None:
    followed = register(store)
    draft = DagVersion(dag_id="sales", spec=spec("extract"), fileloc="<kernel 7>", origin="kernel")

    newer = store.register(draft, now=T0, paused=False, activate=False)

    assert (newer.number, store.version("sales")) == (2, followed)


def test_a_dag_stays_paused_after_a_new_version(store: Store) -> None:
    register(store)

    assert store.set_paused("sales", True, actor="ada", now=T0)
    assert not store.set_paused("none", True, actor="ada", now=T0)
    register(store, spec("extract"))

    row = store.dag("sales")
    assert row is not None
    assert (row.paused, row.version) == (True, 2)
    assert [(row["action"], row["actor"], row["detail"]) for row in store.audit_log()] == [
        ("pause", "ada", {"dag_id": "sales"})
    ]
    run = started_run(store)
    snapshot = store.snapshot(run)
    assert snapshot is not None
    assert snapshot.paused


def test_the_limits_of_dags_are_those_of_the_version_that_the_schedule_follows(store: Store) -> None:
    # Given a paused DAG with a newer version of a kernel, and a DAG that only a kernel has
    register(store, spec(max_active_runs=3))
    for dag in (spec(max_active_runs=5), replace(spec(max_active_runs=7), dag_id="draft")):
        of_kernel = DagVersion(dag_id=dag.dag_id, spec=dag, fileloc="", origin="kernel")
        store.register(of_kernel, now=T0, paused=True, activate=False)
    store.set_paused("sales", True, actor="ada", now=T0)

    limits = store.dag_limits(["sales", "draft", "none"])

    assert limits == {"sales": DagLimits(True, 3), "draft": DagLimits(False, 7)}
    assert store.dag_limits([]) == {}


def test_a_stale_dag_is_listed_only_on_demand_until_it_is_registered_again(store: Store) -> None:
    register(store)

    store.set_stale(["sales", "none"], True, now=after(9))

    assert store.dags() == []
    assert [(row.stale, row.last_parsed_at) for row in store.dags(include_stale=True)] == [(True, after(9))]
    register(store)
    assert [row.stale for row in store.dags()] == [False]


def test_due_dags(store: Store) -> None:
    for number, name in enumerate(("late", "soon", "paused", "stale", "never")):
        register(store, spec(dag_id=name))
        times = {"run_after": after(number), "logical_date": T0, "interval": (T0, T0 + DAY)}
        store.set_next_run(name, **times)
    store.set_paused("paused", True, actor="ada", now=T0)
    store.set_stale(["stale"], True, now=T0)
    store.set_next_run("never", run_after=None)

    assert store.due_dags(T0 - DAY) == []
    assert [row.dag_id for row in store.due_dags(after(9))] == ["late", "soon"]
    assert [row.dag_id for row in store.due_dags(T0)] == ["late"]
    assert (store.next_due(), store.next_due(after=T0), store.next_due(after=after(1))) == (T0, after(1), None)
    row = store.dag("soon")
    assert row is not None
    assert (row.next_run_after, row.next_logical_date, row.next_interval) == (after(1), T0, (T0, T0 + DAY))
    assert row.next_run == after(1)
    never = store.dag("never")
    assert never is not None
    assert (never.next_run_after, never.next_logical_date, never.next_interval) == (None, None, None)


def test_the_time_to_evaluate_a_timetable_is_not_the_next_run(store: Store) -> None:
    dag_id = register(store).dag_id
    store.set_next_run(dag_id, run_after=T0)

    row = store.dag(dag_id)
    assert row is not None
    assert (row.next_run_after, row.next_run) == (T0, None)


def test_without_schedule_nothing_is_due(store: Store) -> None:
    register(store)

    assert (store.next_due(), store.due_dags(T0)) == (None, [])


def test_import_errors_are_replaced_file_by_file(store: Store) -> None:
    register(store)
    error = DagImportError(fileloc="/dags/sales.py", line=3, error="NameError: x", detail="...", cell="cell 2")
    other = DagImportError(fileloc="/dags/other.py", line=None, error="SyntaxError")
    store.put_import_errors("/dags/sales.py", [error, replace(error, line=9)], now=T0)
    store.put_import_errors("/dags/other.py", [other], now=T0)

    store.put_import_errors("/dags/sales.py", [error], now=after(1))

    assert store.import_errors() == [replace(other, at=T0), replace(error, at=after(1))]
    row = store.dag("sales")
    assert row is not None
    assert row.has_import_errors
    store.put_import_errors("/dags/sales.py", [], now=T0)
    assert [row.has_import_errors for row in store.dags()] == [False]


def test_deleting_a_dag_deletes_its_history(store: Store) -> None:
    register(store)
    register(store, spec(dag_id="other"))
    store.apply([add(a_run()), add(a_run(dag_id="other"))], actor="scheduler")

    preview = store.delete_dag("sales", actor="ada", now=T0, dry_run=True)
    assert store.dag("sales") is not None
    deleted = store.delete_dag("sales", actor="ada", now=T0)

    assert preview == deleted
    # a run, two instances, an event, a version, the DAG, two tasks
    assert deleted == 8
    assert (store.dag("sales"), store.versions("sales"), store.run(RunKey("sales", "r1"))) == (None, [], None)
    assert [event.run.dag_id for event in store.events()] == ["other"]
    assert store.snapshot(RunKey("other", "r1")) is not None
    assert register(store, spec("extract")).number == 1
    store.apply([add(a_run(), "extract")], actor="scheduler")
    snapshot = store.snapshot(RunKey("sales", "r1"))
    assert snapshot is not None
    assert snapshot.dag == spec("extract")


def test_a_dag_with_a_running_run_is_not_deleted(store: Store) -> None:
    register(store)
    started_run(store)

    with pytest.raises(NbflowError, match="running run"):
        store.delete_dag("sales", actor="ada", now=T0)

    assert store.dag("sales") is not None


def test_new_runs_of_a_custom_timetable_are_not_a_new_version(store: Store) -> None:
    # Given a DAG with a custom timetable, stored with the runs that it returned
    schedule = {"kind": "custom", "class": "shop.Weekdays", "data": {}, "summary": "Weekdays"}
    january, february = ([[f"2024-0{month}-02T00:00:00+00:00"] * 3] for month in (1, 2))
    first = register(store, spec(schedule={**schedule, "runs": january}))
    store.apply([add(a_run())], actor="s")  # a store may cache the spec here
    assert store.version("sales") == first

    # When its unchanged file is parsed again, and the timetable returns later runs
    again = register(store, spec(schedule={**schedule, "runs": february}))

    # Then the version is the same, with the later runs
    assert (again.number, again.digest) == (first.number, first.digest)
    assert store.versions("sales") == [again]
    stored = store.version("sales")
    assert stored is not None
    assert stored.spec.schedule["runs"] == february

    # And a parse that computes no runs keeps them
    register(store, spec(schedule=schedule))
    assert store.versions("sales") == [again]

    # While other arguments of the class are another version
    assert register(store, spec(schedule={**schedule, "data": {"hour": 6}, "runs": february})).number == 2
