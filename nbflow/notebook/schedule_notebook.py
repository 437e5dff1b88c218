"""``%dag schedule``: writes a DAG file that runs a notebook on a schedule."""

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
"""First line of these files. Existing files have it too, so it must not change."""

TEMPLATE = """\
{mark}
from datetime import datetime

from nbflow import DAG
from nbflow.operators.notebook import NotebookOperator

with DAG({dag_id!r}, schedule={cron!r}, start_date=datetime({start}), catchup=False, tags=["notebook"]):
    NotebookOperator(task_id="run", input_nb={notebook!r}, parameters={parameters})
"""


def write_dag_file(
    session: Session, notebook: str, *, cron: str, name: str | None, parameters: Mapping[str, Any]
) -> tuple[Path, str, bool]:
    """Write the DAG file; returns its path, the dag_id, and whether it replaced an existing file. Raises
    NbflowError."""
    source = _path_of(session, notebook)
    if not source.is_file():
        existing = sorted(path.name for path in source.parent.glob("*.ipynb"))[:5] if source.parent.is_dir() else []
        hint = f"Notebooks in that folder: {', '.join(existing)}." if existing else ""
        raise NbflowError(f"There is no notebook {notebook}.", hint=hint)
    if source.suffix != ".ipynb":
        raise NbflowError(f"{notebook} is not a notebook (.ipynb).")
    try:
        timetable_from_schedule(cron, session.zone)
    except (AirflowTimetableInvalid, ValueError) as error:
        raise NbflowError(f"{cron!r} is not a schedule: {error}") from None
    dag_id = name or re.sub(r"[^\w.-]+", "_", source.stem).strip("_") or "notebook"
    check_key(dag_id, "dag_id")
    folder = Path(session.app.settings.core.dags_folder)
    target = folder / f"{dag_id}_schedule.py"
    replaced = target.exists()
    if replaced and not target.read_text("utf-8", "replace").startswith(MARK):
        hint = "Choose another name with --name NAME."
        raise NbflowError(f"{target} exists and was not written by %dag schedule.", hint=hint)
    text = TEMPLATE.format(
        mark=MARK,
        dag_id=dag_id,
        cron=cron,
        start=_date(session),
        notebook=str(source),
        parameters=_literal(parameters),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, target)
    return target, dag_id, replaced


def lacks_parameters_cell(session: Session, notebook: str) -> bool:
    """Whether the notebook has no cell tagged ``parameters``: papermill then sets the parameters before the first cell,
    and a later cell may overwrite them."""
    import json

    try:
        cells = json.loads(_path_of(session, notebook).read_text("utf-8"))["cells"]
        return not any("parameters" in cell.get("metadata", {}).get("tags", ()) for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the run fails with this error
        return False


def _path_of(session: Session, notebook: str) -> Path:
    """The absolute path of a notebook; a relative one is relative to the folder of this kernel's notebook."""
    base = session.path.parent if session.path is not None else Path.cwd()
    return Path(os.path.abspath(base / Path(notebook).expanduser()))


def _date(session: Session) -> str:
    today: datetime = session.app.clock.now().astimezone(session.zone)
    return f"{today.year}, {today.month}, {today.day}"


def _literal(parameters: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name!r}: {value!r}" for name, value in parameters.items()) + "}"
