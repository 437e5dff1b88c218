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
POLL_SECONDS = 0.02


def until(event: str, condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Poll until ``condition`` returns a true value, and return it. Fails after ``seconds``, naming ``event``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {event}"
        time.sleep(POLL_SECONDS)
    return value


@pytest.fixture
def notebook_home(home: Path, new_home: Path) -> Iterator[Path]:
    """An NBFLOW_HOME for one test. The test's session and scheduler are stopped at its end."""
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
def jupyter_environment(notebook_home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of kernels and servers: this home, without the user's Jupyter settings."""
    return {**os.environ, "NBFLOW_HOME": str(notebook_home), **_jupyter_folders(tmp_path)}


def _jupyter_folders(root: Path) -> dict[str, str]:
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    folders = {name: root / "jupyter" / name.lower() for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


# ------------------------------------------------------------------------------------- a shell in this process


class Shell:
    """An IPython shell that runs cells and records what they display."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.outputs: list[dict[str, Any]] = []

    def run(self, source: str) -> Any:
        """Run a cell that must succeed; returns its result."""
        self.outputs.clear()
        result = self.shell.run_cell(source, store_history=True)
        assert result.success, result.error_in_exec or result.error_before_exec
        return result.result

    def fails(self, source: str) -> list[str]:
        """Run a cell that must fail; returns the lines of its traceback in a notebook, without colours."""
        self.outputs.clear()
        result = self.shell.run_cell(source, store_history=True)
        assert not result.success
        error = result.error_in_exec or result.error_before_exec
        lines = error._render_traceback_()
        return [line.replace("\x1b[31m", "").replace("\x1b[0m", "") for line in lines]

    def complete(self, line: str) -> list[str]:
        """The completions at the end of a line."""
        word = line.rpartition(" ")[2]
        return list(self.shell.complete(word, line, len(line))[1])


@pytest.fixture
def shell(notebook_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A new shell with ``%load_ext nbflow``; its ``outputs`` are what the last cell displayed."""
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    inner = InteractiveShell.instance()
    inner.history_manager.enabled = False
    shell = Shell(inner)

    class RecordingPublisher(DisplayPublisher):
        def publish(self, data: Any, *args: Any, **kwargs: Any) -> None:
            shell.outputs.append(data)

    inner.display_pub = RecordingPublisher()
    shell.run("%load_ext nbflow\nfrom nbflow import task")
    yield shell
    inner.run_cell("%unload_ext nbflow")
    InteractiveShell.clear_instance()


# ------------------------------------------------------------------------------------------- JupyterLab in a browser


class Lab:
    """A running JupyterLab server and its folder of notebooks."""

    def __init__(self, base: str, token: str, root: Path, home: Path) -> None:
        self.base, self.token, self.root, self.home = base, token, root, home


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for all browser tests, with a home whose DAGs folder is the root folder of the server."""
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

    def responds() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{base}/api", timeout=1)
            return True
        return False

    try:
        until("JupyterLab responds", responds, seconds=60)
        yield Lab(base, token, root, home)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        _stop_scheduler(home)


@pytest.fixture(scope="module")  # Playwright's event loop would block other event loops of the process
def browser(chromium_path: str) -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


class NotebookPage:
    """A notebook that is open in JupyterLab. Methods execute JupyterLab's commands instead of pressing keys."""

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
        """Run a cell, and wait for its end."""
        self.page.evaluate(
            """async i => { const nb = window.jupyterapp.shell.currentWidget.content;
                            nb.activeCellIndex = i; nb.deselectAll();
                            await window.jupyterapp.commands.execute('notebook:run-cell') }""",
            index,
        )

    def start_cell(self, index: int) -> None:
        """Run a cell, without waiting for its end."""
        self.page.evaluate(
            """i => { const nb = window.jupyterapp.shell.currentWidget.content;
                      nb.activeCellIndex = i; nb.deselectAll();
                      void window.jupyterapp.commands.execute('notebook:run-cell') }""",
            index,
        )

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as in the saved notebook."""
        outputs: list[dict[str, Any]] = self.page.evaluate(
            """i => window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs?.toJSON?.() ?? []""", index
        )
        return outputs

    def cell(self, index: int) -> Any:
        """The locator of a cell on the page."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


@pytest.fixture
def open_notebook(lab: Lab, browser: Any, tmp_path: Path) -> Iterator[Callable[..., NotebookPage]]:
    """``open_notebook(name, text)``: write a notebook and open it in JupyterLab. A screenshot is taken at the end; page
    errors and requests to other hosts fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600}, service_workers="block")
    errors: list[str] = []

    def block_other_hosts(route: Any) -> None:
        if "127.0.0.1" in route.request.url:
            route.continue_()
        else:
            errors.append(f"unexpected request: {route.request.url}")
            route.abort()

    context.route("**/*", block_other_hosts)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_(name: str, text: str) -> NotebookPage:
        (lab.root / name).write_text(text)
        return NotebookPage(page, lab, name)

    yield open_
    page.screenshot(path=tmp_path / "last.png", full_page=True)
    with contextlib.suppress(Exception):
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    context.close()
    assert errors == []
