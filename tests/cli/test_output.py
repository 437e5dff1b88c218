"""The four output formats of a listing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nbflow.cli.output import show, show_one
from nbflow.yaml_files import yaml_text

ROWS = [
    {"dag_id": "a", "next_run": datetime(2024, 1, 2, 3, tzinfo=UTC), "paused": True, "tags": ["x", "y"], "runs": 3},
    {"dag_id": "long_name", "next_run": None, "paused": False, "tags": [], "runs": 12},
]


def test_json_contains_times_with_microseconds_and_offset(capsys):
    show(ROWS, "json")
    assert json.loads(capsys.readouterr().out) == [
        {"dag_id": "a", "next_run": "2024-01-02T03:00:00.000000+00:00", "paused": True, "tags": ["x", "y"], "runs": 3},
        {"dag_id": "long_name", "next_run": None, "paused": False, "tags": [], "runs": 12},
    ]


def test_yaml_has_the_same_data_as_json(capsys):
    show(ROWS, "json")
    as_json = json.loads(capsys.readouterr().out)
    show(ROWS, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == as_json


def test_a_table_is_aligned(capsys):
    show(ROWS, "table")
    assert capsys.readouterr().out == (
        "DAG_ID     NEXT_RUN                   PAUSED  TAGS  RUNS\n"
        "a          2024-01-02T03:00:00+00:00  True    x, y     3\n"
        "long_name  –                          False   –       12\n"
    )


def test_plain_output_has_every_column_and_is_not_truncated(capsys):
    show([{"a": "x" * 1000, "b": None}], "plain")
    assert capsys.readouterr().out == f"a{' ' * 999}  b\n{'x' * 1000}  -\n"


def test_a_table_without_rows_prints_its_empty_text(capsys):
    show([], "table", empty="There are no DAGs.", columns=("a",))
    assert capsys.readouterr().out == "There are no DAGs.\n"


@pytest.mark.parametrize(("output_format", "text"), [("json", "[]\n"), ("yaml", "[]\n"), ("plain", "a  b\n")])
def test_a_listing_without_rows_is_machine_readable(capsys, output_format, text):
    show([], output_format, columns=("a", "b"))
    assert capsys.readouterr().out == text


def test_one_object_is_printed_as_an_object(capsys):
    show_one({"a": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "json")
    assert json.loads(capsys.readouterr().out) == {"a": "2024-01-01T00:00:00.000000+02:00"}


texts = st.text(st.characters(exclude_categories=("Cs",)))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(plain)
def test_yaml_round_trips(value):
    assert yaml.safe_load(yaml_text(value)) == value
