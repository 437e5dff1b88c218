"""The tree of errors."""

from __future__ import annotations

import datetime as dt

import pytest

from nbflow import errors


def test_an_error_says_the_fault_and_the_way_out():
    assert str(errors.NbflowError("The key is gone.", hint="Restore it.")) == "The key is gone. Restore it."


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("retrys", ["retries", "queue"], " Did you mean 'retries'?"),
        ("Retries", ["retries"], " Did you mean 'retries'?"),
        ("zzz", ["retries", "queue"], ""),
    ],
)
def test_did_you_mean_names_the_nearest_or_nothing(name, known, said):
    assert errors.did_you_mean(name, known) == said


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


def test_a_users_except_exception_does_not_swallow_what_ends_a_task_without_fault():
    ends = [
        errors.TaskDeferred(trigger="t", method_name="resume", timeout=dt.timedelta(seconds=1)),
        errors.AirflowTaskTimeout(),
        errors.AirflowTaskTerminated(),
        errors.DownstreamTasksSkipped(tasks=["a"]),
    ]
    assert [end for end in ends if isinstance(end, Exception)] == []


def test_a_missing_variable_is_a_key_error_too_and_reads_as_a_sentence():
    error = errors.VariableNotFound("Variable x does not exist.")
    assert isinstance(error, KeyError)
    assert str(error) == "Variable x does not exist."


def test_every_error_says_what_it_is_for():
    public = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert [kind.__name__ for kind in public if not kind.__doc__] == []
