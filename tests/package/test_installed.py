"""nbflow installed from its wheel, outside of the checkout: without extras, and with those of the image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.package.conftest import ROOT
from tests.package.installing import Environment

CONTENT = ("labs", "notebooks", "quizzes")
#: Packages that are not installed without extras.
OPTIONAL = ("IPython", "anywidget", "babel", "jupyterlab", "nbformat", "numpy", "pandas", "papermill", "psycopg")
IMPORTS = """\
from nbflow import DAG, serde
from nbflow.hooks.postgres import PostgresHook
from nbflow.hooks.sqlite import SqliteHook
from nbflow.operators.bash import BashOperator
from nbflow.operators.notebook import NotebookOperator
from nbflow.operators.python import PythonOperator
"""
#: Task of a DAG -> nbflow's error
NEEDING = {
    "NotebookOperator(task_id='t', input_nb=__file__)": "A notebook that runs as a task needs the package papermill. "
    "pip install 'nbflow[lab]'",
    "BashOperator(task_id='t', bash_command='echo {{ macros.ds_format_locale(ds, 1, 2) }}')": "macros.ds_format_locale "
    "needs the package babel. pip install 'nbflow[lab]'",
    "PythonOperator(task_id='t', python_callable=lambda: SqliteHook().get_df('SELECT 1'))": "get_df needs the package "
    "pandas. pip install 'nbflow[lab]'",
    "PythonOperator(task_id='t', python_callable=lambda: serde.loads('{\"__type__\": \"frame\"}'))": "Reading a stored "
    "frame needs the package pandas. pip install 'nbflow[lab]'",
    "PythonOperator(task_id='t', python_callable=lambda: PostgresHook().get_conn())": "PostgresHook needs the package "
    "psycopg. pip install 'nbflow[postgres]'",
}


def _files(folder: Path) -> dict[str, bytes]:
    skipped = {"__pycache__", ".ipynb_checkpoints", "quickstart-data"}
    paths = [path for path in folder.rglob("*") if path.is_file() and not skipped & set(path.parts)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", CONTENT)
def test_the_wheel_has_the_content_of_the_checkout(bare: Environment, kind):
    # When an installed nbflow returns the folder of its labs, notebooks or quizzes
    code = f"from nbflow.teach.content_folders import content_folder; print(content_folder({kind!r}))"
    folder = Path(bare.python(code).strip())
    # Then the folder is in the package, and has the files of the checkout
    assert folder.is_relative_to(bare.site_packages / "nbflow")
    assert _files(folder) == _files(ROOT / kind)
    assert len(_files(folder)) > 0


def test_without_extras_no_optional_package_is_installed(bare: Environment):
    code = f"from importlib.util import find_spec\nprint([name for name in {OPTIONAL!r} if find_spec(name)])"
    assert bare.python(code).strip() == "[]"


def test_it_runs_dags_without_extras(bare: Environment):
    # Given the example DAGs that come with nbflow
    examples = str(bare.site_packages / "nbflow" / "example_dags")
    # When they are listed and one is tested, from the command line
    version, listed = bare.run("nbflow", "version"), bare.run("nbflow", "dags", "list", "-S", examples, "-o", "json")
    tested = bare.run("nbflow", "dags", "test", "example_hello", "2024-01-05", "-S", examples, "-o", "json")
    # Then they are listed, and the run succeeds
    assert [version.returncode, listed.returncode, tested.returncode] == [0, 0, 0], tested.stderr
    assert "example_hello" in [row["dag_id"] for row in json.loads(listed.stdout)]
    assert json.loads(tested.stdout)["state"] == "success"


def test_labs_and_quizzes_work_on_the_command_line_without_extras(bare: Environment):
    labs, quizzes = (bare.run("nbflow", word, "-o", "json") for word in ("labs", "quiz"))
    assert [row["lab"] for row in json.loads(labs.stdout)] == ["01_hello_dag"]
    assert [row["quiz"] for row in json.loads(quizzes.stdout)] == ["dag_concepts"]
    lab, quiz = bare.run("nbflow", "labs", "01_hello_dag"), bare.run("nbflow", "quiz", "dag_concepts")
    notebook = Path(lab.stdout.splitlines()[-1].removeprefix("Its notebook: "))
    assert notebook.read_bytes() == (ROOT / "labs" / "01_hello_dag.ipynb").read_bytes()
    assert "\n10. " in quiz.stdout


@pytest.mark.parametrize("operator", NEEDING)
def test_the_error_of_a_task_that_needs_an_extra_names_it(bare: Environment, operator):
    # Given a DAG whose task needs a package that is not installed
    file = bare.folder / "needs.py"
    file.write_text(f"{IMPORTS}with DAG('needs', schedule=None):\n    {operator}\n")
    # When it is tested
    process = bare.run("nbflow", "dags", "test", "needs", "2024-01-05", "-S", str(file))
    # Then the task fails with an error that says what to install
    assert NEEDING[operator] in process.stderr
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("words", "environ", "line"),
    [
        (("lab",), {}, "nbflow lab needs the package jupyterlab. pip install 'nbflow[lab]'\n"),
        (
            ("db", "check"),
            {"NBFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg://nobody@127.0.0.1:9/none"},
            "nbflow: A metastore on Postgres needs the package psycopg. pip install 'nbflow[postgres]'\n",
        ),
    ],
)
def test_the_error_of_a_command_that_needs_an_extra_names_it(bare: Environment, words, environ, line):
    process = bare.run("nbflow", *words, **environ)
    assert (process.returncode, process.stdout, process.stderr) == (1, "", line)


def test_yaml_is_read_and_written_without_an_extra(bare: Environment):
    file = bare.folder / "some.yaml"
    file.write_text("x: {conn_type: http}\n")
    assert bare.run("nbflow", "connections", "import", str(file)).returncode == 0
    assert bare.run("nbflow", "pools", "get", "default_pool", "-o", "yaml").stdout.startswith("- pool: default_pool\n")


def test_labs_and_quizzes_work_in_ipython_with_the_extras_of_the_image(image: Environment):
    # Given an IPython shell, with the extras of the image
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "nbflow")
for name, line in (("lab", "01_hello_dag"), ("quiz", "dag_concepts 1")):
    print(repr(shell.run_line_magic(name, line)))
"""
    # Then the magics show the lab and the question
    shown = image.python(code)
    assert "Hello, DAG: 0 of 5 exercises passed" in shown
    assert "Read a message queue forever" in shown


def test_the_image_reaches_postgres(image: Environment):
    # Given a URL at which no server listens
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    process = image.run("nbflow", "db", "check", NBFLOW__DATABASE__SQL_ALCHEMY_CONN=url)
    # Then the driver is installed, and the error is that the server does not respond
    assert "does not respond" in process.stderr
    assert process.returncode == 1
