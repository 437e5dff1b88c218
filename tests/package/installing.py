"""A clean environment with nbflow's wheel and what pip would install beside it, without a network.

What belongs beside it is read from the metadata, as pip reads it: the wheel's requirements, theirs, and so on. Those
distributions are linked from the environment of the tests. So an environment without extras lacks every
optional package really, metadata included (an import hook that pretends so could not show a missing declaration).
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

#: Of our own environment, all that a command needs: not PYTHONPATH, nothing of nbflow's.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment in which nbflow is installed, and a folder with nothing of ours in it."""

    bin: Path
    site_packages: Path
    folder: Path

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment with a home of its own."""
        kept = {name: value for name, value in os.environ.items() if name in _KEPT}
        own = {"HOME": str(self.folder), "NBFLOW_HOME": str(self.folder / "home")}
        command = [str(self.bin / words[0]), *words[1:]]
        return subprocess.run(command, cwd=self.folder, env=kept | own | environ, capture_output=True, text=True)

    def python(self, code: str, **environ: str) -> str:
        """What ``code`` prints; raises CalledProcessError with its stderr in the notes."""
        done = self.run("python", "-c", code, **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    """Build the wheel or the sdist of ``source`` into ``folder``."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def install(wheel: Path, extras: Iterable[str], folder: Path) -> Environment:
    """Make an environment below ``folder`` with the wheel, its dependencies and those of ``extras``."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    bin_folder, nowhere = folder / "venv" / "bin", folder / "elsewhere"
    nowhere.mkdir()
    pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (site_packages,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (info,) = site_packages.glob("nbflow-*.dist-info")
    _link(required(metadata.PathDistribution(info), extras).values(), site_packages)
    return Environment(bin=bin_folder, site_packages=site_packages, folder=nowhere)


def required(root: metadata.Distribution, extras: Iterable[str] = ()) -> Mapping[str, metadata.Distribution]:
    """Name -> each distribution that installing ``root`` with ``extras`` installs beside it; found in this process."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(root, extra) for extra in ("", *extras)]
    while todo:
        distribution, extra = todo.pop()
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            wanted = {(name, one) for one in ("", *requirement.extras)} - seen
            seen |= wanted
            next_one = root if name == canonicalize_name(root.metadata["Name"]) else metadata.distribution(name)
            todo += [(next_one, one) for _, one in wanted]
            if next_one is not root:
                found[name] = next_one
    return found


def _link(distributions: Iterable[metadata.Distribution], site_packages: Path) -> None:
    """Link what the distributions have in site-packages: a folder as a whole (there are tens of thousands of files),
    or file by file if several of all that are installed have it. Programs and shared data lie elsewhere."""
    everyones = {distribution.metadata["Name"]: distribution for distribution in metadata.distributions()}
    owners = Counter(name for one in everyones.values() for name in {file.parts[0] for file in one.files or ()})
    for distribution in distributions:
        files = {file.parts if owners[file.parts[0]] > 1 else file.parts[:1] for file in distribution.files or ()}
        for parts in sorted(file for file in files if file[0] not in ("..", "__pycache__")):
            link = site_packages.joinpath(*parts)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(distribution.locate_file("/".join(parts)))))
