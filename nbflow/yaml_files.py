"""YAML as commands print it and as users write it: PyYAML's safe halves, with what two kinds of readers need.

Writing: a text that any reader could take for a number, a truth or a time is quoted, also where YAML 1.1 (PyYAML) and
YAML 1.2 (yq, JavaScript) differ: "08", "1e3", "y". A list that stands twice in the data is written twice, as scripts
expect no anchors. Reading: a mistake is one NbflowError that names the file and the line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nbflow.errors import NbflowError

# ------------------------------------------------------------------------------------------------------------- writing

#: What YAML 1.2, or 1.1 to the letter, reads as a number or a truth and PyYAML as text.
_NO_TEXT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|[yYnN]")
#: Line breaks that a reader replaces by its own, and marks that it may drop.
_BREAKS = re.compile("[\n\x85\u2028\u2029\ufeff]")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"(?:{_NO_TEXT.pattern})$"), list("-+.0123456789yYnN")
)


def yaml_text(value: Any, *, unicode: bool = True) -> str:
    """Plain data as YAML in block style, a text on one line. Without ``unicode`` it is ASCII."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=unicode, sort_keys=False, width=sys.maxsize)
    return text.removesuffix("...\n")


# ------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFile:
    """A file that holds one mapping, and the line at which each of its keys stands."""

    content: Mapping[str, Any]
    lines: Mapping[str, int]


class _Loader(yaml.SafeLoader):
    """A key that stands twice is a mistake, as the YAML standard has it; PyYAML's own loader takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(file: str, what: str) -> YamlFile:
    """Read a user's file. Raises NbflowError with file and line; ``what`` names what it must hold a mapping of."""
    text = read_text(file)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        raise NbflowError(f"{file}:{line}: not YAML: {fault.reason}.") from None
    except yaml.MarkedYAMLError as fault:
        raise NbflowError(f"{file}{_place(fault)}: not YAML: {fault.problem}.") from None
    except RecursionError:
        raise NbflowError(f"{file}: nested too deep.") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise NbflowError(f"{file} must hold a mapping of {what}.")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = lines[key.value] = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            raise NbflowError(f"{file}:{line}: {key.value} is not text here.", hint=f'Write it as "{key.value}".')
    return YamlFile(content=content, lines=lines)


def _place(fault: yaml.MarkedYAMLError) -> str:
    return f":{fault.problem_mark.line + 1}" if fault.problem_mark else ""


def read_text(file: str) -> str:
    """The text of a user's file. Raises NbflowError, with the line where it is not UTF-8."""
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise NbflowError(f"{file} cannot be read: {fault.strerror}.") from None
    except UnicodeDecodeError as fault:
        line = fault.object.count(b"\n", 0, fault.start) + 1
        raise NbflowError(f"{file}:{line}: not UTF-8.", hint="Save it as UTF-8.") from None
