"""``%dag schedule``: the small, ordinary DAG file that lets a notebook run on a schedule."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.authoring.identifiers import check_key
from nbflow.core.timetables import timetable_from_schedule
from nbflow.errors import AirflowTimetableInvalid, NbflowError

if TYPE_CHECKING:
    from nbflow.notebook.session import Session

MARK = "# Made by %dag schedule; it is yours to change."

TEMPLATE = """\
{mark}
from datetime import datetime

from nbflow import DAG
from nbflow.operators.notebook import NotebookOperator

with DAG({dag_id!r}, schedule={cron!r}, start_date=datetime({start}), catchup=False, tags=["notebook"]):
    NotebookOperator(task_id="run", input_nb={notebook!r}, parameters={parameters})
"""


def write_dag_file(
    here: Session, notebook: str, *, cron: str, name: str | None, parameters: Mapping[str, Any]
) -> tuple[Path, str, bool]:
    """Write the DAG file; returns its path, the dag_id, and whether it replaced one of ours."""
    base = here.path.parent if here.path is not None else Path.cwd()
    source = Path(os.path.abspath(base / Path(notebook).expanduser()))
    if not source.is_file():
        near = sorted(path.name for path in source.parent.glob("*.ipynb"))[:5] if source.parent.is_dir() else []
        hint = f"There is: {', '.join(near)}." if near else ""
        raise NbflowError(f"There is no notebook {notebook}.", hint=hint)
    if source.suffix != ".ipynb":
        raise NbflowError(f"{notebook} is no notebook (.ipynb).")
    try:
        timetable_from_schedule(cron, here.zone)
    except (AirflowTimetableInvalid, ValueError) as error:
        raise NbflowError(f"{cron!r} is no schedule: {error}") from None
    dag_id = name or re.sub(r"[^\w.-]+", "_", source.stem).strip("_") or "notebook"
    check_key(dag_id, "dag_id")
    folder = Path(here.app.settings.core.dags_folder)
    target = folder / f"{dag_id}_schedule.py"
    existed = target.exists()
    if existed and not target.read_text("utf-8", "replace").startswith(MARK):
        raise NbflowError(f"{target} exists and is not one of ours.", hint="Give another name: --name NAME.")
    text = TEMPLATE.format(
        mark=MARK,
        dag_id=dag_id,
        cron=cron,
        start=_date(here),
        notebook=str(source),
        parameters=_literal(parameters),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(text, "utf-8")
    os.replace(fresh, target)
    return target, dag_id, existed


def overwritten(here: Session, notebook: str) -> bool:
    """Whether the notebook has no cell of defaults. Parameters are then set before its first cell, and the cells that
    set the same names undo that."""
    import json

    base = here.path.parent if here.path is not None else Path.cwd()
    try:
        cells = json.loads((base / Path(notebook).expanduser()).read_text("utf-8"))["cells"]
        return not any("parameters" in cell.get("metadata", {}).get("tags", ()) for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # its run will say what is wrong with it
        return False


def _date(here: Session) -> str:
    today: datetime = here.app.clock.now().astimezone(here.zone)
    return f"{today.year}, {today.month}, {today.day}"


def _literal(parameters: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name!r}: {value!r}" for name, value in parameters.items()) + "}"
