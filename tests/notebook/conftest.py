"""A home with its scheduler, a shell in this process, real kernels, and JupyterLab in a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
LOOK_SECONDS = 0.02


def until(what: str, ask: Callable[[], Any], *, seconds: float = 30) -> Any:
    """The first true answer of ``ask``; fails, naming ``what``, when there is none in time."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK_SECONDS)
    return answer


@pytest.fixture
def own_home(home: Path, new_home: Path) -> Iterator[Path]:
    """A home of the test's own. The session and the scheduler that the test leaves behind are ended."""
    from nbflow.notebook.session import end_session

    shutil.copytree(new_home, home)
    end_session()
    yield home
    end_session()
    _stop_scheduler(home)


def _stop_scheduler(home: Path) -> None:
    if not (home / "nbflow.db").exists():
        return
    from nbflow.app import App
    from nbflow.services import schedulers

    with App.open(home=home) as app:
        schedulers.stop(app)


@pytest.fixture
def jupyter_environment(own_home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of kernels and servers: this home, and nothing of the user's Jupyter."""
    return {**os.environ, "NBFLOW_HOME": str(own_home), **_jupyter_folders(tmp_path)}


def _jupyter_folders(root: Path) -> dict[str, str]:
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    folders = {name: root / "jupyter" / name.lower() for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


# ------------------------------------------------------------------------------------- a shell in this process


class Shell:
    """An IPython shell that runs cells and keeps what they show."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.shown: list[dict[str, Any]] = []

    def run(self, source: str) -> Any:
        """Run a cell that must succeed; returns its value."""
        self.shown.clear()
        result = self.shell.run_cell(source, store_history=True)
        assert result.success, result.error_in_exec or result.error_before_exec
        return result.result

    def fails(self, source: str) -> list[str]:
        """Run a cell that must fail; returns the lines that a notebook shows for it, without colours."""
        self.shown.clear()
        result = self.shell.run_cell(source, store_history=True)
        assert not result.success
        error = result.error_in_exec or result.error_before_exec
        lines = error._render_traceback_()
        return [line.replace("\x1b[31m", "").replace("\x1b[0m", "") for line in lines]

    def complete(self, line: str) -> list[str]:
        """What Tab offers at the end of a line."""
        word = line.rpartition(" ")[2]
        return list(self.shell.complete(word, line, len(line))[1])


@pytest.fixture
def shell(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A fresh shell with ``%load_ext nbflow``; what it displays is in ``shown``."""
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    inner = InteractiveShell.instance()
    inner.history_manager.enabled = False
    made = Shell(inner)

    class Catching(DisplayPublisher):
        def publish(self, data: Any, *args: Any, **kwargs: Any) -> None:
            made.shown.append(data)

    inner.display_pub = Catching()
    made.run("%load_ext nbflow\nfrom nbflow import task")
    yield made
    inner.run_cell("%unload_ext nbflow")
    InteractiveShell.clear_instance()


# ------------------------------------------------------------------------------------------- JupyterLab in a browser


class Lab:
    """A running JupyterLab and its folder of notebooks."""

    def __init__(self, base: str, token: str, root: Path, home: Path) -> None:
        self.base, self.token, self.root, self.home = base, token, root, home


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for all browser tests, with a home whose DAGs folder is the server's own folder."""
    top = tmp_path_factory.mktemp("lab")
    root, home = top / "notebooks", top / "home"
    root.mkdir()
    overrides = top / "jupyter" / "jupyter_config_dir" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    news = {"fetchNews": "false", "checkForUpdates": False}
    overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": news}))
    environment = {
        **os.environ, "NBFLOW_HOME": str(home), "NBFLOW__CORE__DAGS_FOLDER": str(root), **_jupyter_folders(top)
    }  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True", "--ServerApp.allow_root=True", "--LabApp.news_url=None",
    ]  # fmt: skip
    log = top / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{base}/api", timeout=1)
            return True
        return False

    try:
        until("JupyterLab answers", answers, seconds=60)
        yield Lab(base, token, root, home)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        _stop_scheduler(home)


@pytest.fixture(scope="module")  # one at a time in a process: its loop would be in the way of other files' tests
def browser(chromium_path: str) -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


class NotebookPage:
    """A notebook that is open in JupyterLab; driven by commands, never by keys."""

    def __init__(self, page: Any, lab: Lab, name: str) -> None:
        self.page = page
        page.goto(f"{lab.base}/lab/workspaces/t-{secrets.token_hex(4)}/tree/{name}?token={lab.token}&reset")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function(
            """() => { const k = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
                       return k && k.connectionStatus === 'connected' && k.status === 'idle' }""",
            timeout=60_000,
        )

    def run_cell(self, index: int) -> None:
        """Run a cell and wait for its end."""
        self.page.evaluate(
            """async i => { const nb = window.jupyterapp.shell.currentWidget.content;
                            nb.activeCellIndex = i; nb.deselectAll();
                            await window.jupyterapp.commands.execute('notebook:run-cell') }""",
            index,
        )

    def start_cell(self, index: int) -> None:
        """Run a cell, and do not wait for it."""
        self.page.evaluate(
            """i => { const nb = window.jupyterapp.shell.currentWidget.content;
                      nb.activeCellIndex = i; nb.deselectAll();
                      void window.jupyterapp.commands.execute('notebook:run-cell') }""",
            index,
        )

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as they are saved."""
        found: list[dict[str, Any]] = self.page.evaluate(
            """i => window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs?.toJSON?.() ?? []""", index
        )
        return found

    def cell(self, index: int) -> Any:
        """The cell on the page."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


@pytest.fixture
def open_notebook(lab: Lab, browser: Any, tmp_path: Path) -> Iterator[Callable[..., NotebookPage]]:
    """Write a notebook and open it. The last view is kept as a picture; page errors and strange requests fail."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600}, service_workers="block")
    faults: list[str] = []

    def fence(route: Any) -> None:
        if "127.0.0.1" in route.request.url:
            route.continue_()
        else:
            faults.append(f"unexpected request: {route.request.url}")
            route.abort()

    context.route("**/*", fence)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def opened(name: str, text: str) -> NotebookPage:
        (lab.root / name).write_text(text)
        return NotebookPage(page, lab, name)

    yield opened
    page.screenshot(path=tmp_path / "last.png", full_page=True)
    with contextlib.suppress(Exception):
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    context.close()
    assert faults == []
