"""Dynamic task mapping: the number of instances, and the arguments of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow import DAG, BaseOperator, XComArg, task, task_group
from nbflow.authoring.templating import literal, render_fields
from nbflow.authoring.xcomarg import LazyXComSequence
from nbflow.core.spec import length_of
from nbflow.errors import AirflowSkipException, InvalidArgument, InvalidDag, XComNotFound
from nbflow.operators.empty import EmptyOperator


class Store(BaseOperator):
    """Stores its arguments."""

    template_fields = ("x", "y")

    def __init__(self, *, x: Any = None, y: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.x, self.y = x, y


class Results:
    """A runtime with the results of tasks: ``{task_id: value}``, or ``{task_id: {map index: value}}``."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.requested: list[str] = []

    def xcom_get(
        self, task_ids: Sequence[str], key: str, *, map_index: int | None = None, **other: Any
    ) -> list[tuple[str, int, Any]]:
        self.requested += task_ids
        actual = [
            (task_id, index, value)
            for task_id in task_ids
            for index, value in (self.values.get(f"{task_id}:{key}") or {}).items()
        ]
        return [row for row in actual if map_index is None or row[1] == map_index]


def context(task: Any, map_index: int = -1, **results: Any) -> dict[str, Any]:
    """The context of an instance, with the return values of other tasks; those of a mapped task are ``Indexed``."""
    values = {
        name if ":" in name else f"{name}:return_value": value if isinstance(value, Indexed) else Indexed({-1: value})
        for name, value in results.items()
    }
    ti = SimpleNamespace(task=task, task_id=task.task_id, map_index=map_index, runtime=Results(**values))
    return {"ti": ti}


class Indexed(dict[int, Any]):
    """Results by map index."""


def instances(mapped: Any, count: int, **results: Any) -> list[tuple[Any, Any]]:
    """(x, y) of each instance, after rendering."""
    actual = []
    for index in range(count):
        operator = mapped.unmapped(context(mapped, index, **results))
        render_fields(operator, context(mapped, index, **results))
        actual.append((operator.x, operator.y))
    return actual


def length(dag: DAG, task_id: str, **known: int) -> int | None:
    expr = dag.to_spec().length_expr(task_id)
    assert expr is not None
    return length_of(expr, known.get)


# -------------------------------------------------------------------------------------------------------------- lengths


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=2))
def test_several_arguments_make_the_cross_product_with_the_first_outermost(lists: list[list[int]]) -> None:
    with DAG("d") as dag:
        mapped = Store.partial(task_id="m").expand(**dict(zip("xy", lists, strict=False)))
    expected = [(*items, None)[:2] for items in product(*lists)]
    assert length(dag, "m") == len(expected)
    assert instances(mapped, len(expected)) == expected


@given(st.integers(0, 3), st.integers(0, 3))
def test_lengths_of_results_are_expressions(p: int, q: int) -> None:
    with DAG("d") as dag:
        a, b = (Store(task_id=name).output for name in "pq")
        cases = {
            "plain": (a, p),
            "map": (a.map(str), p),
            "zip": (a.zip(b), min(p, q)),
            "longest": (a.zip(b, fillvalue=None), max(p, q)),
            "concat": (a.concat(b), p + q),
            "nested": (a.concat(b).zip(a.map(str)).map(str), min(p + q, p)),
        }
        for name, (over, _) in cases.items():
            Store.partial(task_id=name).expand(x=over)
        Store.partial(task_id="cross").expand(x=a, y=b)
    actual = {name: length(dag, name, p=p, q=q) for name in cases}
    assert actual == {name: expected for name, (_, expected) in cases.items()}
    assert length(dag, "cross", p=p, q=q) == p * q


def test_the_tasks_that_a_mapping_depends_on_are_marked_and_upstream() -> None:
    with DAG("d") as dag:
        a, b = Store(task_id="a"), Store(task_id="b")
        Store.partial(task_id="m", y=b.output).expand(x=a.output)
    spec = dag.to_spec()
    assert spec.tasks["m"].upstream == ("a", "b")
    assert {t.task_id: t.feeds_mapping for t in spec.tasks.values()} == {"a": True, "b": False, "m": False}


