"""Imports that look in the wrong place are answered with the right one."""

from __future__ import annotations

import importlib
import re

import pytest

import nbflow
from nbflow.airflow_names import MODULES, PLACES, RENAMED, import_line


@pytest.mark.parametrize("module", PLACES)
def test_what_the_table_says_is_there(module):
    found = importlib.import_module(module)
    assert [name for name in PLACES[module] if not hasattr(found, name)] == []


def test_every_public_name_is_in_the_table():
    assert sorted(PLACES["nbflow"]) == sorted(nbflow._EXPORTS)


def test_what_is_advised_exists_and_what_is_replaced_does_not():
    known = {name for names in PLACES.values() for name in names}
    assert {name for names in MODULES.values() for name in names} | set(RENAMED.values()) <= known
    assert known & set(RENAMED) == set()
    for module in MODULES:
        with pytest.raises(ModuleNotFoundError, match=re.escape(f"There is no nbflow.{module.partition('.')[0]}")):
            importlib.import_module(f"nbflow.{module}")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("import nbflow.models", "There is no nbflow.models. Write: from nbflow import DAG, BaseOperator, Param"),
        ("from nbflow import models", "There is no nbflow.models. Write: from nbflow import DAG, BaseOperator, Param"),
        (
            "from nbflow.utils.trigger_rule import TriggerRule",
            "There is no nbflow.utils. Write: from nbflow import Tri",
        ),
        ("from nbflow import BashOperator", "There is no 'BashOperator' in nbflow. Write: from nbflow.operators.bash"),
        ("from nbflow import TrigerRule", "There is no 'TrigerRule' in nbflow. Did you mean 'TriggerRule'?"),
        ("from nbflow.operators.dummy import DummyOperator", "Write: from nbflow.operators.empty import EmptyOperator"),
        (
            "from nbflow.operators.bahs import BashOperator",
            "There is no 'bahs' in nbflow.operators. Did you mean 'bash'?",
        ),
    ],
)
def test_a_module_that_does_not_exist_says_where_things_are(statement, said):
    with pytest.raises(ModuleNotFoundError, match=re.escape(said)):
        exec(statement, {})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from nbflow.operators.bash import BashOperatr", "Did you mean 'BashOperator'?"),
        ("from nbflow.operators.empty import DummyOperator", "Write: from nbflow.operators.empty import EmptyOperator"),
        ("from nbflow.operators.python import BashOperator", "Write: from nbflow.operators.bash import BashOperator"),
        ("from airflow.operators.bash import BashOperator", "from nbflow.operators.bash import BashOperator"),
        ("[1] >> [2]", "cross_downstream(a, b) joins each with each"),
        (
            "from nbflow import task\n@task\ndef f(x): ...\nf.expand([1])",
            ".expand() takes the function's arguments by name",
        ),
        (
            "from nbflow.operators.bash import BashOperator\n"
            "BashOperator(task_id='a', bash_command='x').expand(env=[{}])",
            "BashOperator.partial(task_id=..., ...).expand(...)",
        ),
    ],
)
def test_a_dag_file_with_such_a_mistake_is_told_the_way_out(tmp_path, source, said):
    from nbflow.sources.loading import load_source

    path = tmp_path / "d.py"
    path.write_text(source)
    (fault,) = load_source(path).faults
    assert said in fault.error


def test_an_import_line_for_names_of_two_modules():
    assert import_line("DAG", "BashOperator", "task") == (
        "from nbflow import DAG, task; from nbflow.operators.bash import BashOperator"
    )


def test_other_packages_are_left_alone():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'pandsa'$"):
        importlib.import_module("pandsa")
