"""YAML: written by commands, read from users' files. PyYAML's safe dumper and loader, each with stricter rules.

Writing: a string that YAML 1.1 (PyYAML) or YAML 1.2 (yq, JavaScript) would read as a number, boolean or time is quoted:
"08", "1e3", "y". A list that occurs twice in the data is written twice, because scripts expect no anchors.
Reading: a mistake raises one NbflowError with the file and the line. A duplicate key is a mistake.
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

#: Strings for PyYAML, but numbers or booleans in YAML 1.2 or by the letter of YAML 1.1.
_AMBIGUOUS = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|[yYnN]")
#: Line breaks, which loaders normalise, and the byte order mark, which they drop.
_BREAKS = re.compile("[\n\x85\u2028\u2029\ufeff]")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _represent_str)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"(?:{_AMBIGUOUS.pattern})$"), list("-+.0123456789yYnN")
)


def yaml_text(value: Any, *, unicode: bool = True) -> str:
    """Dump plain data in block style, each string on one line. ASCII only unless ``unicode``."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=unicode, sort_keys=False, width=sys.maxsize)
    return text.removesuffix("...\n")


# ------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFile:
    """The mapping in a file, and the line number of each key."""

    content: Mapping[str, Any]
    lines: Mapping[str, int]


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, as the YAML standard does; PyYAML's own loader takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                keys.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(file: str, what: str) -> YamlFile:
    """Read a file that holds a mapping of ``what``. Raises NbflowError with file and line."""
    text = read_text(file)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NbflowError(f"{file}:{line}: invalid YAML: {error.reason}.") from None
    except yaml.MarkedYAMLError as error:
        raise NbflowError(f"{file}{_line_of(error)}: invalid YAML: {error.problem}.") from None
    except RecursionError:
        raise NbflowError(f"{file}: invalid YAML: nested too deeply.") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise NbflowError(f"{file} must contain a mapping of {what}.")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = lines[key.value] = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            raise NbflowError(f"{file}:{line}: key {key.value} is not a string.", hint=f'Quote it: "{key.value}".')
    return YamlFile(content=content, lines=lines)


def _line_of(error: yaml.MarkedYAMLError) -> str:
    return f":{error.problem_mark.line + 1}" if error.problem_mark else ""


def read_text(file: str) -> str:
    """Read a user's text file. Raises NbflowError; where it is not UTF-8, with the line."""
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise NbflowError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NbflowError(f"{file}:{line}: not UTF-8.", hint="Save it as UTF-8.") from None