# --------------------------------------------------------------------------------------------------------------- values


def test_a_dict_is_the_list_of_its_pairs() -> None:
    with DAG("d"):
        mapped = Store.partial(task_id="m").expand(x={"a": 1, "b": 2})
    assert instances(mapped, 2) == [(("a", 1), None), (("b", 2), None)]


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        (lambda p, q: p, [1, 2]),
        (lambda p, q: p.map(lambda x: x * 10).map(str), ["10", "20"]),
        (lambda p, q: p.zip(q), [(1, "a"), (2, "b")]),
        (lambda p, q: q.zip(p, fillvalue=0), [("a", 1), ("b", 2), ("c", 0)]),
        (lambda p, q: p.concat(q), [1, 2, "a", "b", "c"]),
        (lambda p, q: p.zip(q).map(lambda pair: pair[1]), ["a", "b"]),
        (lambda p, q: q.concat(p).map(str), ["a", "b", "c", "1", "2"]),
    ],
)
def test_references_derived_from_results(over, expected) -> None:
    with DAG("d"):
        p, q = (Store(task_id=name).output for name in "pq")
        mapped = Store.partial(task_id="m").expand(x=over(p, q))
    assert [x for x, _ in instances(mapped, len(expected), p=[1, 2], q=["a", "b", "c"])] == expected


def test_an_item_that_map_skips_skips_only_its_own_instance() -> None:
    def keep_odd(x: int) -> int:
        if x % 2 == 0:
            raise AirflowSkipException("even")
        return x

    with DAG("d"):
        mapped = Store.partial(task_id="m").expand(x=Store(task_id="p").output.map(keep_odd))
    assert mapped.unmapped(context(mapped, 2, p=[1, 2, 3])).x == 3
    with pytest.raises(AirflowSkipException, match="even"):
        mapped.unmapped(context(mapped, 1, p=[1, 2, 3]))


def test_expand_kwargs_passes_each_instance_its_own_arguments() -> None:
    with DAG("d"):
        literals = Store.partial(task_id="m").expand_kwargs([{"x": 1, "y": 2}, {"x": 3}])
        results = Store.partial(task_id="n").expand_kwargs(Store(task_id="p").output)
    assert instances(literals, 2) == [(1, 2), (3, None)]
    assert instances(results, 2, p=[{"x": 1}, {"y": 4}]) == [(1, None), (None, 4)]


def test_a_literal_item_may_hold_results_and_templates() -> None:
    with DAG("d") as dag:
        p = Store(task_id="p").output
        mapped = Store.partial(task_id="m", y="{{ 1 + 1 }}").expand(x=[[p, "{{ 2 + 2 }}"], "{{ 3 + 3 }}"])
    assert dag.to_spec().tasks["m"].upstream == ("p",)
    assert instances(mapped, 2, p="{{ no template }}") == [(["{{ no template }}", "4"], "2"), ("6", "2")]


def test_a_value_from_a_result_is_never_a_template() -> None:
    with DAG("d"):
        p = Store(task_id="p").output
        direct = Store.partial(task_id="m").expand(x=p)
        kwargs = Store.partial(task_id="n").expand_kwargs(p.map(lambda text: {"x": text}))
    evil = ["{{ 7 * 7 }}"]
    assert instances(direct, 1, p=evil) == [("{{ 7 * 7 }}", None)]
    assert instances(kwargs, 1, p=evil) == [("{{ 7 * 7 }}", None)]
    assert direct.unmapped(context(direct, 0, p=evil)).x == literal("{{ 7 * 7 }}")


def test_an_instance_is_the_mapped_task_with_its_arguments() -> None:
    with DAG("d", default_args={"retries": 4}) as dag:
        before = EmptyOperator(task_id="before")
        mapped = Store.partial(task_id="m", queue="slow", y=1).expand(x=[1])
        before >> mapped
        mapped.trigger_rule = "all_done"
    operator = mapped.unmapped(context(mapped, 0))
    assert (operator.task_id, operator.dag, operator.queue, operator.retries) == ("m", dag, "slow", 4)
    assert (operator.upstream_task_ids, operator.trigger_rule) == ({"before"}, "all_done")
    assert dag.task_ids == ["before", "m"]


