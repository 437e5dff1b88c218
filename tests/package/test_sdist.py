"""The source distribution has the files under version control, so that the tests can be run from it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.conftest import ROOT
from tests.package.installing import build

#: Fast tests that read many files outside of the package.
READERS = ("tests/notebooks/test_readme.py", "tests/leaf/test_compose.py", "tests/leaf/test_package.py")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    packed = build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def paths_below_root(code: str) -> Iterator[str]:
    """``a/b`` for each ``ROOT / "a" / "b"`` in the code, up to the first part that is not a string constant."""
    for node in ast.walk(ast.parse(code)):
        parts: list[ast.expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts.insert(0, node.right)
            node = node.left
        if parts and isinstance(node, ast.Name) and node.id == "ROOT":
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            yield "/".join(str(text) for text in texts[: (*texts, None).index(None)])


def test_paths_are_found_in_code():
    code = 'ROOT / "x" / "y.txt"\n(ROOT / "z").read_text()\nROOT / "labs" / f"{name}.ipynb"\nother / "q"'
    assert set(paths_below_root(code)) == {"x/y.txt", "x", "z", "labs"}


def test_it_has_every_path_that_tests_and_docs_read(sdist: Path):
    # Given the paths in the code of tests, bench and docs
    files = [file for folder in ("tests", "bench", "docs") for file in (ROOT / folder).rglob("*.py")]
    named = {path for file in files for path in paths_below_root(file.read_text("utf-8"))}
    existing = {path for path in named if (ROOT / path).exists()}
    # Then those that exist in the checkout are in the sdist
    assert {"README.md", "pyproject.toml", "docker/Dockerfile", "docs/quickstart.svg"} <= existing
    assert [path for path in sorted(existing) if not (sdist / path).exists()] == []


@pytest.mark.skipif(not Path(ROOT, ".git").exists(), reason="no checkout: what is under version control is unknown")
def test_it_has_the_files_under_version_control(sdist: Path):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tracked = {path for path in listed.split("\0") if path and (ROOT / path).exists()}
    assert [path for path in sorted(tracked) if not (sdist / path).exists()] == []


def test_tests_pass_from_within_it(sdist: Path):
    # When tests that read files of the repository are run in the unpacked sdist
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *READERS]
    process = subprocess.run(
        command, cwd=sdist, env={**os.environ, "PYTHONPATH": str(sdist)}, capture_output=True, text=True
    )
    # Then they pass
    assert process.returncode == 0, process.stdout
