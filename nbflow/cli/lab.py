"""lab: JupyterLab with a scheduler beside it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from nbflow.cli import output
from nbflow.cli.call import Call
from nbflow.cli.declaring import Command, arg, switch
from nbflow.errors import NbflowError

END_SECONDS = 75
"""How long a scheduler may take to end: tasks have core.killed_task_cleanup_time (60) to clean up."""


def lab(call: Call) -> int:
    from nbflow.cli.daemons import alive, start_scheduler
    from nbflow.config import prepare_home

    args = call.args
    if importlib.util.find_spec("jupyterlab") is None:
        raise NbflowError("JupyterLab is not installed.", hint="pip install 'nbflow[lab]'")
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
        return subprocess.call([*words, *args.jupyter], env=environ)
    except KeyboardInterrupt:
        return 0
    finally:
        if started is not None:
            started.terminate()
            started.wait(END_SECONDS)


COMMANDS = (
    Command(
        name="lab",
        help="JupyterLab with a scheduler beside it; both end together.",
        run=lab,
        args=(
            arg("--port", type=int, metavar="N", help="Port of JupyterLab."),
            switch("--no-browser", help="Open no browser."),
            arg("jupyter", nargs="*", metavar="-- ARGUMENT", help="What else JupyterLab is to be told."),
        ),
    ),
)
