"""Cell outputs: their words with and without styles, and that data never becomes markup."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.suggested_commands import SuggestedCommand, suggest
from nbflow.ui import view_bundles as bundles
from nbflow.ui.admin_bundles import connections_bundle, pools_bundle, status_bundle, variables_bundle
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.tables import MAX_ROWS, Cell, Table, display_width, html_table, text_table
from nbflow.views.backfill import BackfillView, PlannedRun
from nbflow.views.connections import ConnectionRow, ConnectionsView
from nbflow.views.dag_list import DagListRow, DagListView, LastRun
from nbflow.views.gantt import GanttView
from nbflow.views.graph import GraphView, TaskView
from nbflow.views.grid import GridView
from nbflow.views.import_errors import ImportErrorRow, ImportErrorsView
from nbflow.views.jobs import JobRow
from nbflow.views.next_runs import NextRunsView
from nbflow.views.pools import PoolRow, PoolsView
from nbflow.views.runs import RunRow, RunsView
from nbflow.views.shared import EventRow
from nbflow.views.status import StatusView
from nbflow.views.task_instances import TaskInstanceRow, TaskInstancesView
from nbflow.views.task_log import LogLine, TaskLogView
from nbflow.views.timeline import TimelineView
from nbflow.views.variables import VariableRow, VariablesView
from nbflow.views.why_run import WhyRow, WhyRunView
from nbflow.views.why_task import WhyTaskView
from tests.ui.markup import Element, parse
from tests.ui.samples import NOW


class Untrusted(HTMLParser):
    """The HTML of an untrusted notebook: no style sheets, no SVG tags (their text stays), no scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.silent += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.silent and data.strip():
            self.text.append(data.strip())


def untrusted(bundle: Bundle) -> Untrusted:
    parser = Untrusted()
    parser.feed(bundle.html)
    parser.close()
    return parser


def words(bundle: Bundle) -> str:
    return " ".join(" ".join(untrusted(bundle).text).split())


def every_view(text: str) -> list[Bundle]:
    """One bundle of each kind, with `text` in each place of a user's text."""
    event = EventRow(at=NOW, subject=text, to_state=text, from_state=text, cause=text, actor=text)
    planned = PlannedRun(logical_date=NOW, action="create", reason=text, state=text)
    listed = DagListRow(dag_id=text, schedule=text, latest=text, tags=(text,), owners=(text,))
    run = RunRow(run_id=text, state=text, run_type=text, counts={text: 1})
    ti = TaskInstanceRow(task_id=text, state=text, reason=text)
    waits = WhyRow(task_id=text, state=text, kind=text, reason=text)
    broken = ImportErrorRow(fileloc=text, cell=text, error=text, line=1, at=NOW)
    return [
        bundles.graph_bundle(GraphView(dag_id=text, tasks=(TaskView(task_id=text, label=text),), footer=(text,)), NOW),
        bundles.grid_bundle(GridView(dag_id=text)),
        bundles.gantt_bundle(GanttView(dag_id=text)),
        bundles.timeline_bundle(TimelineView(title=text, start=NOW, end=NOW, events=(event,), assumptions=(text,))),
        bundles.dags_bundle(DagListView(rows=(listed,), stale=(text,)), NOW),
        bundles.runs_bundle(RunsView(dag_id=text, rows=(run,)), NOW),
        bundles.tasks_bundle(TaskInstancesView(dag_id=text, run=text, run_state=text, rows=(ti,)), NOW),
        bundles.next_runs_bundle(NextRunsView(dag_id=text, schedule=text, timezone=text), NOW, remark=text),
        bundles.events_bundle([event], title=text),
        bundles.log_bundle(TaskLogView(title=text, lines=(LogLine(message=text, level=text, source=text, at=NOW),))),
        bundles.why_bundle(
            WhyTaskView(
                subject=text,
                state=text,
                headline=text,
                grounds=(text,),
                suggestions=(suggest(text, text),),
                history=(event,),
            )
        ),
        bundles.backfill_bundle(BackfillView(dag_id=text, runs=(planned,), remarks=(text,))),
        bundles.why_run_bundle(WhyRunView(dag_id=text, run_id=text, run=text, run_state=text, rows=(waits,)), NOW),
        bundles.import_errors_bundle(ImportErrorsView(rows=(broken,)), NOW),
        *_admin_views(text),
        bundles.states_bundle([(text, text)]),
        bundles.table_bundle(text, Table(columns=(text,), rows=((text,),))),
        bundles.text_bundle(text, text),
        bundles.message_bundle(text, state=text),
    ]


