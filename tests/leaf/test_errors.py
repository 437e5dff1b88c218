"""The exception hierarchy."""

from __future__ import annotations

import datetime as dt

import pytest

from nbflow import errors


def test_the_text_of_an_error_is_message_and_hint():
    assert str(errors.NbflowError("The key is gone.", hint="Restore it.")) == "The key is gone. Restore it."


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("retrys", ["retries", "queue"], " Did you mean 'retries'?"),
        ("Retries", ["retries"], " Did you mean 'retries'?"),
        ("zzz", ["retries", "queue"], ""),
    ],
)
def test_did_you_mean_names_the_nearest_or_nothing(name, known, suggestion):
    assert errors.did_you_mean(name, known) == suggestion


def test_except_airflow_exception_catches_what_airflow_derives_from_it():
    caught = [
        errors.AirflowSkipException,
        errors.AirflowFailException,
        errors.AirflowSensorTimeout,
        errors.AirflowNotFoundException,
        errors.AirflowDagCycleException,
        errors.DuplicateTaskIdFound,
        errors.AirflowTimetableInvalid,
        errors.TaskNotFound,
        errors.TaskDeferralError,
    ]
    assert [kind for kind in caught if not issubclass(kind, errors.AirflowException)] == []


def test_except_exception_does_not_catch_what_ends_a_task_early_without_an_error():
    ends = [
        errors.TaskDeferred(trigger="t", method_name="resume", timeout=dt.timedelta(seconds=1)),
        errors.AirflowTaskTimeout(),
        errors.AirflowTaskTerminated(),
        errors.DownstreamTasksSkipped(tasks=["a"]),
    ]
    assert [end for end in ends if isinstance(end, Exception)] == []


def test_variable_not_found_is_a_key_error_and_its_text_is_the_message():
    error = errors.VariableNotFound("Variable x does not exist.")
    assert isinstance(error, KeyError)
    assert str(error) == "Variable x does not exist."


def test_every_error_has_a_docstring():
    public = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert [kind.__name__ for kind in public if not kind.__doc__] == []


def test_the_error_for_an_unknown_task_names_the_nearest_task_or_the_tasks_of_the_dag():
    from nbflow.errors import TaskNotFound

    texts = [
        str(TaskNotFound.among("d", task_id, known))
        for task_id, known in (("laod[1]", ["load"]), ("x", ["a"]), ("x", []))
    ]
    assert texts == [
        "DAG 'd' has no task 'laod[1]'. Did you mean 'load'?",
        "DAG 'd' has no task 'x'. Its tasks: a.",
        "DAG 'd' has no task 'x'. It has no tasks.",
    ]


@pytest.mark.parametrize(
    ("word", "tasks", "run_ids", "hint"),
    [
        ("laod[1]", ["load"], ["manual__1"], "Did you mean task 'load'?"),
        ("manual_1", ["load"], ["manual__2", "manual__1"], "Did you mean run 'manual__1'?"),
        ("load_1", ["load"], ["load_11"], "Did you mean task 'load' or run 'load_11'?"),
        ("x", ["a", "b"], ["r4", "r3", "r2", "r1"], "Its tasks: a, b. Its newest runs: r4, r3, r2, ...."),
        ("x", [], [], "It has no tasks. It has no runs."),
    ],
)
def test_the_error_for_a_word_that_is_neither_a_task_nor_a_run_names_the_nearest_of_both(word, tasks, run_ids, hint):
    from nbflow.errors import TaskNotFound

    assert str(TaskNotFound.or_run("d", word, tasks, run_ids)) == f"DAG 'd' has no task or run {word!r}. {hint}"
