"""Clean environments with nbflow's wheel and its dependencies, without a network.

The dependencies are read from the metadata, like pip does: the wheel's requirements, their requirements, and so on.
These distributions are linked from the environment of the tests. So an environment without extras really lacks every
optional package, with its metadata; an import hook that only hides packages could not find a missing declaration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Environment variables that commands inherit: neither PYTHONPATH nor nbflow's.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment in which nbflow is installed, and an empty working folder outside of the checkout."""

    bin: Path
    site_packages: Path
    folder: Path

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with a separate home."""
        inherited = {name: value for name, value in os.environ.items() if name in _INHERITED}
        homes = {"HOME": str(self.folder), "NBFLOW_HOME": str(self.folder / "home")}
        command = [str(self.bin / words[0]), *words[1:]]
        return subprocess.run(command, cwd=self.folder, env=inherited | homes | environ, capture_output=True, text=True)

    def python(self, code: str, **environ: str) -> str:
        """Run Python code. Returns its output; asserts that it succeeds."""
        process = self.run("python", "-c", code, **environ)
        assert process.returncode == 0, process.stderr
        return process.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    """Build the wheel or the sdist of ``source`` into ``folder``. Returns its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def install(wheel: Path, extras: Iterable[str], folder: Path) -> Environment:
    """Create an environment in ``folder`` with the wheel, its dependencies and those of ``extras``."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    bin_folder, working_folder = folder / "venv" / "bin", folder / "working"
    working_folder.mkdir()
    pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (site_packages,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (info,) = site_packages.glob("nbflow-*.dist-info")
    _link(required(metadata.PathDistribution(info), extras).values(), site_packages)
    return Environment(bin=bin_folder, site_packages=site_packages, folder=working_folder)


def required(root: metadata.Distribution, extras: Iterable[str] = ()) -> Mapping[str, metadata.Distribution]:
    """Name -> distribution, for all direct and indirect dependencies of ``root`` with ``extras``."""
    dependencies: dict[str, metadata.Distribution] = {}
    visited: set[tuple[str, str]] = set()
    pending = [(root, extra) for extra in ("", *extras)]
    while pending:
        distribution, extra = pending.pop()
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            new = {(name, extra_of_it) for extra_of_it in ("", *requirement.extras)} - visited
            visited |= new
            dependency = root if name == canonicalize_name(root.metadata["Name"]) else metadata.distribution(name)
            pending += [(dependency, extra_of_it) for _, extra_of_it in new]
            if dependency is not root:
                dependencies[name] = dependency
    return dependencies


def _link(distributions: Iterable[metadata.Distribution], site_packages: Path) -> None:
    """Link the files that the distributions have in site-packages: a whole folder (there are tens of thousands of
    files), or single files if several installed distributions share the folder. Scripts and shared data are not
    linked."""
    installed = {distribution.metadata["Name"]: distribution for distribution in metadata.distributions()}
    owners = Counter(
        name for distribution in installed.values() for name in {file.parts[0] for file in distribution.files or ()}
    )
    for distribution in distributions:
        files = {file.parts if owners[file.parts[0]] > 1 else file.parts[:1] for file in distribution.files or ()}
        for parts in sorted(file for file in files if file[0] not in ("..", "__pycache__")):
            link = site_packages.joinpath(*parts)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(distribution.locate_file("/".join(parts)))))
