"""Edges: which tasks ``a >> b`` joins, and which operands are refused."""

from __future__ import annotations

import warnings
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow import DAG, Label, TaskGroup, chain, chain_linear, cross_downstream
from nbflow.errors import AirflowDagCycleException, InvalidArgument, InvalidDag, MixedDags
from nbflow.operators.empty import EmptyOperator


def dag_with(*names: str) -> tuple[DAG, list[EmptyOperator]]:
    with DAG("d") as dag:
        return dag, [EmptyOperator(task_id=name) for name in names]


def edges(dag: DAG) -> set[tuple[str, str]]:
    return {(up, task_id) for task_id, task in dag.task_dict.items() for up in task.upstream_task_ids}


# A plan of columns: some single tasks, some lists. [1, 3, 3, 2]: a task, two lists of three, a list of two.
columns_of_sizes = st.lists(st.integers(1, 4), min_size=2, max_size=5)


def build(sizes: list[int]) -> tuple[DAG, list[list[EmptyOperator]]]:
    dag, _ = dag_with()
    with dag:
        return dag, [[EmptyOperator(task_id=f"{c}_{r}") for r in range(size)] for c, size in enumerate(sizes)]


def as_given(column: list[EmptyOperator]) -> object:
    return column[0] if len(column) == 1 else column


@given(columns_of_sizes)
def test_chain_joins_each_to_the_next(sizes: list[int]) -> None:
    dag, columns = build(sizes)
    unequal = any(min(a, b) > 1 and a != b for a, b in pairwise(sizes))
    if unequal:
        with pytest.raises(InvalidDag, match="their lengths must be equal"):
            chain(*map(as_given, columns))
        return
    chain(*map(as_given, columns))
    expected = set()
    for before, after in pairwise(columns):
        pairs = zip(before, after, strict=True) if len(before) == len(after) else product(before, after)
        expected |= {(up.task_id, down.task_id) for up, down in pairs}
    assert edges(dag) == expected


@given(columns_of_sizes)
def test_chain_linear_joins_each_with_each(sizes: list[int]) -> None:
    dag, columns = build(sizes)
    chain_linear(*map(as_given, columns))
    expected = {(u.task_id, d.task_id) for before, after in pairwise(columns) for u, d in product(before, after)}
    assert edges(dag) == expected


@given(st.integers(1, 4), st.integers(1, 4))
def test_cross_downstream_joins_each_with_each(left: int, right: int) -> None:
    dag, (ups, downs) = build([left, right])
    cross_downstream(ups, downs)
    assert edges(dag) == {(u.task_id, d.task_id) for u, d in product(ups, downs)}


@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: a >> b,
        lambda a, b: b << a,
        lambda a, b: a.set_downstream(b),
        lambda a, b: b.set_upstream(a),
        lambda a, b: [a] >> b,
        lambda a, b: [b] << a,
        lambda a, b: a >> [b],
        lambda a, b: a >> Label("x") >> b,
        lambda a, b: b << Label("x") << a,
        lambda a, b: [a] >> Label("x") >> [b],
    ],
)
def test_every_notation_of_an_edge_sets_the_same_edge(join) -> None:
    dag, (a, b) = dag_with("a", "b")
    join(a, b)
    assert edges(dag) == {("a", "b")}


def test_a_label_is_stored_with_its_edges() -> None:
    dag, (a, b, c) = dag_with("a", "b", "c")
    a >> Label("big") >> [b, c]
    assert dag.to_spec().edge_labels == {"a>b": "big", "a>c": "big"}


def test_chain_takes_labels_between_lists() -> None:
    dag, (a, b, c) = dag_with("a", "b", "c")
    chain(a, [Label("x"), Label("y")], [b, c])
    assert dag.to_spec().edge_labels == {"a>b": "x", "a>c": "y"}


def test_an_edge_of_a_group_joins_its_first_and_last_tasks() -> None:
    with DAG("d") as dag:
        start, end = EmptyOperator(task_id="start"), EmptyOperator(task_id="end")
        with TaskGroup("g") as group:
            a, b, c = (EmptyOperator(task_id=name) for name in "abc")
            a >> b
        start >> group >> end
    assert edges(dag) == {("start", "g.a"), ("start", "g.c"), ("g.a", "g.b"), ("g.b", "end"), ("g.c", "end")}


