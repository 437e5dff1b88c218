"""What ``docker build`` would find in an image's WORKDIR before its RUN lines: COPY, filtered by .dockerignore.

Enough of a Dockerfile's language for the file of this repository; whatever else stands in it is refused by name, never
skipped, so that a line which Docker reads otherwise cannot pass unseen.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from docker.utils.build import exclude_paths

#: Instructions that put no file into the WORKDIR.
_ELSEWHERE = frozenset({"ARG", "FROM", "ENV", "RUN", "USER", "CMD"})


class NotUnderstood(Exception):
    """A line that this reader does not know, or that Docker would refuse."""


def build_context(root: Path) -> list[str]:
    """The files that Docker's client sends to the engine, relative to ``root``, sorted: what .dockerignore leaves,
    as the client that is written in Python reads it."""
    rules = [line for line in (root / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    return sorted(path for path in exclude_paths(str(root), rules) if (root / path).is_file())


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The Dockerfile's lines as (instruction, rest). Raises NotUnderstood."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


def copied(dockerfile: str, context: Sequence[str]) -> dict[str, str]:
    """Absolute path in the image -> file of ``context`` that COPY puts there. Raises NotUnderstood, also for a COPY
    whose source the context does not hold: that is where ``docker build`` stops."""
    place, files = PurePosixPath("/"), {}
    for word, rest in instructions(dockerfile):
        if word == "WORKDIR":
            place = place / rest
        elif word == "COPY":
            files |= _copy(rest, place, context)
        elif word not in _ELSEWHERE:
            raise NotUnderstood(f"{word} {rest}")
    return files


def _copy(rest: str, place: PurePosixPath, context: Sequence[str]) -> dict[str, str]:
    if re.search(r"""(^|\s)--|[$*?\[\]<"']""", rest):
        raise NotUnderstood(f"COPY {rest}")
    *sources, target = shlex.split(rest)
    folder = target.endswith("/")
    if len(sources) > 1 and not folder:
        raise NotUnderstood(f"COPY {rest}: several sources need a target that ends in /")
    files = {}
    for source in (str(PurePosixPath(source)) for source in sources):
        inside = {path.removeprefix(f"{source}/"): path for path in context if path.startswith(f"{source}/")}
        if source in context:
            inside = {source.rpartition("/")[2] if folder else "": source}
        if not inside:
            raise NotUnderstood(f"COPY {rest}: {source} is not in the build context")
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
