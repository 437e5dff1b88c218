"""Where nbflow differs from the observed Airflow on purpose: the kind of case, and why.

A deviation is a rule on the fields of a case, never a list of ids: cases that nobody has seen yet are judged by the
same rule. ``instead`` (where it can be said) gives the answer that nbflow is held to in Airflow's place; without it
the case is not run. Deviations are counted apart from what passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nbflow.authoring.arguments import OLD as OLD_TASK
from nbflow.authoring.context import OLD_NAMES
from nbflow.authoring.dag import OLD as OLD_DAG
from nbflow.cli.unavailable import ABSENT, option_reason
from nbflow.core.trigger_rules import OLD_NAMES as OLD_RULES

Case = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One kind of case that nbflow answers differently."""

    table: str
    kind: str
    """A short name, printed with the count."""
    reason: str
    applies: Callable[[Case], bool]
    instead: Callable[[Case], Any] | None = None
    """case -> what nbflow must answer; None: the case is not run."""


def _empty_and_later(case: Case) -> bool:
    """A cron schedule's interval that is empty and lies after the trigger (EventsTimetable may mean the next event)."""
    interval = case["expected"]
    if not isinstance(case["schedule"], str) or not isinstance(interval, dict) or "data_interval_end" not in interval:
        return False
    start, end = (datetime.fromisoformat(interval[f"data_interval_{name}"]) for name in ("start", "end"))
    return start == end > datetime.fromisoformat(case["run_after"])


_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


def _skip_not_final(case: Case) -> bool:
    """all_success with a skipped upstream, nothing failed yet, and something unfinished."""
    upstream = set(case["upstream"])
    return (
        case["trigger_rule"] == "all_success"
        and "skipped" in upstream
        and not upstream & {"failed", "upstream_failed"}
        and not upstream <= _ENDED
    )


def _only_teardowns_unfinished(case: Case) -> bool:
    unfinished = {task_id for task_id, state in case["task_states"].items() if state not in _ENDED}
    return bool(unfinished) and unfinished <= set(case["teardowns"]) and not case["on_failure_fail_dagrun"]


def _running_teardown_of_failed_setups(case: Case) -> bool:
    states, setups = case["task_states"], case["setups"]
    unfinished = {task_id for task_id, state in states.items() if state not in _ENDED}
    ended = {states[setup] for setup in setups} <= _ENDED - {"success"}
    return bool(setups) and ended and bool(unfinished) and unfinished <= set(case["teardowns"])


def _names(case: Case, words: Iterable[str]) -> bool:
    """Whether the case's template holds one of the words."""
    return re.search(rf"\b({'|'.join(words)})\b", str(case["template"])) is not None


def _uses_a_word_of_airflow_2(case: Case) -> bool:
    """A definition that 2.x accepts and 3.x refuses for a name alone: an argument, or a trigger rule."""
    expected = case["expected"]
    if "raises" not in expected or case.get("expected_2x") != {"ok": True}:
        return False
    given = case["input"].get("task_kwargs", {})
    quoted = re.findall(r"argument '(\w+)'", expected.get("gist", ""))
    old = {"sla"} | OLD_TASK.keys() | OLD_DAG.keys()
    return given.get("trigger_rule") in OLD_RULES or bool(old.intersection([*given, *quoted]))


def _runs_as_another_user(case: Case) -> bool:
    return case["input"].get("task_kwargs", {}).get("run_as_user") is not None


def _absent_command(case: Case) -> bool:
    return " ".join(case["command"]) in ABSENT or (case["command"] or [""])[0] in ABSENT


def _absent_flags(case: Case) -> set[str]:
    command = " ".join(case["command"])
    flags = [one["flags"] for one in case["arguments"] if "flags" in one]
    return {flag for names in flags for flag in names if option_reason(command, names[-1]) is not None}


def _cli(table: str) -> tuple[Deviation, ...]:
    return (
        Deviation(
            table=table,
            kind="commands that this release does not have",
            reason="Each answers with one line that says so and what to do instead (nbflow.cli.unavailable).",
            applies=_absent_command,
            instead=lambda case: {"refused": True},
        ),
        Deviation(
            table=table,
            kind="options that nbflow does not need",
            reason="Each answers with one line that says why (nbflow.cli.unavailable); all the others are taken.",
            applies=lambda case: bool(_absent_flags(case)),
            instead=lambda case: {
                "flags": [
                    flag
                    for one in case["arguments"]
                    for flag in one.get("flags", ())
                    if flag not in _absent_flags(case)
                ]
            },
        ),
    )


