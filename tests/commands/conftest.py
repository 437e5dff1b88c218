"""A home that is used in a terminal and in a notebook."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from tests.cli.conftest import nbflow  # noqa: F401

SALES = """
    from datetime import datetime
    from nbflow import DAG, task

    with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1)) as dag:
        @task
        def extract():
            return 1

        @task
        def load(number):
            raise ValueError("no")

        load(extract())
"""


@pytest.fixture
def app(home: Path, new_home: Path) -> Iterator[App]:
    """The app of the test's home."""
    shutil.copytree(new_home, home)
    with App.open(environ=os.environ) as app:
        yield app


@pytest.fixture
def sales(app: App, home: Path) -> str:
    """The id of a scheduled, paused DAG in the DAGs folder."""
    from nbflow.services.dag_registration import register_scheduled
    from nbflow.sources.loading import load_source
    from nbflow.store.base import DagVersion

    path = home / "dags" / "sales.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(SALES), encoding="utf-8")
    loaded = load_source(path, folder=app.settings.core.dags_folder, options=app.compile_options())
    version = DagVersion(dag_id="sales", spec=loaded.specs["sales"], fileloc=loaded.path, files=loaded.files)
    register_scheduled(app.store, version, app.settings, app.clock.now())
    return "sales"


@pytest.fixture
def magic(app: App) -> Iterator[Callable[[str], Any]]:
    """``magic("pause sales")``: the result of ``%dag pause sales``."""
    from nbflow.notebook import dag_line_magic
    from nbflow.notebook.session import end_session

    end_session()
    yield lambda line: dag_line_magic.call(*dag_line_magic.parse(line))
    end_session()
