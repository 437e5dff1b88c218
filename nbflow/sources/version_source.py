"""The source of a DAG version: which texts belong to it, and how they are run again.

A version holds the DAG file's text first, then that of every module that was imported from the DAGs folder, or that one
of these files would import inside a function. To run it again, the files on disk are taken if they still say the same,
so that ``__file__`` and what lies beside it are right; if not, the stored texts are written to a folder of their own
and run from there. So a run keeps its version while its DAG is edited, and a worker needs no shared folder.

Of a notebook only the cells that make DAGs are kept (:data:`ESSENCES`): running or tidying it makes no new version.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from types import ModuleType

from nbflow.errors import NbflowError

MOST_SOURCE_BYTES = 32 * 1024 * 1024
"""Of one file (a notebook with its outputs may be large); a version is stored whole, and travels in one message."""


def read_text(path: str) -> str:
    import tokenize

    with open(path, "rb") as file:
        raw = file.read(MOST_SOURCE_BYTES + 1)
    if len(raw) > MOST_SOURCE_BYTES:
        raise ValueError(f"the file is larger than {MOST_SOURCE_BYTES // 1024**2} MiB: no DAG file is")
    encoding, said = "utf-8", ""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    except SyntaxError as error:  # what is declared is unknown; or nothing is, and the first lines are no UTF-8
        said = str(error)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fault = f"the file is not {encoding}: {error.reason}. Save it as UTF-8, or declare its coding in the first line"
        raise SyntaxError(fault, (path, line, None, None)) from None
    if said:
        raise SyntaxError(said, (path, 1, None, None))
    return text


def real_file(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if isinstance(file, str) else ""


def _notebook_essence(text: str) -> str:
    from nbflow.sources.notebooks import essence

    return essence(text)


#: suffix -> what of a DAG file's text makes its DAGs; of other files all does.
ESSENCES: dict[str, Callable[[str], str]] = {".ipynb": _notebook_essence}


def essence_of(name: str, text: str) -> str:
    """The part of a file's text that a version keeps."""
    make = ESSENCES.get(os.path.splitext(name)[1])
    return make(text) if make is not None else text


def bundle(
    path: str, root: str, text: str, modules: Sequence[ModuleType], *, code: Sequence[str] = ()
) -> dict[str, str]:
    """The DAG file, the modules imported from the folder, and those that they import inside functions. ``code``: the
    Python in the file, where ``text`` itself is none."""
    top = os.path.realpath(root)
    files = {_relative(path, top): essence_of(path, text)}
    todo = [real_file(module) for module in modules]
    todo += [found for part in code or (text,) for found in _imported_files(top, part)]
    while todo:
        file = todo.pop()
        name = _relative(file, top)
        if name in files or not file.endswith(".py"):
            continue
        try:
            files[name] = read_text(file)
        except (OSError, SyntaxError, ValueError):
            continue
        todo += _imported_files(top, files[name], ".".join(PurePosixPath(name).parent.parts))
    first, *others = files
    return {first: files[first], **{name: files[name] for name in sorted(others)}}


def _relative(path: str, top: str) -> str:
    real = os.path.realpath(path)
    return real[len(top) + 1 :].replace(os.sep, "/") if real.startswith(top + os.sep) else os.path.basename(real)


#: Finds every import, and more than imports (in comments, in texts): it only says whether a closer look is worth while.
_IMPORT = re.compile(r"\b(?:from\s+([.\w]+)\s+import\b|import\s+([\w., \t]+))")


def _imported_files(top: str, text: str, package: str = "") -> list[str]:
    """Files of the folder that a source imports anywhere, in functions too. Most DAG files import nothing from there,
    and are not parsed a second time to find that out."""
    words = {word for match in _IMPORT.finditer(text) for word in (match[1] or match[2]).replace(",", " ").split()}
    tops = {word.partition(".")[0] for word in words}
    if not any(_in_folder(top, name) if name else package for name in tops):
        return []
    return [found for name in _imports(text, package) for found in _module_files(top, name)]


def _in_folder(top: str, name: str) -> bool:
    return os.path.isfile(os.path.join(top, name + ".py")) or os.path.isdir(os.path.join(top, name))


def _imports(text: str, package: str) -> list[str]:
    """Dotted names that a source imports, relative ones resolved against ``package``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*filter(None, parents), *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
    return list(dict.fromkeys(filter(None, names)))


def _module_files(top: str, name: str) -> list[str]:
    """The files of a module and of the packages around it, as far as they lie in the folder."""
    found: list[str] = []
    stem = top
    for part in name.split("."):
        stem = os.path.join(stem, part)
        found += [file for file in (stem + ".py", os.path.join(stem, "__init__.py")) if os.path.isfile(file)]
        if not os.path.isdir(stem):
            break
    return found


def digest_of(files: Mapping[str, str]) -> str:
    """SHA-256 over names and texts, in order of names."""
    whole = hashlib.sha256()
    for name in sorted(files):
        for piece in (name.encode(), files[name].encode("utf-8", "surrogatepass")):
            whole.update(len(piece).to_bytes(8, "big") + piece)
    return whole.hexdigest()


def same_on_disk(path: str, root: str, files: Mapping[str, str]) -> bool:
    """Whether every file of a version still has its text, the DAG file at ``path`` and the others under ``root``."""
    first = next(iter(files))
    for name, text in files.items():
        where = path if name == first else os.path.join(root, name)
        try:
            if essence_of(name, read_text(where)) != text:
                return False
        except (OSError, SyntaxError, ValueError):
            return False
    return True


def write_version(files: Mapping[str, str], versions_folder: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Write a version's texts to a folder of their own; returns the DAG file's path and the folder.

    Written beside it and renamed: of two processes that do it at once, one wins, and nobody sees half of it.
    """
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or not pure.parts:
            raise NbflowError(f"the stored version holds a file named {name!r}, which may not be written")
    home = os.path.abspath(versions_folder) if versions_folder is not None else tempfile.mkdtemp(prefix="nbflow-")
    target = os.path.join(home, digest_of(files)[:24])
    if not os.path.isdir(target):
        os.makedirs(home, mode=0o700, exist_ok=True)
        fresh = tempfile.mkdtemp(prefix=".new-", dir=home)
        for name, text in files.items():
            file = os.path.join(fresh, name)
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            with open(file, "w", encoding="utf-8", newline="", opener=_private) as out:
                out.write(_recoded(name, text))
        try:
            os.rename(fresh, target)
        except OSError:  # another process was first
            import shutil

            shutil.rmtree(fresh, ignore_errors=True)
            if not os.path.isdir(target):
                raise
    return os.path.join(target, next(iter(files))), target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _recoded(name: str, text: str) -> str:
    """A ``coding:`` line of another encoding is no longer true of what we write."""
    if not name.endswith(".py"):
        return text
    head = text.split("\n", 2)
    for index, line in enumerate(head[:2]):
        head[index] = re.sub(r"^([ \t\f]*#.*?coding[:=][ \t]*)([-\w.]+)", r"\1utf-8", line)
    return "\n".join(head)