def _admin_views(text: str) -> list[Bundle]:
    connection = ConnectionRow(conn_id=text, conn_type=text, host=text, login=text, extra=text, description=text)
    return [
        status_bundle(status(home=text, dags_folder=text, metastore=text, schedulers=(job(hostname=text),)), NOW),
        pools_bundle(PoolsView(rows=(PoolRow(pool=text, slots=1, description=text),))),
        variables_bundle(VariablesView(rows=(VariableRow(key=text, description=text),))),
        connections_bundle(ConnectionsView(rows=(connection,))),
    ]


def job(*, hostname: str = "here") -> JobRow:
    return JobRow(
        job_id="1",
        job_type="scheduler",
        state="running",
        hostname=hostname,
        pid=7,
        start_date=NOW,
        latest_heartbeat=NOW,
    )


def status(**fields: Any) -> StatusView:
    numbers = {"dags": 3, "import_errors": 1, "queued_runs": 2, "running_runs": 1, "running_tasks": 4}
    return StatusView(**{"metastore": "sqlite:///h", "home": "/h", "dags_folder": "/h/dags", **numbers, **fields})


TAGS = {
    "div", "b", "span", "p", "img", "style", "svg", "path", "rect", "table", "thead", "tbody", "tr", "th", "td", "pre",
    "code", "details", "summary",
}  # fmt: skip


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "'\"><img src=http://x onerror=1>", "</style><b>", "javascript:x"]
)
def test_data_never_becomes_markup(text: str) -> None:
    for bundle in every_view(text):
        parsed = untrusted(bundle)
        assert parsed.tags <= TAGS
        names = {name for name, _ in parsed.attributes}
        assert not [name for name in names if name.startswith("on") or name == "href"]
        assert all(
            (value or "").startswith("data:image/svg+xml;base64,") for name, value in parsed.attributes if name == "src"
        )
        parse(bundle.html)


@given(st.text(min_size=1, max_size=30))
def test_every_view_has_html_and_text_for_any_data(text: str) -> None:
    for bundle in every_view(text):
        assert bundle.text
        assert {element.tag for element in parse(bundle.html).children if isinstance(element, Element)} == {"div"}


def test_an_output_holds_html_and_plain_text(forex: GraphView) -> None:
    bundle = bundles.graph_bundle(forex, NOW)
    assert bundle._repr_mimebundle_() == {"text/html": bundle.html, "text/plain": bundle.text}
    assert bundle._repr_mimebundle_(include={"text/plain"}) == {"text/plain": bundle.text}
    assert repr(bundle) == bundle.text


def test_the_picture_is_an_image_that_an_untrusted_notebook_shows(forex: GraphView) -> None:
    bundle = bundles.graph_bundle(forex, NOW)
    source = dict(untrusted(bundle).attributes)["src"] or ""
    assert base64.b64decode(source.split(",", 1)[1]).decode() == bundle.svg
    assert dict(untrusted(bundle).attributes)["alt"] == (
        "Graph of forex, run 2026-11-20 running, 7 tasks: up_for_retry 1, success 4, skipped 1, none 1"
    )


