"""lab: JupyterLab and a scheduler."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import terminal_command
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
        output.note("A scheduler is already running; it continues when JupyterLab ends.")
    else:
        started = [schedulers.start(call.app)]
        output.note(f"Started the scheduler (pid {started[0].pid}). Log: {schedulers.log_path(call.settings)}")
    command = [sys.executable, "-m", "jupyter", "lab"]
    command += ["--no-browser"] if args.no_browser else []
    command += [f"--port={args.port}"] if args.port is not None else []
    environ = {**call.environ, "NBFLOW_HOME": str(call.settings.home)}
    try:
        return _wait_for(subprocess.Popen([*command, *args.jupyter], env=environ))
    finally:
        schedulers.end(started, call.settings)


def _wait_for(jupyter: subprocess.Popen[bytes]) -> int:
    """Wait until JupyterLab ends; returns its exit code. Ctrl-C is ignored, since the terminal sends it to JupyterLab
    too, which asks for confirmation. SIGTERM is forwarded to JupyterLab."""
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: jupyter.terminate()),
    }
    try:
        return jupyter.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


COMMANDS = (terminal_command("lab", change=lab),)
