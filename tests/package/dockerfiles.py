"""The files that ``docker build`` copies into an image: a parser of COPY, WORKDIR and .dockerignore.

It supports the part of the Dockerfile language that this repository's file uses, and raises for any other instruction
or form: a line that Docker reads differently must not be skipped.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from docker.utils.build import exclude_paths

#: Instructions that put no file into the WORKDIR.
_WITHOUT_FILES = frozenset({"ARG", "FROM", "ENV", "RUN", "USER", "CMD"})


class UnsupportedInstruction(Exception):
    """A line that this parser does not support, or that Docker refuses."""


def build_context(root: Path) -> list[str]:
    """The files that a Docker client sends to the engine, relative to ``root``, sorted: all that .dockerignore does not
    exclude, as docker-py reads it."""
    rules = [line for line in (root / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    return sorted(path for path in exclude_paths(str(root), rules) if (root / path).is_file())


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The Dockerfile's lines as (instruction, rest). Raises UnsupportedInstruction."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


def copied(dockerfile: str, context: Sequence[str]) -> dict[str, str]:
    """Absolute path in the image -> file of ``context`` that COPY copies to it. Raises UnsupportedInstruction, also for
    a COPY whose source is not in the context, for which ``docker build`` fails."""
    place, files = PurePosixPath("/"), {}
    for word, rest in instructions(dockerfile):
        if word == "WORKDIR":
            place = place / rest
        elif word == "COPY":
            files |= _copy(rest, place, context)
        elif word not in _WITHOUT_FILES:
            raise UnsupportedInstruction(f"{word} {rest}")
    return files


def _copy(rest: str, place: PurePosixPath, context: Sequence[str]) -> dict[str, str]:
    if re.search(r"""(^|\s)--|[$*?\[\]<"']""", rest):
        raise UnsupportedInstruction(f"COPY {rest}")
    *sources, target = shlex.split(rest)
    folder = target.endswith("/")
    if len(sources) > 1 and not folder:
        raise UnsupportedInstruction(f"COPY {rest}: several sources need a target that ends in /")
    files = {}
    for source in (str(PurePosixPath(source)) for source in sources):
        inside = {path.removeprefix(f"{source}/"): path for path in context if path.startswith(f"{source}/")}
        if source in context:
            inside = {source.rpartition("/")[2] if folder else "": source}
        if not inside:
            raise UnsupportedInstruction(f"COPY {rest}: {source} is not in the build context")
        files |= {str(place / target / name): path for name, path in inside.items()}
    return files


def workdirs(dockerfile: str) -> list[str]:
    """The working directories, in order."""
    return [rest for word, rest in instructions(dockerfile) if word == "WORKDIR"]


def installed_extras(dockerfile: str) -> tuple[str, ...]:
    """The extras that the image installs: ``RUN pip install '.[lab,postgres]'``."""
    runs = [rest for word, rest in instructions(dockerfile) if word == "RUN"]
    (names,) = (match[1] for match in (re.fullmatch(r"pip install '\.\[([\w,]+)\]'", run) for run in runs) if match)
    return tuple(names.split(","))