def test_a_task_after_a_group_does_not_wait_for_its_teardown() -> None:
    with DAG("d"):
        end = EmptyOperator(task_id="end")
        with TaskGroup("g") as group:
            setup, work, clean = (EmptyOperator(task_id=name) for name in ("setup", "work", "clean"))
            setup >> work >> clean.as_teardown(setups=setup)
        group >> end
    assert end.upstream_task_ids == {"g.work"}


def test_a_task_that_joins_a_group_later_is_not_part_of_an_earlier_edge() -> None:
    with DAG("d"):
        start = EmptyOperator(task_id="start")
        with TaskGroup("g") as group:
            EmptyOperator(task_id="a")
        start >> group
        with group:
            late = EmptyOperator(task_id="late")
    assert late.upstream_task_ids == set()


def test_an_edge_to_an_empty_group_is_warned_of() -> None:
    with DAG("d") as dag:
        start = EmptyOperator(task_id="start")
        with TaskGroup("g") as group:
            start >> group
            EmptyOperator(task_id="a")
    with pytest.warns(UserWarning, match="has no effect: <TaskGroup: g> was empty when the edge was set"):
        dag.to_spec()


def test_an_edge_from_a_group_of_setups_and_teardowns_is_warned_of() -> None:
    with DAG("d") as dag:
        with TaskGroup("g") as group:
            setup, clean = EmptyOperator(task_id="setup"), EmptyOperator(task_id="clean")
            clean.as_teardown(setups=setup)
        group >> EmptyOperator(task_id="after")
    with pytest.warns(UserWarning, match="<TaskGroup: g> contains only setups and teardowns"):
        dag.to_spec()


def test_a_task_without_a_dag_joins_that_of_the_other() -> None:
    dag, (a,) = dag_with("a")
    a >> EmptyOperator(task_id="b")
    assert dag.task_ids == ["a", "b"]


def test_tasks_of_two_dags_are_not_joined() -> None:
    (_, (a,)), (_, (b,)) = dag_with("a"), dag_with("b")
    with pytest.raises(MixedDags, match=r"An edge cannot join tasks of two DAGs: 'a' and 'b'.*ExternalTaskSensor"):
        a >> b


def test_tasks_without_a_dag_are_not_joined() -> None:
    with pytest.raises(MixedDags, match="do not belong to a DAG"):
        EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")


@pytest.mark.parametrize(
    ("other", "message"),
    [(5, "not to the int 5"), ("b", "not to the str 'b'. Use the task itself"), ([None], "not to the NoneType None")],
)
def test_an_edge_to_an_invalid_operand_names_the_operand(other, message) -> None:
    _, (a,) = dag_with("a")
    with pytest.raises(InvalidArgument, match=message):
        a >> other


def test_a_task_function_that_was_not_called_is_named() -> None:
    from nbflow import task

    _, (a,) = dag_with("a")

    @task
    def f() -> None: ...

    with pytest.raises(InvalidArgument, match="Call the task function"):
        a >> f


def test_a_cycle_is_named_by_its_path_and_lines() -> None:
    dag, (a, b, c, before) = dag_with("a", "b", "c", "before")
    before >> a >> b >> c >> a
    with pytest.raises(AirflowDagCycleException) as caught:
        dag.to_spec()
    assert "form a cycle: a >> b >> c >> a (a at line " in str(caught.value)
    assert caught.value.place == a.place


def test_a_task_before_itself_is_a_cycle() -> None:
    dag, (a,) = dag_with("a")
    a >> a
    with pytest.raises(AirflowDagCycleException, match="form a cycle: a >> a"):
        dag.to_spec()


@given(st.integers(2, 8), st.data())
def test_topological_order_keeps_every_edge_and_is_that_of_the_file_otherwise(size: int, data: st.DataObject) -> None:
    dag, tasks = dag_with(*(f"t{n}" for n in range(size)))
    shuffled = data.draw(st.permutations(range(size)))
    pairs = data.draw(
        st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda p: p[0] < p[1]))
    )
    for up, down in pairs:
        tasks[shuffled[up]] >> tasks[shuffled[down]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        order = list(dag.to_spec().tasks)
    assert sorted(order) == sorted(dag.task_ids)
    position = {task_id: index for index, task_id in enumerate(order)}
    assert all(position[up] < position[down] for up, down in edges(dag))
    # Kahn's algorithm, smallest first: of the tasks that are ready, none comes earlier in the file.
    for index, task_id in enumerate(order):
        ready = [t for t in order[index:] if dag.task_dict[t].upstream_task_ids <= set(order[:index])]
        assert task_id == min(ready, key=dag.task_ids.index)