@pytest.mark.browser
@pytest.mark.parametrize(("width", "share"), [(1_000, 1.0), (390, 0.75)])
def test_a_narrow_page_scrolls_a_picture_at_three_quarters_of_its_size(
    forex: GraphView, new_page: Callable[..., Any], width: int, share: float
) -> None:
    # Given a graph of some 900 pixels, on a page as wide as a notebook or as a phone
    html = bundles.graph_bundle(forex, NOW).html
    page = new_page({"/": ("text/html", html)}, viewport={"width": width, "height": 600})
    page.goto("http://localhost/")
    # Then it has its full size if there is room, and else three quarters of it
    image = page.locator("img")
    drawn, own = image.evaluate("image => [image.getBoundingClientRect().width, Number(image.getAttribute('width'))]")
    assert drawn == pytest.approx(own * share, abs=1)
    # And its box scrolls, not the page
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_the_text_of_a_graph_lists_its_tasks_with_their_upstream(forex: GraphView) -> None:
    assert bundles.graph_text(forex, NOW) == (
        "DAG forex · 0 6 * * 1-5 · run 2026-11-20 running · next in 21 h 26 min (2026-11-21 03:29:03 CET)\n"
        "TASK                STATE         NOTE                UPSTREAM\n"
        "wait_for_rates      success       2.1 s               –\n"
        "download            success       0.8 s               wait_for_rates\n"
        "validate            success       0.2 s               download\n"
        "branches.big_move   skipped       –                   validate (moves > 1 %)\n"
        "branches.quiet_day  success       0.1 s               validate\n"
        "load                up_for_retry  try 2 of 4 in 38 s  branches.big_move, branches.quiet_day\n"
        "report              none          –                   branches.quiet_day\n"
        "up_for_retry 1, success 4, skipped 1, none 1\n"
        "version 7 · forex.ipynb, cell 3 · scheduler running (pid 4121)"
    )


def test_the_list_shows_failures_and_the_next_runs() -> None:
    """The text of the list in an untrusted notebook: states as words, no text of an SVG."""
    rows = [
        DagListRow(
            dag_id="forex", schedule="0 6 * * 1-5", latest="failed",
            last_runs=(LastRun(run_id="a", state="success", duration=2), LastRun(run_id="b", state="failed")),
            next_run=NOW + timedelta(hours=21), tags=("finance", "daily"),
        ),
        DagListRow(dag_id="old", is_paused=True),
    ]  # fmt: skip
    bundle = bundles.dags_bundle(DagListView(rows=tuple(rows)), NOW)
    assert words(bundle) == (
        "DAGs 2 1 failing DAG last runs latest schedule next tags "
        "forex failed 0 6 * * 1-5 in 21 h finance, daily old – none paused"
    )
    assert ("title", "Sat 2026-11-21 03:03:03 CET (02:03:03 UTC)") in untrusted(bundle).attributes


def test_the_status_says_whether_a_scheduler_runs_and_what_there_is_to_do() -> None:
    # Given a home without a scheduler whose next run is a minute late
    idle = status_bundle(status(next_run=NOW - timedelta(minutes=1)), NOW)
    # Then the output says so, and how to start one
    assert words(idle) == (
        "No scheduler running DAGs import errors queued runs running runs running tasks next run 3 1 2 1 4 is due "
        "Home /h, DAGs in /h/dags, metastore sqlite:///h. Start a scheduler with %nbflow start."
    )
    # And with a scheduler on another machine it names that machine
    busy = status_bundle(status(schedulers=(job(hostname="afar"),), next_run=NOW + timedelta(minutes=2)), NOW)
    assert repr(busy) == (
        "Scheduler running (pid 7 on afar).\n"
        "DAGS  IMPORT ERRORS  QUEUED RUNS  RUNNING RUNS  RUNNING TASKS  NEXT RUN\n"
        "   3              1            2             1              4  in 2 min\n"
        "Home /h, DAGs in /h/dags, metastore sqlite:///h."
    )


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        (variables_bundle(VariablesView()), "There is no variable."),
        (connections_bundle(ConnectionsView()), "There is no connection in the metastore."),
        (bundles.dags_bundle(DagListView(), NOW), "%%dag hello --schedule @daily"),
        (bundles.runs_bundle(RunsView(dag_id="x"), NOW), "%dag run x"),
        (bundles.tasks_bundle(TaskInstancesView(), NOW), "no tasks yet"),
        (bundles.log_bundle(TaskLogView(title="t")), "empty so far"),
        (bundles.import_errors_bundle(ImportErrorsView(), NOW), "All DAG files were imported without errors."),
        (bundles.backfill_bundle(BackfillView(dag_id="x")), "No data interval lies in this range."),
        (bundles.grid_bundle(GridView(dag_id="x")), "x has no run yet."),
        (bundles.gantt_bundle(GanttView(dag_id="x")), "No task has started yet."),
    ],
)
def test_an_empty_view_shows_what_to_do(bundle: Bundle, message: str) -> None:
    assert message in bundle.text
    if not bundle.svg:
        assert message in words(bundle)


