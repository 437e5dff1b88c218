"""Checks of labs: each finding holds what was expected, what was found and a hint, from the rows of real runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nbflow import DAG, task
from nbflow.app import App
from nbflow.errors import NbflowError
from nbflow.operators.empty import EmptyOperator
from nbflow.teach.content_folders import content_folder
from nbflow.teach.lab import open_lab
from nbflow.teach.lab_registry import LABS


@pytest.fixture
def app(home):
    with App.open() as app:
        yield app


@pytest.fixture
def lab(app):
    return open_lab("01_hello_dag", app)


def hello(word: str = "hello") -> DAG:
    with DAG("hello", schedule=None) as dag:

        @task
        def greet():
            return word

        @task
        def shout(text):
            return text.upper()

        shout(greet())
    return dag


def branching(**join) -> DAG:
    with DAG("hello_branch", schedule=None) as dag:

        @task.branch
        def choose():
            return "formal"

        formal, casual = EmptyOperator(task_id="formal"), EmptyOperator(task_id="casual")
        choose() >> [formal, casual] >> EmptyOperator(task_id="sign", **join)
    return dag


def calling(**retry) -> DAG:
    with DAG("hello_retry", schedule=None) as dag:

        @task(**retry)
        def call(ti=None):
            if ti.try_number == 1:
                raise ConnectionError("nobody answers")

        call()
    return dag


def daily(schedule: str = "0 6 * * *") -> DAG:
    with DAG("hello_daily", schedule=schedule, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="coffee")
    return dag


def define(app: App, dag: DAG) -> None:
    """Register the DAG as a cell does, without a run."""
    from nbflow.services.dag_test import register_inline

    register_inline(app, dag)


def test_an_untouched_lab_shows_what_is_missing(lab):
    for number in range(1, 6):
        result = lab.check(number)
        assert not result.passed
        assert len(result.findings) == 1
        assert result.findings[0].found
    assert repr(lab.check(1)) == (
        "Exercise 1: Two tasks in order: not yet\n"
        "  missing  A DAG `hello` with the tasks `greet` and `shout`.\n"
        "           Found: There is no DAG `hello` yet.\n"
        "           Hint: Begin a cell with `%%dag hello`, define the tasks in it, and run it."
    )


def test_a_check_changes_nothing(lab, app):
    hello().test()
    before = app.store.last_seq()
    for number in range(1, 6):
        lab.check(number)
    assert app.store.last_seq() == before


def test_a_missing_task_is_named(lab, app):
    with DAG("hello", schedule=None) as dag:
        EmptyOperator(task_id="greet")
    define(app, dag)
    finding = lab.check(1).findings[-1]
    assert (finding.found, finding.hint) == ("`hello` has `greet`.", "Define `shout` with `@task`, and call it.")


def test_a_missing_edge_is_found(lab, app):
    with DAG("hello", schedule=None) as dag:
        EmptyOperator(task_id="greet")
        EmptyOperator(task_id="shout")
    define(app, dag)
    result = lab.check(1)
    assert [finding.ok for finding in result.findings] == [True, False]
    assert result.findings[-1].found == "It has no upstream task."


def test_the_newest_definition_counts(lab, app):
    with DAG("hello", schedule=None) as dag:
        EmptyOperator(task_id="greet")
    define(app, dag)
    define(app, hello())
    assert lab.check(1).passed


def test_a_dag_without_a_run_gets_the_hint_how_to_run_it(lab, app):
    define(app, hello())
    assert lab.check(2).findings[-1].hint == "Run it: `%dag run hello`."


def test_a_wrong_result_is_shown(lab):
    hello("bye").test()
    finding = lab.check(2).findings[-1]
    assert (finding.expected, finding.found) == ("The result of `shout` is `'HELLO'`.", "It is `'BYE'`.")


def test_a_right_run_passes(lab):
    hello().test()
    assert lab.check(1).passed
    assert lab.check(2).passed


def test_the_newest_run_counts_not_that_of_the_latest_date(lab):
    hello("bye").test(logical_date="2024-06-01")
    hello().test(logical_date="2024-01-01")
    assert lab.check(2).passed


def test_a_skipped_join_gets_a_hint_about_trigger_rules(lab):
    branching().test()
    finding = lab.check(3).findings[-1]
    assert finding.found == "`formal` is success, `casual` is skipped, `sign` is skipped."
    assert "trigger_rule" in finding.hint


@pytest.mark.parametrize("rule", ["none_failed_min_one_success", "none_failed", "one_success", "all_done"])
def test_a_join_that_ran_passes_with_any_trigger_rule(lab, rule):
    branching(trigger_rule=rule).test()
    assert lab.check(3).passed


def test_a_failure_without_retries_gets_a_hint_about_retries(lab):
    calling().test()
    finding = lab.check(4).findings[-1]
    assert finding.found.endswith("→ failed.")
    assert "retries=1" in finding.hint


def test_a_retry_that_succeeds_passes(lab):
    calling(retries=1, retry_delay=timedelta(0)).test()
    assert lab.check(4).passed


def test_a_success_at_the_first_try_is_not_a_retry(lab):
    with DAG("hello_retry", schedule=None) as dag:

        @task
        def call():
            return 1

        call()
    dag.test()
    assert not lab.check(4).passed


@pytest.mark.parametrize(
    ("answers", "passed", "found", "hint"),
    [
        (("2024-01-02 06:00",), True, "", ""),
        ((datetime(2024, 1, 2, 6, tzinfo=UTC),), True, "", ""),
        (("2024-01-01 06:00",), False, "2024-01-01 06:00 is wrong.", "That is its logical date"),
        (("2024-01-01",), False, "2024-01-01 00:00 is wrong.", "A run processes a data interval"),
        (("noon",), False, "`noon` is not a date.", "Write it like"),
        ((), False, "No answer was given.", "Pass your answer"),
    ],
)
def test_a_prediction_is_compared_with_the_timetable(lab, app, answers, passed, found, hint):
    define(app, daily())
    result = lab.check(5, *answers)
    assert (result.passed, result.findings[-1].found) == (passed, found)
    assert result.findings[-1].hint.startswith(hint)


def test_a_different_schedule_does_not_pass(lab, app):
    define(app, daily("@daily"))
    finding = lab.check(5, "2024-01-02").findings[-1]
    assert finding.found == "It has the schedule `@daily` and the start date 2024-01-01 00:00 UTC."


def test_progress_is_shown_and_stored(lab, app):
    assert repr(lab).splitlines()[0] == "Hello, DAG: 0 of 5 exercises passed"
    lab.check(2)
    hello().test()
    lab.check(1)
    assert repr(lab).splitlines()[:3] == [
        "Hello, DAG: 1 of 5 exercises passed",
        "  1. Two tasks in order: passed",
        "  2. Run it: not yet",
    ]
    assert open_lab("01_hello_dag", app).passed == [1]


def test_an_unknown_exercise_is_refused(lab):
    with pytest.raises(NbflowError, match="has the exercises 1 to 5, not 6"):
        lab.check(6)


def test_an_unknown_lab_is_refused_with_the_nearest_name(app):
    with pytest.raises(NbflowError, match="Did you mean '01_hello_dag'"):
        open_lab("01_hello_dags", app)


def test_feedback_as_html_holds_what_the_text_holds(lab):
    mime = lab.check(1)._repr_mimebundle_()
    assert mime.keys() == {"text/plain", "text/html"}
    for words in ("missing", "<code>hello</code>", "<b>Found:</b>", "<b>Hint:</b>"):
        assert words in mime["text/html"]


@pytest.mark.parametrize("name", LABS)
def test_every_lab_has_a_notebook_and_a_solution(name):
    folder = content_folder("labs")
    assert (folder / f"{name}.ipynb").is_file()
    assert (folder / "solutions" / f"{name}.ipynb").is_file()
