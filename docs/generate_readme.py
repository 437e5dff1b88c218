"""Generates parts of the README from the code: ``python docs/generate_readme.py`` (``--check`` only compares).

A generated part is between ``<!-- generated: NAME -->`` and ``<!-- end -->``; ``PARTS`` has their functions.
The picture ``docs/quickstart.svg`` is the graph of the quickstart's DAG, loaded from the notebook as a DAG file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "quickstart.svg"
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def states() -> str:
    """The state diagram, in Mermaid, which GitHub draws."""
    from nbflow.core.states import mermaid

    return f"```mermaid\n{mermaid()}\n```"


def state_meanings() -> str:
    """The meanings of the states, as all surfaces show them."""
    from nbflow.core.states import OLD_STATES, STATE_MEANINGS

    rows = [f"| `{state}` | {meaning} |" for state, meaning in STATE_MEANINGS.items()]
    rows += [f"| `{state}` | Older Airflow: {meaning}. |" for state, meaning in OLD_STATES.items()]
    return "\n".join(["| state | means |", "|---|---|", *rows])


def deviations() -> str:
    """The intended differences from Airflow, from the table that the tests of the facts use."""
    from tests.facts.deviations import deviations as rules

    reasons: dict[str, list[str]] = {}
    for rule in rules:
        reasons.setdefault(rule.kind, []).append(rule.reason)
    return "\n".join(f"- **{kind}.** {texts[-1]}" for kind, texts in reasons.items())


def picture() -> str:
    """The graph of the last run of the quickstart, in which all tasks except ``weekend`` have run."""
    from nbflow.sources.loading import load_source
    from nbflow.ui.svg import graph_svg
    from nbflow.views.graph import graph_view

    loaded = load_source(ROOT / "notebooks" / "quickstart.ipynb")
    assert not loaded.import_errors, loaded.import_errors
    view = graph_view(loaded.specs["ecb_rates"], footer=("version 1", "quickstart.ipynb, cell 3"))
    tasks = tuple(replace(t, state="skipped" if t.task_id == "weekend" else "success") for t in view.tasks)
    view = replace(view, tasks=tasks, run="run 2008-12-31", run_state="success")
    return graph_svg(view).svg + "\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "states": states,
    "state-meanings": state_meanings,
    "deviations": deviations,
}


def with_generated_parts(text: str) -> str:
    """The README with its generated parts updated."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{PARTS[match['name']]()}\n{match[3]}"

    return _PART.sub(part, text)


def main() -> int:
    sys.path.insert(0, str(ROOT))
    current = {README: with_generated_parts(README.read_text("utf-8")), PICTURE: picture()}
    stale = [path for path, text in current.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(current[path], "utf-8")
    for path in stale:
        print(f"{'stale' if '--check' in sys.argv else 'updated'}: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