def test_a_list_of_a_thousand_rows_is_truncated_with_a_hint_to_narrow_it() -> None:
    rows = tuple(RunRow(run_id=f"r{i}", state="success") for i in range(1_204))
    bundle = bundles.runs_bundle(RunsView(rows=rows), NOW)
    assert "500 of 1,204 shown. To see more: %dag runs DAG_ID --number N." in words(bundle)
    assert bundle.text.splitlines()[-1] == "500 of 1,204 shown. To see more: %dag runs DAG_ID --number N."
    assert len(parse(bundle.html).one("table").rows) == MAX_ROWS


def test_a_timeline_lists_its_events_with_their_causes() -> None:
    events = (
        EventRow(seq=1, at=NOW, subject="2026-11-20 load", to_state="failed", cause="its code raised"),
        EventRow(seq=2, at=NOW, subject="2026-11-20 report", to_state="upstream_failed", cause="load failed"),
    )
    view = TimelineView(title="t", start=NOW, end=NOW, events=events, assumptions=("no code",))
    bundle = bundles.timeline_bundle(view)

    folded = parse(bundle.html).one("details")

    assert folded.one("summary").text == "2 events with causes"
    assert folded.one("table").rows == [
        ["2026-11-20 06:03:03 CET", "2026-11-20 load", "failed", "its code raised"],
        ["2026-11-20 06:03:03 CET", "2026-11-20 report", "upstream_failed", "load failed"],
    ]
    assert "Assumptions: no code" in words(bundle)


def test_a_search_without_a_match_counts_the_searched_lines() -> None:
    view = TaskLogView(title="load, try 1", search="o'clock", searched=1_204)

    assert bundles.log_bundle(view).text.splitlines()[1] == """No line contains "o'clock"; 1,204 lines were searched."""


def test_the_list_names_the_stale_dags() -> None:
    bundle = bundles.dags_bundle(DagListView(rows=(DagListRow(dag_id="sales"),), stale=("old", "older")), NOW)

    assert bundle.text.splitlines()[-1] == "Not listed, because no file defines them any more: old, older"
    assert "Not listed, because no file defines them any more: old, older" in words(bundle)


def test_a_long_log_shows_its_end_without_escapes() -> None:
    lines = tuple(LogLine(message=f"\x1b[31mline {i}\x1b[0m\x07", at=NOW) for i in range(1_500))
    bundle = bundles.log_bundle(TaskLogView(title="load, try 1", lines=lines, dropped=10))
    text = bundle.text.splitlines()
    assert text[0] == "load, try 1 (1,510 lines · times in CET)"
    assert text[1] == "… 510 earlier lines"
    assert text[2] == "06:03:03.000 INFO     line 500\ufffd"
    assert len(text) == 1_002


