"""``DAG.to_graphviz()``: the content of the graph, and that Graphviz shows each label verbatim."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import datetime

import graphviz
import pytest

from nbflow import DAG, Label, TaskGroup
from nbflow.core.states import TaskState
from nbflow.errors import TaskNotFound
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.state_colors import palettes

SVG = "{http://www.w3.org/2000/svg}"

HOSTILE = (
    'say "hi"', '"', '\\"', "a\\b", "a\\", "\\\\", "\\N \\G \\l \\n", "<b>bold</b>", "<>", "<", "-->", "]]>",
    "{a|<p>b}", "a:b:c", "[label=x]", "];", "}", "//", "#", "a & b", "&amp;", "&lt;b&gt;", "&#38; &nbsp; &auml;", "&",
    "&;",
    "two\nlines", "%%dag sales.load", "node", "digraph", "naïve 東京 🚀", "עברית", "1.5", "-", "x" * 300,
)  # fmt: skip


def shown(graph: graphviz.Digraph, kind: str) -> list[str]:
    """The labels of the nodes, edges or clusters in the SVG that ``dot`` draws."""
    root = ElementTree.fromstring(graph.pipe(format="svg"))
    return [
        "\n".join(text.text or "" for text in group.iter(f"{SVG}text"))
        for group in root.iter(f"{SVG}g")
        if group.get("class") == kind
    ]


def test_a_dag_is_a_digraph_with_groups_as_clusters_and_labels_on_edges() -> None:
    # Given a DAG with nested groups, a display name, a mapped task and a label on an edge
    with DAG("sales.daily", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
        first = EmptyOperator(task_id="first", task_display_name="The first")
        with TaskGroup("outer"):
            with TaskGroup("inner"):
                inner = EmptyOperator(task_id="a")
            last = BashOperator.partial(task_id="b").expand(bash_command=["x", "y"])
        first >> Label("if there are any") >> inner >> last
    # Then its graph has them, with their ids as names
    graph = dag.to_graphviz()
    assert isinstance(graph, graphviz.Digraph)
    assert graph.source.splitlines()[4:] == [
        '\tfirst [label="The first"]',
        '\tsubgraph "cluster_outer" {'.replace('"', ""),
        "\t\tlabel=outer style=rounded",
        '\t\t"outer.b" [label="b [ ]"]',
        '\t\tsubgraph "cluster_outer.inner" {',
        "\t\t\tlabel=inner style=rounded",
        '\t\t\t"outer.inner.a" [label=a]',
        "\t\t}",
        "\t}",
        '\tfirst -> "outer.inner.a" [label="if there are any"]',
        '\t"outer.inner.a" -> "outer.b"',
        "}",
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_graphviz_shows_each_label_verbatim(dot_path: str, text: str) -> None:
    # Given a DAG whose task, group and edge have a label with a meaning in DOT
    with DAG("hostile", schedule=None) as dag:
        with TaskGroup("group", group_display_name=text):
            first = EmptyOperator(task_id="first", task_display_name=text)
        first >> Label(text) >> EmptyOperator(task_id="node")
    # When dot draws it
    graph = dag.to_graphviz()
    # Then each label is shown unchanged
    assert [shown(graph, kind) for kind in ("node", "edge", "cluster")] == [["node", text], [text], [text]]


def test_control_characters_are_replaced(dot_path: str) -> None:
    with DAG("hostile", schedule=None) as dag:
        EmptyOperator(task_id="first", task_display_name="\x1b[31mred\x00 \u202eabc")
    assert shown(dag.to_graphviz(), "node") == ["\ufffd[31mred\ufffd \ufffdabc"]


@pytest.mark.parametrize("task_id", ["node", "digraph", "strict", "1.5", "-1", "a-b", "a.b", "ünï", "n", "_"])
def test_ids_with_a_meaning_in_dot_stay_ids(dot_path: str, task_id: str) -> None:
    with DAG("graph", schedule=None) as dag:
        EmptyOperator(task_id="up") >> EmptyOperator(task_id=task_id)
    graph = dag.to_graphviz()
    assert shown(graph, "node") == ["up", task_id]
    assert len(shown(graph, "edge")) == 1


def test_states_are_shown_by_name_and_colour(dot_path: str) -> None:
    # Given a DAG and the states of a run that go with two of its tasks, one of a newer nbflow
    with DAG("sales", schedule=None) as dag:
        EmptyOperator(task_id="extract") >> EmptyOperator(task_id="load") >> EmptyOperator(task_id="report")
    graph = dag.to_graphviz({"extract": TaskState.FAILED, "load": "paused"})
    # Then Graphviz shows the names
    assert shown(graph, "node") == ["extract\nfailed", "load\npaused", "report"]
    # And the colours of the states, an unknown one as none
    failed, none = (palettes()[0].states[state] for state in ("failed", "none"))
    root = ElementTree.fromstring(graph.pipe(format="svg"))
    nodes = [group for group in root.iter(f"{SVG}g") if group.get("class") == "node"]
    drawn = [(path.get("fill"), path.get("stroke")) for node in nodes for path in node.iter(f"{SVG}path")]
    assert drawn == [(failed.fill, failed.line), (none.fill, none.line), ("#ffffff", "black")]


def test_the_state_of_an_unknown_task_is_an_error() -> None:
    with DAG("sales", schedule=None) as dag:
        EmptyOperator(task_id="extract")
    with pytest.raises(TaskNotFound, match=r"DAG 'sales' has no task 'extrct'\. Did you mean 'extract'\?"):
        dag.to_graphviz({"extrct": "failed"})
