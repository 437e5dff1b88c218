"""A fresh DAG and a runtime for tests of single tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbflow import DAG
from tests.running.memory import MemoryRuntime


@pytest.fixture
def runtime() -> MemoryRuntime:
    return MemoryRuntime(environ={})


@pytest.fixture
def dag() -> Iterator[DAG]:
    """An open DAG ``d``: tasks that the test creates are added to it."""
    with DAG("d", schedule="@daily") as dag:
        yield dag
