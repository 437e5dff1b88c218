"""Quizzes: the file's schema, answers that the engine itself confirms, sittings and their feedback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from nbflow import DAG, task
from nbflow.core.timetables import TimeRestriction, timetable_from_schedule
from nbflow.errors import AirflowException
from nbflow.operators.empty import EmptyOperator
from nbflow.teach.folders import content_folder
from nbflow.teach.progress import Item, Progress
from nbflow.teach.questions import QuizError, load_quiz, quiz_names, read_quiz
from nbflow.teach.quiz import Sitting, judge

DAG_CONCEPTS = load_quiz("dag_concepts")
START = datetime(2024, 1, 1, tzinfo=UTC)


def right_texts(number: int) -> list[str]:
    question = DAG_CONCEPTS.question(number)
    return [question.option(letter).text for letter in question.answer]  # type: ignore[union-attr]


@pytest.fixture
def sitting(home) -> Sitting:
    return Sitting(DAG_CONCEPTS, Progress(home))


# ---------------------------------------------------------------------------------------------------- the quizzes


@pytest.mark.parametrize("name", quiz_names())
def test_every_quiz_reads_and_explains_itself(name):
    quiz = load_quiz(name)
    assert quiz.name == name
    assert [q.number for q in quiz.questions] == list(range(1, len(quiz.questions) + 1))
    for question in quiz.questions:
        assert len(question.why) > 40, f"question {question.number} says too little of why"


def test_dag_concepts_has_ten_questions_of_four_types():
    assert len(DAG_CONCEPTS.questions) == 10
    assert {question.type for question in DAG_CONCEPTS.questions} == {"single", "multiple", "order", "fill"}


def test_right_answers_do_not_favour_a_letter():
    singles = [question.answer[0] for question in DAG_CONCEPTS.questions if question.type == "single"]
    assert len(set(singles)) >= 3


def test_what_concerns_states_and_rules_is_answered_by_the_engine():
    raw = json.loads((content_folder("quizzes") / "dag_concepts.json").read_text("utf-8"))
    kinds = {number: one["key"]["kind"] for number, one in enumerate(raw["questions"], 1) if "key" in one}
    assert kinds == {3: "walk", 4: "becomes", 5: "becomes", 6: "decides", 7: "rules", 8: "first_run", 9: "executions"}


# --- what no key says is tried out here


def _lines_that_load(lines: list[str]) -> list[str]:
    loaded = []
    for line in lines:
        with DAG("quiz", schedule=None) as dag:
            a = EmptyOperator(task_id="a")
            space = {"a": a, "EmptyOperator": EmptyOperator}
            if not line.startswith("b = "):
                space["b"] = EmptyOperator(task_id="b")
            try:
                exec(line, space)
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
        states = {one.task_id: one.state.value for one in app.store.instances(run.key)}
    assert states == {"choose": "success", "train": "success", "buy_more_data": "skipped", "report": "skipped"}
    assert right_texts(6) == ["It is skipped as well."]


def test_question_10_a_start_that_moves_never_lets_an_interval_end():
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
    ("changed", "said"),
    [
        ({"type": "singel"}, "there is no type 'singel'. Did you mean 'single'?"),
        ({"why": None}, "why is missing"),
        ({"hint": "x"}, "there is no field 'hint'"),
        ({"options": [{"text": "x"}, {"text": "y"}]}, "0 right answers; a single question has 1 to 1"),
        ({"options": [{"text": "x", "right": True}]}, "options is a list of 2"),
        ({"type": "fill"}, "a fill-in question has no options"),
        ({"type": "fill", "options": None}, "either accept or key"),
        ({"type": "order"}, "an order question needs a key"),
        ({"key": {"kind": "becomes", "source": "running", "cause": "raised"}}, "so no option may say it too"),
        (
            {"options": [{"text": "x", "is": "run"}, {"text": "y"}], "key": {"kind": "walk", "states": ["none"]}},
            "option b: with a key, each option says what it is",
        ),
        (
            {"type": "fill", "options": None, "key": {"kind": "walk", "states": ["success", "running"]}},
            "nothing leads from success to running",
        ),
        ({"type": "fill", "options": None, "key": {"kind": "tarot"}}, "there is no key 'tarot'"),
    ],
)
def test_a_faulty_question_is_refused_with_its_place(changed, said):
    with pytest.raises(QuizError) as caught:
        read_quiz(quiz_of(**changed), "q.json")
    assert str(caught.value).startswith("q.json, question 1")
    assert said in str(caught.value)


def test_a_quiz_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(QuizError, match=r"There is no quiz 'dag_concept'\. Did you mean 'dag_concepts'\?"):
        load_quiz("dag_concept")


@pytest.mark.parametrize("name", ["../quizzes/dag_concepts", "/etc/passwd", ""])
def test_a_quiz_name_is_no_path(name):
    with pytest.raises(QuizError, match="There is no quiz"):
        load_quiz(name)


# ---------------------------------------------------------------------------------------------------- a sitting


@pytest.mark.parametrize("question", DAG_CONCEPTS.questions, ids=lambda q: str(q.number))
def test_the_right_answer_is_right_and_told_why(sitting, question):
    feedback = sitting.answer(question.number, list(question.answer))
    assert feedback.right
    assert question.why in repr(feedback)


@pytest.mark.parametrize(
    ("number", "given"), [(3, "ceadb"), (3, "c e a d b"), (3, "c > e > a > d > b"), (4, "c,a"), (9, " 3 "), (9, 3)]
)
def test_answers_are_read_as_people_type_them(sitting, number, given):
    assert sitting.answer(number, given).right


def test_a_wrong_choice_is_told_what_is_wrong_with_it_and_not_the_answer(sitting):
    question = DAG_CONCEPTS.question(5)
    wrong = next(one for one in question.options if one.letter not in question.answer)
    feedback = sitting.answer(5, wrong.letter)
    assert not feedback.right
    assert wrong.why in repr(feedback)
    assert question.why not in repr(feedback)


def test_a_half_right_choice_is_told_how_much_is_missing(sitting):
    assert repr(sitting.answer(4, "a")) == ("Question 4: wrong.\nSo far all right, but 1 more fits.\nTry again.")


def test_a_wrong_order_is_told_where_it_goes_wrong():
    question = DAG_CONCEPTS.question(3)
    first, second, *rest = question.answer
    assert judge(question, [second, first, *rest]).remarks == ("The first one is not that.",)
    assert judge(question, [first, second, *reversed(rest)]).remarks == ("Right up to place 2, and then not.",)
    assert judge(question, [first]).remarks == ("Name all 5 letters, each once.",)


def test_a_letter_that_the_question_does_not_have_is_refused_and_not_counted(sitting):
    with pytest.raises(QuizError, match="Question 5 has the answers a, b, c, d, not 'z'"):
        sitting.answer(5, "z")
    assert sitting.items == {}


def test_the_score_counts_what_was_once_right(sitting):
    sitting.answer(9, "2")
    sitting.answer(9, "3")
    sitting.answer(9, "4")
    sitting.answer(5, "c")
    assert sitting.score == "1 of 10 right"
    assert {number: item.tries for number, item in sitting.items.items()} == {9: 3, 5: 1}


def test_progress_is_kept_for_the_next_kernel(sitting, home):
    sitting.answer(9, "3")
    again = Progress(home).items("quiz", "dag_concepts")
    assert again.keys() == {"9"}
    assert again["9"].tries == 1
    assert datetime.fromisoformat(again["9"].passed_at or "").tzinfo is not None


def test_an_unreadable_progress_file_is_put_aside(home):
    home.mkdir()
    (home / "progress.json").write_text("{")
    assert Progress(home).note("lab", "l", "1", passed=False, now=START) == Item(1, None)
    assert (home / "progress.unreadable").read_text() == "{"


# ---------------------------------------------------------------------------------------------------- display


def test_without_a_front_end_the_questions_stand_there_as_text_and_html(sitting):
    mime = sitting._repr_mimebundle_()
    assert mime.keys() == {"text/plain", "text/html"}
    for question in DAG_CONCEPTS.questions:
        assert question.ask in mime["text/plain"]


def test_texts_of_a_quiz_are_escaped():
    raw = quiz_of(ask="Is `a<b>` <script>alert(1)</script> code?")
    shown = Sitting(read_quiz(raw), Progress(content_folder("quizzes"))).show(1).html
    assert "<code>a&lt;b&gt;</code>" in shown
    assert "<script" not in shown


class TestForm:
    """The form makes the same calls as a typed answer."""

    @pytest.fixture
    def form(self, sitting):
        from nbflow.teach.quiz_form import Form

        return Form(sitting)

    def press(self, form, number: int, fill) -> str:
        row = form.rows[number - 1]
        fill(row)
        row.button.click()
        return str(row.said.value)

    def test_each_type_of_question_can_be_answered(self, form, sitting):
        def fill(row):
            answer = row.question.answer
            if row.question.type == "multiple":
                for option, box in zip(row.question.options, row.fields, strict=True):
                    box.value = option.letter in answer
            else:
                row.fields[-1].value = " ".join(answer)

        for question in DAG_CONCEPTS.questions:
            assert "right" in self.press(form, question.number, fill)
        assert sitting.score == "10 of 10 right"
        assert "10 of 10 right" in form.head.value

    def test_nothing_chosen_is_wrong_and_says_so(self, form):
        assert "wrong" in self.press(form, 5, lambda row: None)

    def test_a_letter_too_many_is_said_beside_the_question(self, form):
        def fill(row):
            row.fields[-1].value = "a b x"

        assert "has the answers a, b, c, d, e, not &#x27;x&#x27;" in self.press(form, 3, fill)
