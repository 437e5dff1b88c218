"""One rule for ids, names and keys: every entrance refuses the same values, on every store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nbflow.authoring.workload import Workload
from nbflow.clock import VirtualClock
from nbflow.config import Settings
from nbflow.connections import Connection
from nbflow.core.snapshot import TaskKey
from nbflow.errors import InvalidDag, InvalidIdentifier
from nbflow.execution.task_api import TaskApi
from nbflow.secrets_backends import SecretsChain
from nbflow.services.operations import Operations
from nbflow.services.variables_connections_pools import set_connections, set_pools, set_variables
from nbflow.store.base import Pool, Store
from nbflow.store.secrets_backend import StoreProvider
from tests.store.worlds import T0, a_run, add, dispatch, register, spec, started_run

BAD = {
    "empty": "",
    "blank": "  ",
    "long": "x" * 100_000,
    "one too many": "x" * 251,
    "outside": "../../x",
    "parent": "..",
    "line": "a\nb",
    "last line": "a\n",
    "escape": "\x1b[31mx",
    "right to left": "\u202ex",
    "NUL": "a\0b",
    "not UTF-8": "caf\udce9",
}
GOOD = {"longest": "x" * 250, "marks": "a.b-c_1", "dots": "a..b"}


def operations(store: Store) -> Operations:
    return Operations(store, VirtualClock(T0), Settings.load({}, Path("/nowhere")))


def task_request(store: Store, kind: str, **arguments: object) -> None:
    """A request of a running task."""
    if store.run(a_run().key) is None:
        started_run(store)
        dispatch(store, a_run().key, "extract")
    workload = Workload(
        attempt_id="a1", run=a_run(), task_id="extract", map_index=-1, try_number=1, max_tries=0, version=1
    )
    ops, provider = operations(store), StoreProvider(store, VirtualClock(T0))

    def trigger(dag_id: str, *, actor: str, **options: object) -> object:
        return ops.trigger_or_reset(dag_id, **options)  # type: ignore[arg-type]

    api = TaskApi(store=store, secrets=SecretsChain([provider], provider), trigger_dag=trigger, now=lambda: T0)
    api.handle(workload, kind, arguments)


ENTRANCES: dict[str, Callable[[Store, str], object]] = {
    "run, store": lambda store, value: store.apply([add(a_run(value, run_type="manual"))], actor="ada"),
    "run, command": lambda store, value: operations(store).trigger("sales", run_id=value),
    "run, task": lambda store, value: task_request(store, "trigger_dag", dag_id="sales", run_id=value or " "),
    "dag": lambda store, value: register(store, spec(dag_id=value)),
    "task": lambda store, value: register(store, spec(value)),
    "pool, store": lambda store, value: store.set_pool(Pool(name=value, slots=1), actor="ada", now=T0),
    "pool, command": lambda store, value: set_pools(operations(store), [Pool(name=value, slots=1)]),
    "connection, store": lambda store, value: store.set_connection(Connection(value, "http"), actor="ada", now=T0),
    "connection, command": lambda store, value: set_connections(operations(store), [Connection(value, "http")]),
    "variable, store": lambda store, value: store.set_variable(value, "1", actor="ada", now=T0),
    "variable, command": lambda store, value: set_variables(operations(store), {value: ("1", None)}),
    "variable, task": lambda store, value: task_request(store, "set_variable", key=value, value="1"),
    "XCom, task": lambda store, value: task_request(store, "xcom_push", key=value, value="1"),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_entrance_refuses_the_same_ids(store: Store, entrance: str) -> None:
    # Given a store with a DAG
    register(store)

    # When each bad id, and each unusual but good id, is passed to the entrance
    refused, errors = [], []
    for name, value in {**BAD, **GOOD}.items():
        try:
            ENTRANCES[entrance](store, value)
        except (InvalidIdentifier, InvalidDag) as error:
            refused.append(name)
            errors.append(str(error))

    # Then exactly the bad ones are refused, in one short line
    assert refused == list(BAD)
    assert all(len(error) < 300 and error.isprintable() for error in errors)


def test_names_that_no_object_can_have_are_not_found(store: Store) -> None:
    provider = StoreProvider(store, VirtualClock(T0))
    for value in BAD.values():
        assert (provider.get_variable(value), provider.get_connection(value)) == (None, None)


@pytest.mark.parametrize("run_id", ["scheduled__2024-01-02T00:00:00+00:00", "backfill__x"])
def test_a_manual_run_cannot_take_the_id_of_another_type(store: Store, run_id: str) -> None:
    register(store)
    for create in (ENTRANCES["run, store"], ENTRANCES["run, command"], ENTRANCES["run, task"]):
        with pytest.raises(InvalidIdentifier, match="reserved"):
            create(store, run_id)


def test_values_that_only_some_stores_could_keep_are_refused(store: Store) -> None:
    writes: list[Callable[[], object]] = [
        lambda: store.set_pool(Pool(name="p", slots=2**31), actor="ada", now=T0),
        lambda: store.set_pool(Pool(name="p", slots=1, description="a\0"), actor="ada", now=T0),
        lambda: store.set_variable("k", "caf\udce9", actor="ada", now=T0),
        lambda: store.set_variable("k", "1", description="a\0", actor="ada", now=T0),
        lambda: store.set_connection(Connection("c", "http", host="a\0"), actor="ada", now=T0),
        lambda: store.set_connection(Connection("c", "http", port=2**31), actor="ada", now=T0),
    ]
    for write in writes:
        with pytest.raises(InvalidIdentifier):
            write()
    assert (store.pools()[1:], store.variables(), store.connections()) == ([], [], [])


def test_a_date_out_of_range_is_one_error_and_changes_nothing(store: Store) -> None:
    register(store)
    far = T0.replace(year=9999)
    store.apply([add(replace(a_run("far"), logical_date=far, run_after=far + timedelta(days=364)))], actor="ada")
    assert store.instances(a_run("far").key)[0].key == TaskKey("extract")