deviations: tuple[Deviation, ...] = (
    *_cli("cli_3x"),
    *_cli("cli_2x"),
    Deviation(
        table="validation",
        kind="word of Airflow 2",
        reason="Arguments and trigger rules that only Airflow 2 has work as there, with a warning that names today's "
        "word.",
        applies=_uses_a_word_of_airflow_2,
        instead=lambda case: {"ok": True},
    ),
    Deviation(
        table="validation",
        kind="@continuous alone",
        reason="Airflow's default of max_active_runs (16) contradicts @continuous, so it must be set to 1 by hand. "
        "Where nobody has set it, nbflow takes the 1.",
        applies=lambda case: case["input"].get("schedule") == "@continuous" and "raises" in case["expected"],
        instead=lambda case: {"ok": True},
    ),
    Deviation(
        table="validation",
        kind="run_as_user",
        reason="nbflow runs every task as the user of its scheduler: an argument that would be ignored is refused.",
        applies=_runs_as_another_user,
        instead=lambda case: {"raises": "InvalidDag"},
    ),
    Deviation(
        table="macros",
        kind="a name of Airflow 2",
        reason="What only Airflow 2 has (execution_date, next_ds, conf ...) works as there, with a warning.",
        applies=lambda case: not case.get("same_in_2x", True) and _names(case, OLD_NAMES),
        instead=lambda case: case["expected_2x"],
    ),
    Deviation(
        table="macros",
        kind="None that is not None",
        reason="In Airflow 3 prev_..._success is a proxy, so that it never `is none`, even where it prints as None. "
        "nbflow gives None itself, as Airflow 2 does.",
        applies=lambda case: (
            not case.get("same_in_2x", True)
            and "is none" in str(case["template"])
            and _names(case, [r"prev_\w+_success"])
        ),
        instead=lambda case: case["expected_2x"],
    ),
    Deviation(
        table="macros",
        kind="conf of an earlier run",
        reason="Where runs of a DAG follow one another in one process, Airflow writes a run's conf into the DAG's "
        "params, and later runs read it there (c06 gives x=9, c07 gives nothing). In nbflow a run sees its own conf.",
        applies=lambda case: case["context"] == "c07" and _names(case, ["params"]) and _names(case, ["x"]),
    ),
    Deviation(
        table="trigger_rules_real_runs",
        kind="all_success waits with a skipped upstream",
        reason="The same in a whole run: Airflow skips as soon as one upstream is skipped, before the other has "
        "failed. nbflow waits for both, and a failure decides.",
        applies=lambda case: (
            case["trigger_rule"] == "all_success"
            and "skipped" in case["upstream"]
            and bool({"failed", "upstream_failed"} & set(case["upstream"]))
        ),
        instead=lambda case: "upstream_failed",
    ),
    Deviation(
        table="run_state",
        kind="a running teardown keeps running",
        reason="Airflow's end-of-run check applies the trigger rule to a teardown that is already running, and with no "
        "setup successful overwrites its state under the running process. nbflow's rules decide only what has not "
        "started; the run ends when the teardown has.",
        applies=lambda case: case["on_failure_fail_dagrun"] and _running_teardown_of_failed_setups(case),
        instead=lambda case: "running",
    ),
    Deviation(
        table="run_state",
        kind="a run waits for its teardowns",
        reason="Airflow ends a run while a teardown that may fail freely still runs. In nbflow a run that has ended "
        "has no unfinished task: a run's end then means that its resources are released.",
        applies=_only_teardowns_unfinished,
        instead=lambda case: "running",
    ),
    Deviation(
        table="trigger_rules",
        kind="all_success waits with a skipped upstream",
        reason="Airflow skips at once, so {skipped, failed} ends by order of arrival: skipped or upstream_failed. "
        "nbflow waits until no end of the unfinished ones could change the answer, so it never depends on the order.",
        applies=_skip_not_final,
        instead=lambda case: "wait",
    ),
    Deviation(
        table="timetables",
        kind="DST anomaly of Airflow",
        reason="Around a change of the clocks Airflow's data intervals leave a gap, or the schedule stops with an "
        "internal error (the table marks both). nbflow's intervals stay contiguous and the schedule goes on.",
        applies=lambda case: bool(case.get("anomaly")),
    ),
    Deviation(
        table="manual_intervals",
        kind="empty interval in the future",
        reason="Triggered within the hour that the clocks skip, Airflow takes the fire time that was moved behind the "
        "gap for a past one and returns an empty interval that lies after the trigger. nbflow returns the last "
        "interval that is complete.",
        applies=_empty_and_later,
    ),
)


def deviation_for(table: str, case: Case) -> Deviation | None:
    """The first deviation whose rule fits the case, or None."""
    return next((rule for rule in deviations if rule.table == table and rule.applies(case)), None)