def test_a_mapped_argument_overrides_default_args_but_not_partial() -> None:
    with DAG("d", default_args={"x": "default", "y": "default"}):
        p = Store(task_id="p").output
        free = Store.partial(task_id="m").expand_kwargs(p)
        strict = Store.partial(task_id="n", y="partial").expand_kwargs(p)
        loose = Store.partial(task_id="o", y="partial").expand_kwargs(p, strict=False)
    items = [{"y": "mapped"}]
    assert (instances(free, 1, p=items), instances(loose, 1, p=items)) == ([("default", "mapped")],) * 2
    with pytest.raises(InvalidArgument, match="Task 'n' got 'y' twice: shared and mapped"):
        instances(strict, 1, p=items)


def test_a_map_index_beyond_the_list_is_refused() -> None:
    with DAG("d"):
        mapped = Store.partial(task_id="m").expand(x=[1, 2])
    with pytest.raises(InvalidDag, match="no map index 2: the task is mapped over 2 items"):
        mapped.unmapped(context(mapped, 2))


# ------------------------------------------------------------------------------------------------- results as arguments


def test_a_plain_result_is_its_value() -> None:
    with DAG("d"):
        p, m = Store(task_id="p"), Store(task_id="m")
    assert p.output.resolve(context(m, p=[1])) == [1]


def test_a_missing_return_value_is_none_and_a_missing_key_an_error() -> None:
    with DAG("d"):
        p, m = Store(task_id="p"), Store(task_id="m")
    assert p.output.resolve(context(m)) is None
    with pytest.raises(XComNotFound, match="Task 'p' did not push the XCom 'k', which is an argument of 'm'"):
        p.output["k"].resolve(context(m))


def test_a_mapped_result_is_a_lazy_list() -> None:
    with DAG("d"):
        p = Store.partial(task_id="p").expand(x=[1, 2, 3])
        z = Store(task_id="z")
    of_z = context(z, p=Indexed({0: "a", 2: "c"}))
    actual = p.output.resolve(of_z)
    assert isinstance(actual, LazyXComSequence)
    assert of_z["ti"].runtime.requested == []
    assert (list(actual), len(actual), actual[1], actual == ["a", "c"]) == (["a", "c"], 2, "c", True)
    assert of_z["ti"].runtime.requested == ["p"]


def test_a_result_as_text_is_a_template() -> None:
    with DAG("d"):
        p = Store(task_id="p")
    assert f"{p.output['k']}" == "{{ task_instance.xcom_pull(task_ids='p', dag_id='d', key='k') }}"


def test_a_result_is_not_iterable() -> None:
    with DAG("d"):
        p = Store(task_id="p")
    with pytest.raises(InvalidArgument, match=r"is not iterable, because its value exists only when .* f.expand"):
        list(p.output)


