"""Sample graphs, and a real browser for the tests that are marked `browser`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from nbflow.views.graph import EdgeView, GraphView, GroupView, TaskView
from tests.ui.samples import NOW

CHROMIUM_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def forex() -> GraphView:
    """A running run: a branch was skipped, one task waits for its second try."""
    rows = [
        ("wait_for_rates", "success", 2.1, ""),
        ("download", "success", 0.8, ""),
        ("validate", "success", 0.2, ""),
        ("branches.big_move", "skipped", None, "branches"),
        ("branches.quiet_day", "success", 0.1, "branches"),
        ("report", "none", None, ""),
    ]
    tasks = [TaskView(task_id=t, state=s, duration=d, group=g) for t, s, d, g in rows]
    due = NOW + timedelta(seconds=38)
    tasks.insert(5, TaskView(task_id="load", state="up_for_retry", try_number=1, max_tries=4, due=due))
    edges = [
        EdgeView(source="wait_for_rates", target="download"),
        EdgeView(source="download", target="validate"),
        EdgeView(source="validate", target="branches.big_move", label="moves > 1 %"),
        EdgeView(source="validate", target="branches.quiet_day"),
        EdgeView(source="branches.big_move", target="load"),
        EdgeView(source="branches.quiet_day", target="load"),
        EdgeView(source="branches.quiet_day", target="report"),
    ]
    return GraphView(
        dag_id="forex", tasks=tuple(tasks), edges=tuple(edges), groups=(GroupView(group_id="branches"),),
        schedule="0 6 * * 1-5", run="run 2026-11-20", run_state="running",
        next_run=NOW + timedelta(hours=21, minutes=26),
        footer=("version 7", "forex.ipynb, cell 3", "scheduler running (pid 4121)"),
    )  # fmt: skip


@pytest.fixture(scope="module")  # one at a time in a process: its loop would be in the way of other files' tests
def browser(chromium_path: str) -> Iterator[Any]:
    """Chromium. Without it the tests are skipped, or fail if CI=true."""
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Make a page that serves `files` (url ending -> (type, text)); errors and any other request fail the test."""
    contexts: list[Any] = []
    faults: list[str] = []

    def make(files: dict[str, tuple[str, str]], **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1020, "height": 700}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))

        def serve(route: Any) -> None:
            url = route.request.url
            for ending, (kind, text) in files.items():
                if url.endswith(ending):
                    route.fulfill(body=text, content_type=kind)
                    return
            if not url.startswith(("data:", "blob:")):
                faults.append(f"unexpected request: {url}")
            route.abort()

        page.route("**/*", serve)
        return page

    yield make
    for context in contexts:
        context.close()
    assert faults == []
