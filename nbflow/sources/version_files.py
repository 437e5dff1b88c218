"""The source of a DAG version: the texts that belong to it, and the files to run it from.

A version has the text of the DAG file first, then those of the modules that were imported from the DAGs folder, or that
one of these files imports inside a function. To run a version, the files on disk are used if their texts are unchanged,
so that ``__file__`` and neighbouring files are right; otherwise the stored texts are written to a separate folder and
run from there. So a run keeps its version while its DAG is edited, and a worker needs no shared folder.

Of a notebook only the cells that define DAGs are stored (:data:`VERSION_TEXTS`): running or tidying the notebook does
not create a new version.
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

MAX_SOURCE_BYTES = 32 * 1024 * 1024
"""Maximum size of a file (a notebook with outputs may be large): a version is stored and sent as one message."""


def read_text(path: str) -> str:
    """Read a DAG file. Raises OSError, ValueError for a file that is too large, SyntaxError for a wrong encoding."""
    import tokenize

    with open(path, "rb") as file:
        raw = file.read(MAX_SOURCE_BYTES + 1)
    if len(raw) > MAX_SOURCE_BYTES:
        raise ValueError(f"the file is larger than {MAX_SOURCE_BYTES // 1024**2} MiB, the limit for DAG files")
    encoding, message = "utf-8", ""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    except SyntaxError as error:  # an unknown declared encoding; or none is declared, and the first lines are not UTF-8
        message = str(error)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"the file is not {encoding}: {error.reason}. Save it as UTF-8, or declare its coding in line 1"
        raise SyntaxError(message, (path, line, None, None)) from None
    if message:
        raise SyntaxError(message, (path, 1, None, None))
    return text


def real_file(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if isinstance(file, str) else ""


def _notebook_version_text(text: str) -> str:
    from nbflow.sources.notebooks import notebook_version_text

    return notebook_version_text(text)


#: suffix -> function that extracts the part of a file's text that a version stores; other files are stored whole.
VERSION_TEXTS: dict[str, Callable[[str], str]] = {".ipynb": _notebook_version_text}


def version_text_of(name: str, text: str) -> str:
    """The part of a file's text that a version stores."""
    extract = VERSION_TEXTS.get(os.path.splitext(name)[1])
    return extract(text) if extract is not None else text


def bundle(
    path: str, root: str, text: str, modules: Sequence[ModuleType], *, code: Sequence[str] = ()
) -> dict[str, str]:
    """The texts of a version: the DAG file's, those of the modules imported from the folder, and of the modules that
    these import inside functions. ``code``: the Python code in the file, if ``text`` is a notebook."""
    top = os.path.realpath(root)
    files = {_relative(path, top): version_text_of(path, text)}
    pending = [real_file(module) for module in modules]
    pending += [imported for part in code or (text,) for imported in _imported_files(top, part)]
    while pending:
        file = pending.pop()
        name = _relative(file, top)
        if name in files or not file.endswith(".py"):
            continue
        try:
            files[name] = read_text(file)
        except (OSError, SyntaxError, ValueError):
            continue
        pending += _imported_files(top, files[name], ".".join(PurePosixPath(name).parent.parts))
    dag_file, *module_files = files
    return {dag_file: files[dag_file], **{name: files[name] for name in sorted(module_files)}}


def _relative(path: str, top: str) -> str:
    real = os.path.realpath(path)
    return real[len(top) + 1 :].replace(os.sep, "/") if real.startswith(top + os.sep) else os.path.basename(real)


#: Matches every import, and similar text in comments and strings. A source without a match is not parsed.
_IMPORT = re.compile(r"\b(?:from\s+([.\w]+)\s+import\b|import\s+([\w., \t]+))")


def _imported_files(top: str, text: str, package: str = "") -> list[str]:
    """Files of the folder that a source imports anywhere, also inside functions. A source that imports none, as most
    DAG files, is not parsed."""
    names = {name for match in _IMPORT.finditer(text) for name in (match[1] or match[2]).replace(",", " ").split()}
    top_level = {name.partition(".")[0] for name in names}
    if not any(_in_folder(top, name) if name else package for name in top_level):
        return []
    return [file for name in _imports(text, package) for file in _module_files(top, name)]


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
    """The files of a module and of the packages that contain it, if they are in the folder."""
    files: list[str] = []
    stem = top
    for part in name.split("."):
        stem = os.path.join(stem, part)
        files += [file for file in (stem + ".py", os.path.join(stem, "__init__.py")) if os.path.isfile(file)]
        if not os.path.isdir(stem):
            break
    return files


def digest_of(files: Mapping[str, str]) -> str:
    """The SHA-256 of names and texts, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for data in (name.encode(), files[name].encode("utf-8", "surrogatepass")):
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def same_on_disk(path: str, root: str, files: Mapping[str, str]) -> bool:
    """Whether the files on disk have the texts of a version: the DAG file at ``path``, the others under ``root``."""
    dag_file = next(iter(files))
    for name, text in files.items():
        file = path if name == dag_file else os.path.join(root, name)
        try:
            if version_text_of(name, read_text(file)) != text:
                return False
        except (OSError, SyntaxError, ValueError):
            return False
    return True


def write_version(files: Mapping[str, str], versions_folder: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Write a version's texts to a separate folder. Returns the path of the DAG file, and the folder.

    The folder is written under a temporary name and renamed, so that a process never reads a folder that another one
    is still writing.
    """
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or not pure.parts:
            raise NbflowError(f"the stored version has a file named {name!r}, which may not be written")
    parent = os.path.abspath(versions_folder) if versions_folder is not None else tempfile.mkdtemp(prefix="nbflow-")
    target = os.path.join(parent, digest_of(files)[:24])
    if not os.path.isdir(target):
        os.makedirs(parent, mode=0o700, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".new-", dir=parent)
        for name, text in files.items():
            file = os.path.join(temporary, name)
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            with open(file, "w", encoding="utf-8", newline="", opener=_private) as out:
                out.write(_with_utf8_coding(name, text))
        try:
            os.rename(temporary, target)
        except OSError:  # another process was first
            import shutil

            shutil.rmtree(temporary, ignore_errors=True)
            if not os.path.isdir(target):
                raise
    return os.path.join(target, next(iter(files))), target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _with_utf8_coding(name: str, text: str) -> str:
    """Change the encoding in a ``coding:`` line to UTF-8, in which the file is written."""
    if not name.endswith(".py"):
        return text
    head = text.split("\n", 2)
    for index, line in enumerate(head[:2]):
        head[index] = re.sub(r"^([ \t\f]*#.*?coding[:=][ \t]*)([-\w.]+)", r"\1utf-8", line)
    return "\n".join(head)
