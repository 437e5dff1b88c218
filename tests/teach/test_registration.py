"""Labs and quizzes register their implementations with the commands; CLI and notebook do not import them."""

from __future__ import annotations

from typing import Any

import pytest

from nbflow.command_arguments import Values
from nbflow.commands import command_named, learning
from nbflow.errors import NbflowError
from nbflow.teach.commands import provide


def test_the_names_of_labs_and_quizzes_come_from_the_registered_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_providers", {})
    assert (learning.names_of("labs"), learning.names_of("quiz")) == ([], [])

    provide()

    assert "01_hello_dag" in learning.names_of("labs")
    assert "dag_concepts" in learning.names_of("quiz")


def test_without_a_provider_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_providers", {})
    context: Any = None
    run = command_named("labs").run
    assert run is not None

    with pytest.raises(
        NbflowError, match=r"No implementation of 'labs' is registered\. Start nbflow with: python -m nbflow"
    ):
        run(context, Values())
