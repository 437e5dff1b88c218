"""js/patches.js in Chromium passes the cases that nbflow/views/patches.py passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from nbflow.ui.js_bundler import FOLDER
from nbflow.views.patches import patch
from tests.views.patch_cases import CHANGES, JSON, REFUSED, REFUSED_BY

pytestmark = pytest.mark.browser

HOST = """<!doctype html><meta charset=utf-8><script type=module>
import { applyPatch } from "/patches.js";
const sorted = (_, node) => node && typeof node === "object" && !Array.isArray(node)
  ? Object.fromEntries(Object.entries(node).sort(([a], [b]) => a < b ? -1 : 1)) : node;
const same = (a, b) => JSON.stringify(a, sorted) === JSON.stringify(b, sorted);
// The arguments are texts, since a browser's own copies of objects lose a member named __proto__.
window.check = (before, operations, after) => {
  const document = JSON.parse(before), result = applyPatch(document, JSON.parse(operations));
  const unchanged = same(document, JSON.parse(before));
  return { result: same(result, JSON.parse(after)) ? "equal" : JSON.stringify(result), unchanged };
};
window.refusal = (document, operation) => {
  try { return JSON.stringify(applyPatch(JSON.parse(document), [JSON.parse(operation)])); }
  catch (error) { return error.message; }
};
window.ready = true;
</script>"""


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    """A page with `check` and `refusal`."""
    script = (FOLDER / "js" / "patches.js").read_text("utf-8")
    opened = new_page({"/patches.js": ("text/javascript", script), "nbflow.test/": ("text/html", HOST)})
    opened.goto("http://nbflow.test/")
    opened.wait_for_function("window.ready")
    return opened


def check(page: Any, before: Any, operations: Any, after: Any) -> dict[str, Any]:
    result: dict[str, Any] = page.evaluate(
        "([before, operations, after]) => check(before, operations, after)",
        [json.dumps(value) for value in (before, operations, after)],
    )
    return result


def test_the_browser_applies_each_patch_and_leaves_its_document_unchanged(page: Any) -> None:
    results = {case["case"]: check(page, case["before"], case["patch"], case["after"]) for case in CHANGES}

    assert results == {case["case"]: {"result": "equal", "unchanged": True} for case in CHANGES}


def test_the_browser_refuses_a_patch_of_another_state(page: Any) -> None:
    document = json.dumps(REFUSED_BY)
    messages = {
        case["case"]: page.evaluate("([a, b]) => refusal(a, b)", [document, json.dumps(case["operation"])])
        for case in REFUSED
    }

    prefix = "The patch starts from another state of the view"
    assert {case: message for case, message in messages.items() if not message.startswith(prefix)} == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=JSON, after=JSON)
def test_the_browser_applies_the_patch_between_any_json(page: Any, before: Any, after: Any) -> None:
    assert check(page, before, patch(before, after), after) == {"result": "equal", "unchanged": True}
