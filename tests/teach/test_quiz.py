"""Quizzes: the file's schema, answers that the engine computes, answering and its feedback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from nbflow import DAG, task
from nbflow.core.states import STATE_MEANINGS, TaskState
from nbflow.core.timetables import TimeRestriction, timetable_from_schedule
from nbflow.errors import AirflowException
from nbflow.operators.empty import EmptyOperator
from nbflow.teach.content_folders import content_folder
from nbflow.teach.progress import Item, Progress
from nbflow.teach.quiz import QuizError, load_quiz, quiz_names, read_quiz
from nbflow.teach.quiz_session import QuizSession, evaluate

DAG_CONCEPTS = load_quiz("dag_concepts")
START = datetime(2024, 1, 1, tzinfo=UTC)


def right_texts(number: int) -> list[str]:
    question = DAG_CONCEPTS.question(number)
    return [question.option(letter).text for letter in question.answer]  # type: ignore[union-attr]


@pytest.fixture
def session(home) -> QuizSession:
    return QuizSession(DAG_CONCEPTS, Progress(home))


# ---------------------------------------------------------------------------------------------------- the quizzes


@pytest.mark.parametrize("name", quiz_names())
def test_every_quiz_loads_and_explains_its_answers(name):
    quiz = load_quiz(name)
    assert quiz.name == name
    assert [q.number for q in quiz.questions] == list(range(1, len(quiz.questions) + 1))
    for question in quiz.questions:
        assert len(question.why) > 40, f"the explanation of question {question.number} is too short"


def test_dag_concepts_has_ten_questions_of_four_types():
    assert len(DAG_CONCEPTS.questions) == 10
    assert {question.type for question in DAG_CONCEPTS.questions} == {"single", "multiple", "order", "fill"}


def test_right_answers_do_not_favour_a_letter():
    singles = [question.answer[0] for question in DAG_CONCEPTS.questions if question.type == "single"]
    assert len(set(singles)) >= 3


def test_the_engine_answers_the_questions_about_states_rules_and_timetables():
    raw = json.loads((content_folder("quizzes") / "dag_concepts.json").read_text("utf-8"))
    questions = enumerate(raw["questions"], 1)
    kinds = {number: question["key"]["kind"] for number, question in questions if "key" in question}
    assert kinds == {3: "walk", 4: "becomes", 5: "becomes", 6: "decides", 7: "rules", 8: "first_run", 9: "executions"}


# --- answers without a key are verified here


def _lines_that_load(lines: list[str]) -> list[str]:
    loaded = []
    for line in lines:
        with DAG("quiz", schedule=None) as dag:
            a = EmptyOperator(task_id="a")
            namespace = {"a": a, "EmptyOperator": EmptyOperator}
            if not line.startswith("b = "):
                namespace["b"] = EmptyOperator(task_id="b")
            try:
                exec(line, namespace)
            except AirflowException:
                continue
        assert dag.task_dict["b"].upstream_task_ids == {"a"}, line
        loaded.append(line)
    return loaded


def test_question_2_names_the_one_line_that_does_not_load():
    texts = [option.text.strip("`") for option in DAG_CONCEPTS.question(2).options]
    assert [text for text in texts if text not in _lines_that_load(texts)] == [t.strip("`") for t in right_texts(2)]


def test_question_6_holds_in_a_real_run(home):
    with DAG("branching", schedule=None) as dag:

        @task.branch
        def choose():
            return "train"

        train, buy, report = (EmptyOperator(task_id=name) for name in ("train", "buy_more_data", "report"))
        choose() >> [train, buy] >> report
    run = dag.test()
    from nbflow.app import App

    with App.open() as app:
        states = {ti.task_id: ti.state.value for ti in app.store.instances(run.key)}
    assert states == {"choose": "success", "train": "success", "buy_more_data": "skipped", "report": "skipped"}
    assert right_texts(6) == ["It is skipped too."]


def test_question_10_a_moving_start_date_never_lets_an_interval_end():
    timetable = timetable_from_schedule("@daily")
    for hours in range(0, 100, 7):
        now = START + timedelta(hours=hours)
        info = timetable.next_run(None, TimeRestriction(now, None, True), now)
        assert info is not None
        assert info.run_after > now
    assert right_texts(10)[0].startswith("It never starts a run")


# ---------------------------------------------------------------------------------------------------- the reader

SOUND = {"type": "single", "ask": "?", "why": "!", "options": [{"text": "x", "right": True}, {"text": "y"}]}


def quiz_of(**changed) -> str:
    question = {name: value for name, value in {**SOUND, **changed}.items() if value is not None}
    return json.dumps({"quiz": "q", "title": "Q", "questions": [question]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"type": "singel"}, "unknown type 'singel'. Did you mean 'single'?"),
        ({"why": None}, "why is missing"),
        ({"hint": "x"}, "unknown field 'hint'"),
        ({"options": [{"text": "x"}, {"text": "y"}]}, "0 right answers; a single question has 1 to 1"),
        ({"options": [{"text": "x", "right": True}]}, "options must be a list of 2"),
        ({"type": "fill"}, "a fill-in question has no options"),
        ({"type": "fill", "options": None}, "either accept or key"),
        ({"type": "order"}, "an order question needs a key"),
        ({"key": {"kind": "becomes", "source": "running", "cause": "raised"}}, "with a key, no option may have right"),
        (
            {"options": [{"text": "x", "is": "run"}, {"text": "y"}], "key": {"kind": "walk", "states": ["none"]}},
            "option b: with a key, each option needs an is",
        ),
        (
            {"type": "fill", "options": None, "key": {"kind": "walk", "states": ["success", "running"]}},
            "no transition leads from success to running",
        ),
        ({"type": "fill", "options": None, "key": {"kind": "tarot"}}, "unknown key 'tarot'"),
    ],
)
def test_an_invalid_question_is_refused_with_its_place(changed, message):
    with pytest.raises(QuizError) as caught:
        read_quiz(quiz_of(**changed), "q.json")
    assert str(caught.value).startswith("q.json, question 1")
    assert message in str(caught.value)


def test_an_option_that_is_a_state_shows_the_meaning_that_nbflow_shows_everywhere():
    # Given the question about the states of a task
    options = DAG_CONCEPTS.question(3).options
    # Then its options are the states with their meanings
    assert {option.text for option in options} == {
        f"`{state}`: {STATE_MEANINGS[state]}" for state in TaskState if state.value in DAG_CONCEPTS_STATES
    }
    # And an option that is no state needs a text
    with pytest.raises(QuizError, match="question 1, option a: text is missing"):
        read_quiz(quiz_of(options=[{"is": "paused"}, {"text": "y", "is": "y"}]), "q.json")


DAG_CONCEPTS_STATES = ("none", "scheduled", "queued", "running", "success")


def test_an_unknown_quiz_is_refused_with_the_nearest_name():
    with pytest.raises(QuizError, match=r"There is no quiz 'dag_concept'\. Did you mean 'dag_concepts'\?"):
        load_quiz("dag_concept")


@pytest.mark.parametrize("name", ["../quizzes/dag_concepts", "/etc/passwd", ""])
def test_a_quiz_name_is_not_a_path(name):
    with pytest.raises(QuizError, match="There is no quiz"):
        load_quiz(name)


# ---------------------------------------------------------------------------------------------------- answering


@pytest.mark.parametrize("question", DAG_CONCEPTS.questions, ids=lambda q: str(q.number))
def test_the_right_answer_is_right_and_gets_its_explanation(session, question):
    feedback = session.answer(question.number, list(question.answer))
    assert feedback.right
    assert question.why in repr(feedback)


@pytest.mark.parametrize(
    ("number", "answer"), [(3, "ceadb"), (3, "c e a d b"), (3, "c > e > a > d > b"), (4, "c,a"), (9, " 3 "), (9, 3)]
)
def test_typed_answers_may_have_separators_spaces_and_any_order(session, number, answer):
    assert session.answer(number, answer).right


def test_feedback_explains_a_wrong_choice_without_the_right_one(session):
    question = DAG_CONCEPTS.question(5)
    wrong = next(option for option in question.options if option.letter not in question.answer)
    feedback = session.answer(5, wrong.letter)
    assert not feedback.right
    assert wrong.why in repr(feedback)
    assert question.why not in repr(feedback)


def test_feedback_counts_the_choices_that_are_missing(session):
    assert repr(session.answer(4, "a")) == ("Question 4: wrong.\nRight so far, but 1 more applies.\nTry again.")


def test_feedback_names_the_first_wrong_place_of_an_order():
    question = DAG_CONCEPTS.question(3)
    first, second, *rest = question.answer
    assert evaluate(question, [second, first, *rest]).remarks == ("The first letter is wrong.",)
    remark = "The first 2 letters are right, the next one is wrong."
    assert evaluate(question, [first, second, *reversed(rest)]).remarks == (remark,)
    assert evaluate(question, [first]).remarks == ("Give all 5 letters, each once.",)


def test_a_letter_that_the_question_does_not_have_is_refused_and_not_counted(session):
    with pytest.raises(QuizError, match="Question 5 has the answers a, b, c, d, not 'z'"):
        session.answer(5, "z")
    assert session.items == {}


def test_the_score_counts_questions_that_were_right_once(session):
    session.answer(9, "2")
    session.answer(9, "3")
    session.answer(9, "4")
    session.answer(5, "c")
    assert session.score == "1 of 10 right"
    assert {number: item.tries for number, item in session.items.items()} == {9: 3, 5: 1}


def test_the_next_kernel_reads_the_progress(session, home):
    session.answer(9, "3")
    again = Progress(home).items("quiz", "dag_concepts")
    assert again.keys() == {"9"}
    assert again["9"].tries == 1
    assert datetime.fromisoformat(again["9"].passed_at or "").tzinfo is not None


def test_an_unreadable_progress_file_is_renamed(home):
    home.mkdir()
    (home / "progress.json").write_text("{")
    assert Progress(home).record_try("lab", "l", "1", passed=False, now=START) == Item(1, None)
    assert (home / "progress.unreadable").read_text() == "{"


# ---------------------------------------------------------------------------------------------------- display


def test_without_a_front_end_the_output_holds_the_questions_as_text_and_html(session):
    mime = session._repr_mimebundle_()
    assert mime.keys() == {"text/plain", "text/html"}
    for question in DAG_CONCEPTS.questions:
        assert question.ask in mime["text/plain"]


def test_texts_of_a_quiz_are_escaped():
    raw = quiz_of(ask="Is `a<b>` <script>alert(1)</script> code?")
    shown = QuizSession(read_quiz(raw), Progress(content_folder("quizzes"))).show(1).html
    assert "<code>a&lt;b&gt;</code>" in shown
    assert "<script" not in shown


class TestForm:
    """The form makes the same calls as a typed answer."""

    @pytest.fixture
    def form(self, session):
        from nbflow.teach.quiz_form import Form

        return Form(session)

    def press(self, form, number: int, fill) -> str:
        row = form.rows[number - 1]
        fill(row)
        row.button.click()
        return str(row.feedback.value)

    def test_each_type_of_question_can_be_answered(self, form, session):
        def fill(row):
            answer = row.question.answer
            if row.question.type == "multiple":
                for option, box in zip(row.question.options, row.fields, strict=True):
                    box.value = option.letter in answer
            else:
                row.fields[-1].value = " ".join(answer)

        for question in DAG_CONCEPTS.questions:
            assert "right" in self.press(form, question.number, fill)
        assert session.score == "10 of 10 right"
        assert "10 of 10 right" in form.head.value

    def test_no_choice_is_shown_as_wrong(self, form):
        assert "wrong" in self.press(form, 5, lambda row: None)

    def test_an_unknown_letter_is_reported_at_the_question(self, form):
        def fill(row):
            row.fields[-1].value = "a b x"

        assert "has the answers a, b, c, d, e, not &#x27;x&#x27;" in self.press(form, 3, fill)
