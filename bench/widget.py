"""Updates of the states in a graph widget, in a real Chromium."""

from __future__ import annotations

from bench.harness import Bench
from bench.results import Figure

TASKS = 300
FRAME_MS = 16.0
"""Duration of a frame on a 60 Hz screen; a longer update is visible as a jerk."""
PUSHES = """async runs => { const ids = Object.keys(model.get("base").document.states), took = [];
  for (let k = 0; k < runs; k++) {
    const patch = ids.map((id, j) => (
      {op: "set", path: ["states", id, "state"], value: ["queued", "running", "success"][(j + k) % 3]}));
    const start = performance.now();
    model.push({patch: [...model.get("patch"), ...patch]});
    await null; await null;
    took.push(performance.now() - start);
  }
  return took; }"""


def measure(bench: Bench) -> list[Figure]:
    """Returns no figures without a browser, and logs that."""
    if bench.browser is None:
        bench.log("widget is left out: Chromium is not installed")
        return []
    from playwright.sync_api import sync_playwright

    from tests.ui.conftest import CHROMIUM_ARGS
    from tests.ui.widget_page import ADDRESS, READY, files_of, many_tasks

    files = files_of(many_tasks(TASKS))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=bench.browser, args=CHROMIUM_ARGS)
        page = browser.new_page()

        def serve(route: object) -> None:
            kind, text = next(file for ending, file in files.items() if route.request.url.endswith(ending))  # type: ignore[attr-defined]
            route.fulfill(body=text, content_type=kind)  # type: ignore[attr-defined]

        page.route("**/*", serve)
        page.goto(ADDRESS)
        page.wait_for_selector(READY)
        took = page.evaluate(PUSHES, bench.runs)
        browser.close()
    what, samples = f"new states of {TASKS} tasks", tuple(map(float, took))
    return [Figure(row="widget", what=what, unit="ms", samples=samples, target=FRAME_MS)]
