"""Imports that look in the wrong place are answered with the right one."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from nbflow.airflow_names import MODULES, PLACES, RENAMED, TO_COME, advice, import_line
from nbflow.moved_modules import MOVED
from nbflow.sources.loading import load_source


def _advised(source: str) -> str:
    """What is said of a piece of code whose import fails: Python's words, and ours behind them."""
    with pytest.raises(ImportError) as caught:
        exec(source, {})
    return f"{caught.value}{advice(caught.value)}"


@pytest.mark.parametrize("module", PLACES)
def test_what_the_table_says_is_there(module):
    found = importlib.import_module(module)
    assert [name for name in PLACES[module] if not hasattr(found, name)] == []


def test_what_is_advised_exists_and_what_is_replaced_does_not():
    known = {name for names in PLACES.values() for name in names}
    coming = {name for names in TO_COME.values() for name in names}
    assert {name for names in MODULES.values() for name in names} | set(RENAMED.values()) <= known
    assert known & (set(RENAMED) | coming) == set()
    for module in MODULES:
        assert "Write: from nbflow" in _advised(f"import nbflow.{module}")


def test_what_moved_is_gone_from_its_old_place_and_there_in_its_new():
    def there(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # of a package that is gone
            return False

    assert [old for old in MOVED if there(old)] == []
    assert [new for new in MOVED.values() if not there(new)] == []


def test_import_itself_is_left_alone():
    # Given a fresh interpreter
    code = (
        "import sys; before = list(sys.meta_path); import nbflow, importlib.util as u; "
        "print(sys.meta_path == before, u.find_spec('nbflow.web'))"
    )
    # Then importing nbflow puts no finder of its own anywhere, and who only asks for a module gets no error
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True None\n"


MODELS = "DAG, BaseOperator, Param, Variable, Connection, XComArg"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nbflow.models", f"No module named 'nbflow.models'. Write: from nbflow import {MODELS}"),
        ("from nbflow import models", f". Write: from nbflow import {MODELS}"),
        (
            "from nbflow.models import TaskInstance",
            "No module named 'nbflow.models'. This release of nbflow has no TaskInstance. "
            f"What it has of models: from nbflow import {MODELS}",
        ),
        (
            "from nbflow.utils.trigger_rule import TriggerRule",
            "No module named 'nbflow.utils'. Write: from nbflow import TriggerRule",
        ),
        ("from nbflow import BashOperator", ". Write: from nbflow.operators.bash import BashOperator"),
        ("from nbflow import TrigerRule", ". Did you mean 'TriggerRule'? Write: from nbflow import TriggerRule."),
        ("from nbflow.operators.dummy import DummyOperator", "Write: from nbflow.operators.empty import EmptyOperator"),
        (
            "from nbflow.operators.bahs import BashOperator",
            "No module named 'nbflow.operators.bahs'. Write: from nbflow.operators.bash import BashOperator",
        ),
        (
            "import nbflow.operators.bahs",
            "No module named 'nbflow.operators.bahs'. Did you mean 'nbflow.operators.bash'?",
        ),
        (
            "from nbflow.sdk import DAG, Asset",
            "No module named 'nbflow.sdk'. Write: from nbflow import DAG. "
            "This release of nbflow has no Asset yet: assets come with a later one.",
        ),
        ("import nbflow.web", "No module named 'nbflow.web'. This release of nbflow has no nbflow.web."),
        ("from airflow.models import DAG", "Airflow is not installed. nbflow's own names are the same: from nbflow im"),
    ],
)
def test_an_import_from_the_wrong_place_is_told_the_right_one(source, said):
    assert said in _advised(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from nbflow import Asset", "This release of nbflow has no Asset yet: assets come with a later one."),
        ("from nbflow.datasets import Dataset", "This release of nbflow has no Dataset yet: assets come with a later"),
        ("from nbflow.hooks.s3 import S3Hook", "This release of nbflow has no S3Hook."),
        ("from nbflow.operators.email import EmailOperator", "This release of nbflow has no EmailOperator."),
        ("from nbflow import Stats", "This release of nbflow has no Stats."),
    ],
)
def test_a_name_that_no_other_is_alike_is_said_to_be_missing(source, said):
    assert f". {said}" in _advised(source)


LOADING = "No module named 'nbflow.dag'. nbflow.dag.loading is nbflow.sources.loading now."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nbflow.dag.loading", LOADING),
        ("import os, nbflow.dag.loading as l, sys", LOADING),
        ("from nbflow.dag.loading import load_source", LOADING),
        ("from nbflow.dag.loading import (\n    Fault,\n    load_source,\n)", LOADING),
        ("from nbflow.dag import loading", LOADING),
        ("def f():\n    x = (1, 2)\n    import nbflow.dag.loading\nf()", LOADING),
        (
            "from nbflow.dag.context import Context",
            "No module named 'nbflow.dag'. nbflow.dag.context is nbflow.authoring.context now. "
            "Write: from nbflow import Context",
        ),
        ("from nbflow.dag import DAG", "No module named 'nbflow.dag'. Write: from nbflow import DAG"),
        (
            "import nbflow.dag",
            "No module named 'nbflow.dag'. Its modules are in nbflow.authoring, nbflow.execution, nbflow.sources now.",
        ),
        (
            "import nbflow.cli.daemons",
            "No module named 'nbflow.cli.daemons'. nbflow.cli.daemons is nbflow.cli.processes now.",
        ),
    ],
)
def test_an_old_path_is_told_its_new_one(source, said):
    assert _advised(source) == said


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_every_module_that_moved_is_told(old, new):
    assert _advised(f"import {old}").endswith(f". {old} is {new} now.")
    package, _, module = old.rpartition(".")
    assert _advised(f"from {package} import {module}").endswith(f". {old} is {new} now.")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nbflow.dag.loading", LOADING),
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
    path = tmp_path / "d.py"
    path.write_text(source)
    (fault,) = load_source(path).import_errors
    assert said in fault.message


def test_a_module_that_a_dag_file_imports_is_told_too(tmp_path):
    # Given a helper beside the DAG file that imports from an old place
    (tmp_path / "helper.py").write_text("\nfrom nbflow.dag.context import Context\n")
    (tmp_path / "d.py").write_text("import helper\n")
    # When the file is loaded
    (fault,) = load_source(tmp_path / "d.py").import_errors
    # Then its import is the fault's line, and the hint is for the helper's
    assert (fault.line, fault.message) == (
        1,
        "ModuleNotFoundError: No module named 'nbflow.dag'. nbflow.dag.context is nbflow.authoring.context now. "
        "Write: from nbflow import Context",
    )


def test_an_import_line_for_names_of_two_modules():
    assert import_line("DAG", "BashOperator", "task") == (
        "from nbflow import DAG, task; from nbflow.operators.bash import BashOperator"
    )


def test_other_packages_are_left_alone():
    assert _advised("import pandsa") == "No module named 'pandsa'"


def test_an_error_without_a_traceback_is_judged_by_what_it_names():
    assert advice(ModuleNotFoundError("No module named 'nbflow.models'", name="nbflow.models")).startswith(". Write: ")
