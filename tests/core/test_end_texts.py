"""Every end of a task instance or a run has a reason."""

from __future__ import annotations

import pytest

from nbflow.core.end_texts import RUN_ENDS, TASK_ENDS, End, explain_end, who
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import FINISHED, RUN_FINISHED, RUN_TRANSITIONS, TRANSITIONS

ENDS = sorted(
    {(cause, to) for row in TRANSITIONS.values() for cause, targets in row.items() for to in targets & FINISHED}
)
RUN_END_PAIRS = sorted(
    {(cause, to) for row in RUN_TRANSITIONS.values() for cause, targets in row.items() for to in targets & RUN_FINISHED}
)


def an_end(cause: str, state: str, key: TaskKey | None) -> End:
    return End(run=RunKey("d", "r"), dag=DagSpec(dag_id="d"), key=key, state=state, cause=cause, actor="scheduler")


def test_the_texts_are_those_of_the_causes_by_which_something_ends() -> None:
    assert {cause for cause, _ in ENDS} == set(TASK_ENDS)
    assert {cause for cause, _ in RUN_END_PAIRS} == set(RUN_ENDS)


@pytest.mark.parametrize(("cause", "state"), ENDS)
def test_every_end_of_a_task_has_a_sentence_also_without_detail(cause: str, state: str) -> None:
    text = explain_end(an_end(cause, state, TaskKey("t"))).text
    assert text.endswith(".")
    assert "``" not in text


@pytest.mark.parametrize(("cause", "state"), RUN_END_PAIRS)
def test_every_end_of_a_run_has_a_sentence_also_without_detail(cause: str, state: str) -> None:
    assert explain_end(an_end(cause, state, None)).text.endswith(".")


@pytest.mark.parametrize(
    ("actor", "name"),
    [("user:ada", "ada"), ("user", "a user"), ("task", "a task"), ("scheduler", "the scheduler"), ("", "nbflow")],
)
def test_an_actor_has_a_name(actor: str, name: str) -> None:
    assert who(actor) == name