def test_an_xcomarg_of_an_operator_is_its_output() -> None:
    with DAG("d"):
        p = Store(task_id="p")
    assert (XComArg(p), XComArg(p, "k")) == (p.output, p.output["k"])


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: Store.partial(task_id="m").expand(), InvalidArgument, r"expand\(\) needs an argument to map over"),
        (lambda p: Store.partial(task_id="m").expand(x=5), InvalidDag, "cannot map over the int 5 passed as 'x'"),
        (lambda p: Store.partial(task_id="m").expand(x="ab"), InvalidDag, "cannot map over the str 'ab' passed as 'x'"),
        (lambda p: Store.partial(task_id="m").expand(z=[1]), InvalidArgument, r"Store.expand\(\) has no argument 'z'"),
        (
            lambda p: Store.partial(task_id="m").expand(retries=[1]),
            InvalidArgument,
            "cannot map over 'retries': all inst",
        ),
        (lambda p: Store.partial(task_id="m", x=1).expand(x=[1]), InvalidArgument, "'x', which partial.. has already"),
        (lambda p: Store.partial(task_id="m", xx=1), InvalidArgument, r"Store.partial\(\) has no argument 'xx'"),
        (lambda p: Store.partial().expand(x=[1]), InvalidArgument, "is missing the argument task_id"),
        (lambda p: Store.partial(task_id="m").expand_kwargs(5), InvalidArgument, "takes a list of dicts or the result"),
        (
            lambda p: Store.partial(task_id="m").expand_kwargs([5]),
            InvalidArgument,
            "takes dicts of arguments, not int 5",
        ),
        (
            lambda p: Store.partial(task_id="m").expand(x=p["k"]),
            InvalidDag,
            "needs a task's return value, not its XCom 'k'",
        ),
        (lambda p: p["k"].map(str), InvalidDag, "needs a task's return value"),
        (lambda p: p.map(task(lambda x: x)), InvalidDag, "takes a plain function, not a @task"),
        (lambda p: p.zip([1]), InvalidArgument, r"zip\(\) joins results of tasks, not list"),
    ],
)
def test_an_invalid_mapping_is_refused(make, error, message) -> None:
    with DAG("d"), pytest.raises(error, match=message):
        make(Store(task_id="p").output)


def test_a_partial_that_is_never_expanded_is_warned_of() -> None:
    with DAG("d") as dag:
        Store.partial(task_id="m")
    with pytest.warns(UserWarning, match=r"Store.partial\(task_id\) was never expanded, so it adds no task"):
        dag.to_spec()


# -------------------------------------------------------------------------------------------------------- mapped groups


def grouped() -> tuple[DAG, Any]:
    with DAG("d") as dag:

        @task_group
        def g(x: Any, y: Any = None) -> Any:
            a = Store(task_id="a", x=x, y=y)
            return Store(task_id="b", x=a.output)

        result = g.partial(y="same").expand(x=Store(task_id="p").output)
        Store(task_id="z", x=result.output)
    return dag, result


def test_a_mapped_group_depends_on_its_list() -> None:
    dag, _ = grouped()
    spec = dag.to_spec()
    assert {t.task_id: t.upstream for t in spec.tasks.values()} == {
        "p": (),
        "g.a": ("p",),
        "g.b": ("g.a",),
        "z": ("g.b",),
    }
    assert spec.groups["g"].expand == ("task", "p")
    assert [spec.length_expr(t) for t in ("g.a", "g.b", "z")] == [("task", "p"), ("task", "p"), None]


def test_inside_a_mapped_group_values_are_those_of_the_same_index() -> None:
    dag, _ = grouped()
    a, b, z = (dag.get_task(task_id) for task_id in ("g.a", "g.b", "z"))
    results = {"p": [5, 6], "g.a": Indexed({0: "a0", 1: "a1"}), "g.b": Indexed({0: "b0", 1: "b1"})}
    actual = [a.x.resolve(context(a, 1, **results)), b.x.resolve(context(b, 1, **results))]
    assert (actual, a.y) == ([6, "a1"], "same")
    assert z.x.resolve(context(z, **results)) == ["b0", "b1"]


def test_a_task_in_a_mapped_group_cannot_be_mapped() -> None:
    with DAG("d") as dag:

        @task_group
        def g(x: Any) -> None:
            Store.partial(task_id="m").expand(x=[1])

        with pytest.raises(NotImplementedError, match=r"'g.m' is mapped inside the mapped group 'g'"):
            g.expand(x=[1])
    assert "g.m" not in dag.task_ids


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.expand(y=[1]), r"@task_group g.expand\(\) has no argument 'y'"),
        (lambda g: g.partial(z=1), r"@task_group g.partial\(\) has no argument 'z'"),
        (lambda g: g(), "@task_group g: missing a required argument: 'x'"),
        (lambda g: g.override(gruop_id="h"), "@task_group has no argument 'gruop_id'. Did you mean 'group_id'"),
    ],
)
def test_a_group_functions_arguments_are_checked(call, message) -> None:
    with DAG("d"):

        @task_group
        def g(x: Any) -> None: ...

        with pytest.raises(InvalidArgument, match=message):
            call(g)
