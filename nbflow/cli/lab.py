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


def lab(call: Call) -> int:
    from nbflow.config import prepare_home
    from nbflow.services import schedulers

    args = call.args
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtra("nbflow lab", "jupyterlab", "lab")
    prepare_home(call.settings)
    started = []
    if schedulers.find(call.app) is not None:
        output.say("A scheduler runs already; it stays when JupyterLab ends.")
    else:
        started = [schedulers.start(call.app)]
        output.say(f"nbflow scheduler runs (pid {started[0].pid}); its log is {schedulers.log_path(call.settings)}.")
    words = [sys.executable, "-m", "jupyter", "lab"]
    words += ["--no-browser"] if args.no_browser else []
    words += [f"--port={args.port}"] if args.port is not None else []
    environ = {**call.environ, "NBFLOW_HOME": str(call.settings.home)}
    try:
        return _until_it_ends(subprocess.Popen([*words, *args.jupyter], env=environ))
    finally:
        schedulers.end(started, call.settings)


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
