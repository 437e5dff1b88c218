"""What ``docker build`` would find in an image's WORKDIR before its RUN lines: COPY, filtered by .dockerignore.

Enough of both languages for the files of this repository; whatever else stands in them is refused by name, never
skipped, so that a line which Docker reads otherwise cannot pass unseen. Rules of .dockerignore as in Docker
(moby/patternmatcher): the last pattern that matches a path, or a folder above it, decides; ``!`` takes back.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: Instructions that put no file into the WORKDIR.
_ELSEWHERE = frozenset({"ARG", "FROM", "ENV", "RUN", "USER", "CMD"})
_GLOBS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class NotUnderstood(Exception):
    """A line that this reader does not know, or that Docker would refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One line of .dockerignore; ``again`` if it takes back what an earlier one left out."""

    text: str
    again: bool
    regex: re.Pattern[str]


def read_dockerignore(text: str) -> list[Pattern]:
    """The patterns in order. Raises NotUnderstood."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [_pattern(line.removeprefix("!").strip("/"), again=line.startswith("!")) for line in lines]


def _pattern(text: str, *, again: bool) -> Pattern:
    if re.search(r"[\[\]\\]|(^|/)\.\.?(/|$)", text):
        raise NotUnderstood(f".dockerignore: {text}")
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    regex = re.compile("".join(_GLOBS.get(part, re.escape(part)) for part in parts))
    return Pattern(text=text, again=again, regex=regex)


def ignored(patterns: Sequence[Pattern], path: str) -> bool:
    """Whether the file or folder ``path`` (relative, with ``/``) stays out of the build context."""
    here = PurePosixPath(path)
    names = [str(here), *(str(parent) for parent in here.parents if parent.name)]
    matching = [pattern for pattern in patterns if any(pattern.regex.fullmatch(name) for name in names)]
    return bool(matching) and not matching[-1].again


def build_context(root: Path, patterns: Sequence[Pattern]) -> list[str]:
    """The files that Docker sends to its engine, relative to ``root``, sorted."""
    return sorted(_walk(root, "", patterns))


def _walk(root: Path, folder: str, patterns: Sequence[Pattern]) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        path = f"{folder}/{entry.name}".lstrip("/")
        out = ignored(patterns, path)
        if not entry.is_dir(follow_symlinks=False):
            if not out:
                yield path
        elif not out or any(one.again and ("**" in one.text or one.text.startswith(f"{path}/")) for one in patterns):
            yield from _walk(root, path, patterns)


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