def test_why_shows_the_headline_its_grounds_and_the_commands() -> None:
    view = WhyTaskView(
        subject="forex.load", state="up_for_retry", headline="Waits for its second try.", grounds=("retries=3",),
        suggestions=(suggest("tasks clear", "forex", "load"), suggest("dags unpause", "forex")),
    )  # fmt: skip
    assert bundles.why_bundle(view).text == (
        "forex.load is up_for_retry: Waits for its second try.\n"
        "  retries=3\n"
        "  Next step: nbflow tasks clear forex load or nbflow dags unpause forex"
    )


def test_why_spells_commands_as_its_surface_does_and_shows_each_once() -> None:
    unpause = suggest("dags unpause", "forex")
    reason = f"DAG forex is paused. Unpause it with: {unpause}"

    def spell(one: SuggestedCommand) -> str:
        return f"%{one.command.split()[-1]} {' '.join(one.words)}"

    of_task = WhyTaskView(subject="forex.load", state="none", headline=reason, suggestions=(unpause,))
    row = WhyRow(task_id="load", state="none", kind="paused", reason=reason, suggestions=(unpause,))
    of_run = WhyRunView(dag_id="forex", run_id="r", run="run r", run_state="running", rows=(row,))

    assert bundles.why_bundle(of_task.spelled(spell), NOW, spell).text == (
        "forex.load is none: DAG forex is paused. Unpause it with: %unpause forex"
    )
    assert bundles.why_run_bundle(of_run.spelled(spell), NOW).text.endswith(
        "DAG forex is paused. Unpause it with: %unpause forex"
    )


def test_a_backfill_counts_the_runs_that_it_creates_reruns_and_keeps() -> None:
    def run(day: int, action: str, reason: str = "") -> PlannedRun:
        at = datetime(2026, 10, day, 6, tzinfo=NOW.tzinfo)
        return PlannedRun(
            logical_date=at, action=action, interval_start=at, interval_end=at.replace(day=day + 1), reason=reason
        )

    view = BackfillView(dag_id="forex", runs=(run(24, "create"), run(25, "rerun"), run(26, "keep", "it runs")))
    assert bundles.backfill_bundle(view).text == (
        "Backfill forex: 1 run will be created, 1 rerun, 1 kept.\n"
        "LOGICAL DATE           INTERVAL                                              ACTION  REASON\n"
        "2026-10-24 06:00 CEST  2026-10-24 06:00 CEST to 2026-10-25 06:00 CET (25 h)  create  –\n"
        "2026-10-25 06:00 CET   2026-10-25 06:00 to 2026-10-26 06:00 CET              rerun   –\n"
        "2026-10-26 06:00 CET   2026-10-26 06:00 to 2026-10-27 06:00 CET              keep    it runs\n"
        "dry run: no run was created"
    )


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=6))
def test_the_columns_of_a_text_table_are_aligned(rows: list[tuple[str, str]]) -> None:
    """Given any cells, when rendered as text, then the second column of each line starts at the same place."""
    cells = tuple((Cell(text="x" + a), Cell(text="|" + b)) for a, b in rows)
    lines = text_table(Table(columns=("first", "|second"), rows=cells)).split("\n")
    starts = {display_width(line[: line.index("  |")]) + 2 for line in lines if "  |" in line}
    assert len(starts) == 1


def test_a_column_without_content_is_omitted() -> None:
    table = Table(columns=("a", "b"), rows=(("1", ""), ("2", "")))
    assert text_table(table) == "A\n1\n2"
    assert [head.text for head in parse(html_table(table)).all("th")] == ["a"]


@pytest.mark.parametrize("make", [lambda: bundles.states_bundle([("success", "it ended well")])])
def test_a_chip_is_colour_glyph_and_word(make: Callable[[], Bundle]) -> None:
    drawn = make().html
    assert 'style="display:inline-block' in drawn
    assert "#dafbe1" in drawn
    assert "<path d=" in drawn
    assert words(make()).endswith("state meaning success it ended well")
