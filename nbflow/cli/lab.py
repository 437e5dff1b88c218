"""lab: JupyterLab with a scheduler beside it."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys

from nbflow.arguments import INTEGER, argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import Command
from nbflow.cli.invocation import Call
from nbflow.errors import MissingExtra

END_SECONDS = 75
"""How long a scheduler may take to end: tasks have core.killed_task_cleanup_time (60) to clean up."""


def lab(call: Call) -> int:
    from nbflow.cli.processes import alive, start_scheduler
    from nbflow.config import prepare_home

    args = call.args
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtra("nbflow lab", "jupyterlab", "lab")
    prepare_home(call.settings)
    started = None
    if alive(call):
        output.say("A scheduler runs already; it stays when JupyterLab ends.")
    else:
        log = call.settings.logging.base_log_folder / "scheduler.log"
        started = start_scheduler(call, log)
        output.say(f"nbflow scheduler starts (pid {started.pid}); its log is {log}.")
    words = [sys.executable, "-m", "jupyter", "lab"]
    words += ["--no-browser"] if args.no_browser else []
    words += [f"--port={args.port}"] if args.port is not None else []
    environ = {**call.environ, "NBFLOW_HOME": str(call.settings.home)}
    try:
        return _until_it_ends(subprocess.Popen([*words, *args.jupyter], env=environ))
    finally:
        if started is not None:
            started.terminate()
            started.wait(END_SECONDS)


def _until_it_ends(jupyter: subprocess.Popen[bytes]) -> int:
    """Wait for JupyterLab. A Ctrl-C reaches it too, and it asks whether it is meant; a SIGTERM is passed on."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: jupyter.terminate()),
    }
    try:
        return jupyter.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


COMMANDS = (
    Command(
        name="lab",
        help="JupyterLab with a scheduler beside it; both end together.",
        run=lab,
        arguments=(
            argument("--port", type=INTEGER, help="Port of JupyterLab."),
            switch("--no-browser", help="Open no browser."),
            argument("jupyter", repeated=True, metavar="-- ARGUMENT", help="What else JupyterLab is to be told."),
        ),
    ),
)
