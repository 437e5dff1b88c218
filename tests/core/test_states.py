"""The tables of states: the partition, reachability, texts of all causes, the diagram."""

from __future__ import annotations

import pytest

from nbflow.core.states import (
    CAUSES,
    FINISHED,
    LIVE,
    OCCUPYING,
    PENDING,
    RUN_CAUSES,
    RUN_FINISHED,
    RUN_TRANSITIONS,
    STATE_MEANINGS,
    TRANSITIONS,
    UNFINISHED,
    Cause,
    IllegalTransition,
    RunCause,
    RunState,
    TaskState,
    check_move,
    check_run_move,
    mermaid,
)


def test_each_state_is_finished_live_or_pending_and_only_one_of_them():
    assert set(TaskState) == FINISHED | LIVE | PENDING
    assert len(FINISHED) + len(LIVE) + len(PENDING) == len(TaskState)
    assert UNFINISHED == LIVE | PENDING
    assert OCCUPYING < LIVE


def test_each_state_can_be_reached_from_none():
    reached, stack = {TaskState.NONE}, [TaskState.NONE]
    while stack:
        for targets in TRANSITIONS[stack.pop()].values():
            stack += targets - reached
            reached |= targets
    assert reached == set(TaskState)


def test_each_cause_has_a_transition_and_a_text():
    used = {cause for row in TRANSITIONS.values() for cause in row}
    assert used == set(Cause) == set(CAUSES)
    assert {cause for row in RUN_TRANSITIONS.values() for cause in row} | {RunCause.CREATED} == set(RUN_CAUSES)
    assert set(RUN_CAUSES) == set(RunCause)


def test_a_finished_state_is_changed_only_by_a_user_or_a_new_version():
    causes = {
        Cause.CLEARED,
        Cause.MARKED_SUCCESS,
        Cause.MARKED_FAILED,
        Cause.MARKED_SKIPPED,
        Cause.RUN_MARKED,
        Cause.TASK_REMOVED,
        Cause.TASK_RESTORED,
    }
    assert {cause for state in FINISHED for cause in TRANSITIONS[state]} == causes


@pytest.mark.parametrize("source", TaskState)
def test_a_move_that_is_not_in_the_table_is_refused(source):
    for cause in Cause:
        for target in TaskState:
            if target in TRANSITIONS[source].get(cause, ()):
                check_move(source, cause, target)
            else:
                with pytest.raises(IllegalTransition, match=f"{source} may not become {target} by {cause}"):
                    check_move(source, cause, target)


@pytest.mark.parametrize("source", RunState)
def test_a_run_move_that_is_not_in_the_table_is_refused(source):
    for cause in RunCause:
        for target in RunState:
            if target in RUN_TRANSITIONS[source].get(cause, ()):
                check_run_move(source, cause, target)
            else:
                with pytest.raises(IllegalTransition):
                    check_run_move(source, cause, target)
    assert set(RUN_TRANSITIONS) == set(RunState) > RUN_FINISHED


def test_the_diagram_has_every_state_and_only_transitions_of_the_table():
    arrows = [line.strip().partition(":")[0].split(" --> ") for line in mermaid().splitlines()[2:]]

    assert {state for arrow in arrows for state in arrow} == set(TaskState)
    for source, target in arrows:
        assert any(target in targets for targets in TRANSITIONS[TaskState(source)].values())


def test_every_state_has_a_meaning_which_the_notebook_and_the_help_show(capsys):
    from nbflow.cli.main import main
    from nbflow.notebook import states

    assert set(STATE_MEANINGS) == set(TaskState)
    assert states().data == {state.value: meaning for state, meaning in STATE_MEANINGS.items()}
    assert main(["tasks", "states-for-dag-run", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert [state for state, meaning in STATE_MEANINGS.items() if meaning not in help_text] == []
