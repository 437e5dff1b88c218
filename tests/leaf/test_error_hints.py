"""Hints for errors: failed imports, and common mistakes."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from nbflow.airflow_names import MODULES, PLACES, PLANNED, RENAMED, import_line
from nbflow.error_hints import error_hint
from nbflow.moved_modules import MOVED
from nbflow.sources.loading import load_source


def _message_with_hint(source: str) -> str:
    """The message of a failed import in ``source``, with the hint."""
    with pytest.raises(ImportError) as caught:
        exec(source, {})
    return f"{caught.value}{error_hint(caught.value)}"


@pytest.mark.parametrize("module", PLACES)
def test_the_names_of_the_table_exist(module):
    imported = importlib.import_module(module)
    assert [name for name in PLACES[module] if not hasattr(imported, name)] == []


def test_suggested_names_exist_and_replaced_names_do_not():
    known = {name for names in PLACES.values() for name in names}
    planned = {name for names in PLANNED.values() for name in names}
    assert {name for names in MODULES.values() for name in names} | set(RENAMED.values()) <= known
    assert known & (set(RENAMED) | planned) == set()
    for module in MODULES:
        assert "Write: from nbflow" in _message_with_hint(f"import nbflow.{module}")


def test_moved_modules_exist_at_the_new_path_only():
    def exists(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # the package does not exist any more
            return False

    assert [old for old in MOVED if exists(old)] == []
    assert [new for new in MOVED.values() if not exists(new)] == []


def test_importing_nbflow_does_not_change_the_import_system():
    # Given a fresh interpreter
    code = (
        "import sys; before = list(sys.meta_path); import nbflow, importlib.util as u; "
        "print(sys.meta_path == before, u.find_spec('nbflow.web'))"
    )
    # Then importing nbflow installs no finder, and find_spec() of a missing module returns None
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True None\n"


MODELS = "DAG, BaseOperator, Param, Variable, Connection, XComArg"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("import nbflow.models", f"No module named 'nbflow.models'. Write: from nbflow import {MODELS}"),
        ("from nbflow import models", f". Write: from nbflow import {MODELS}"),
        (
            "from nbflow.models import TaskInstance",
            "No module named 'nbflow.models'. This release of nbflow has no TaskInstance. "
            f"Available of models: from nbflow import {MODELS}",
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
            "This release of nbflow has no Asset; assets are planned for a later release.",
        ),
        ("import nbflow.web", "No module named 'nbflow.web'. This release of nbflow has no nbflow.web."),
        (
            "from airflow.models import DAG",
            "Airflow is not installed; import from nbflow, which has the same names: fr",
        ),
    ],
)
def test_an_import_from_the_wrong_module_names_the_right_one(source, hint):
    assert hint in _message_with_hint(source)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("from nbflow import Asset", "This release of nbflow has no Asset; assets are planned for a later release."),
        (
            "from nbflow.datasets import Dataset",
            "This release of nbflow has no Dataset; assets are planned for a later",
        ),
        ("from nbflow.hooks.s3 import S3Hook", "This release of nbflow has no S3Hook."),
        ("from nbflow.operators.email import EmailOperator", "This release of nbflow has no EmailOperator."),
        ("from nbflow import Stats", "This release of nbflow has no Stats."),
    ],
)
def test_a_name_without_a_similar_one_is_reported_as_missing(source, hint):
    assert f". {hint}" in _message_with_hint(source)


LOADING = "No module named 'nbflow.dag'. nbflow.dag.loading moved to nbflow.sources.loading."


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("import nbflow.dag.loading", LOADING),
        ("import os, nbflow.dag.loading as l, sys", LOADING),
        ("from nbflow.dag.loading import load_source", LOADING),
        ("from nbflow.dag.loading import (\n    Fault,\n    load_source,\n)", LOADING),
        ("from nbflow.dag import loading", LOADING),
        ("def f():\n    x = (1, 2)\n    import nbflow.dag.loading\nf()", LOADING),
        (
            "from nbflow.dag.context import Context",
            "No module named 'nbflow.dag'. nbflow.dag.context moved to nbflow.authoring.context. "
            "Write: from nbflow import Context",
        ),
        ("from nbflow.dag import DAG", "No module named 'nbflow.dag'. Write: from nbflow import DAG"),
        (
            "import nbflow.dag",
            "No module named 'nbflow.dag'. "
            "Its modules moved to nbflow.authoring, nbflow.core, nbflow.execution, nbflow.sources.",
        ),
        (
            "import nbflow.cli.daemons",
            "No module named 'nbflow.cli.daemons'. nbflow.cli.daemons moved to nbflow.cli.processes.",
        ),
    ],
)
def test_an_old_path_names_the_new_one(source, hint):
    assert _message_with_hint(source) == hint


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_every_moved_module_has_a_hint(old, new):
    assert _message_with_hint(f"import {old}").endswith(f". {old} moved to {new}.")
    package, _, module = old.rpartition(".")
    assert _message_with_hint(f"from {package} import {module}").endswith(f". {old} moved to {new}.")


@pytest.mark.parametrize(
    ("source", "hint"),
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
def test_the_import_error_of_a_dag_file_has_the_hint(tmp_path, source, hint):
    path = tmp_path / "d.py"
    path.write_text(source)
    (error,) = load_source(path).import_errors
    assert hint in error.message


def test_an_import_error_in_a_module_of_a_dag_file_has_the_hint(tmp_path):
    # Given a helper of the DAG file that imports from an old path
    (tmp_path / "helper.py").write_text("\nfrom nbflow.dag.context import Context\n")
    (tmp_path / "d.py").write_text("import helper\n")
    # When the file is loaded
    (error,) = load_source(tmp_path / "d.py").import_errors
    # Then the error has the line of its import, and the hint for the helper's import
    assert (error.line, error.message) == (
        1,
        "ModuleNotFoundError: No module named 'nbflow.dag'. nbflow.dag.context moved to nbflow.authoring.context. "
        "Write: from nbflow import Context",
    )


def test_an_import_line_for_names_of_two_modules():
    assert import_line("DAG", "BashOperator", "task") == (
        "from nbflow import DAG, task; from nbflow.operators.bash import BashOperator"
    )


def test_errors_of_other_packages_have_no_hint():
    assert _message_with_hint("import pandsa") == "No module named 'pandsa'"


def test_the_hint_of_an_error_without_traceback_follows_its_name():
    assert error_hint(ModuleNotFoundError("No module named 'nbflow.models'", name="nbflow.models")).startswith(
        ". Write: "
    )
