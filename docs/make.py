"""The parts of the README that are made from the code: ``python docs/make.py`` (``--check`` only compares).

A part stands between ``<!-- made: NAME -->`` and ``<!-- end -->``; ``PARTS`` is the table of what makes each. The
picture ``docs/quickstart.svg`` is the graph of the quickstart's DAG, read from the notebook as the scheduler reads it.
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
_PART = re.compile(r"(<!-- made: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def states() -> str:
    """The state diagram, as GitHub draws it."""
    from nbflow.core.states import mermaid

    return f"```mermaid\n{mermaid()}\n```"


def state_meanings() -> str:
    """What each state means, as people are told everywhere."""
    from nbflow.core.states import OLD_STATES, STATE_MEANINGS

    rows = [f"| `{state}` | {meaning} |" for state, meaning in STATE_MEANINGS.items()]
    rows += [f"| `{state}` | Older Airflow: {meaning}. |" for state, meaning in OLD_STATES.items()]
    return "\n".join(["| state | means |", "|---|---|", *rows])


def deviations() -> str:
    """Where nbflow differs from Airflow on purpose, from the table that the tests go by."""
    from tests.facts.deviations import deviations as rules

    reasons: dict[str, list[str]] = {}
    for rule in rules:
        reasons.setdefault(rule.kind, []).append(rule.reason)
    return "\n".join(f"- **{kind}.** {said[-1]}" for kind, said in reasons.items())


def picture() -> str:
    """The last day of the month in the quickstart: all but the weekend's branch has run."""
    from nbflow.sources.loading import load_source
    from nbflow.ui.svg import graph_svg
    from nbflow.views.graph import graph_view

    loaded = load_source(ROOT / "notebooks" / "quickstart.ipynb")
    assert not loaded.import_errors, loaded.import_errors
    view = graph_view(loaded.specs["ecb_rates"], footer=("version 1", "quickstart.ipynb, cell 3"))
    ended = {task.task_id: {"state": "skipped" if task.task_id == "weekend" else "success"} for task in view.tasks}
    view = replace(view.with_states(ended), run="run 2008-12-31", run_state="success")
    return graph_svg(view).svg + "\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "states": states,
    "state-meanings": state_meanings,
    "deviations": deviations,
}


def made_anew(text: str) -> str:
    """The README with each made part as the code has it now."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{PARTS[match['name']]()}\n{match[3]}"

    return _PART.sub(part, text)


def main() -> int:
    sys.path.insert(0, str(ROOT))
    wanted = {README: made_anew(README.read_text("utf-8")), PICTURE: picture()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(wanted[path], "utf-8")
    for path in stale:
        print(f"{'stale' if '--check' in sys.argv else 'made'}: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
