"""Arguments as data, and the parser that is built from them for ``nbflow``, ``%dag`` and ``%%dag`` lines.

An :class:`Argument` declares its name, type, flags and help. Its :class:`Type` declares how a text is parsed, what
completes it, and its JSON Schema. The parser uses argparse, with these rules:

* It never exits: it raises an error of one line, which names the mistake and what to do.
* Options may stand between positional arguments. After ``--`` everything is positional.
* An argument may be positional and have flags too (``RUN`` and ``--run RUN``); passed as an option, it leaves its
  position to the next argument.
* Options cannot be abbreviated; the error for an unknown option names the nearest.

:class:`ErrorTexts` holds the error class and the texts of a surface.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NoReturn

from nbflow.errors import NbflowError, ParamValidationError, did_you_mean

Values = argparse.Namespace
"""Parsed values by argument name, with defaults."""


class UsageError(NbflowError):
    """The command line is invalid: an unknown option, a value that cannot be parsed. The exit code is 2."""


class BadValue(ValueError):
    """An invalid value, with a whole sentence as its message; ``{shown}`` in it stands for the argument."""

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.hint = sentence, hint


# --------------------------------------------------------------------------------------------------------------- types


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """The type of an argument's value. ``read`` parses a text; its ValueError says what is expected."""

    name: str
    read: Callable[[str], Any] = str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    """JSON Schema of the value in a request."""
    metavar: str = ""
    """Placeholder of an option's value in the help."""
    completes: str = ""
    """What Tab completes: dag, task, run, file ...; empty: the choices, if any."""


def _whole(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError(f"expected a positive integer, not {text!r}")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected an integer, not {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, not {text!r}") from None


def _json_object(text: str) -> dict[str, Any]:
    from nbflow.authoring.params import read_conf

    try:
        return read_conf(text) if text else {}
    except ParamValidationError as error:
        raise BadValue(f"{{shown}} {error}", hint="""Write: {shown} '{"day": 1}'""") from None


def _pair(text: str) -> dict[str, Any]:
    """Parse ``name=value``; a value that is valid JSON is decoded: ``rows=10``, ``country=DE``, ``"ids=[1, 2]"``."""
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadValue(f"{text!r} is not NAME=VALUE.", hint="Write: -p rows=10")
    try:
        return {name.strip(): json.loads(value)}
    except RecursionError:
        raise BadValue(f"{name.strip()} is nested too deeply.") from None
    except ValueError:
        return {name.strip(): value}


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected seconds, or a number with s, min, h or d: 90, 5min, 2h")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise BadValue(f"{text!r} is not a regular expression: {error}.") from None
    return text


_TEXT = {"type": "string"}
TEXT = Type(name="TEXT")
SWITCH = Type(name="SWITCH", schema={"type": "boolean"})
"""An option without a value; True if present."""
DAG = Type(name="DAG", metavar="DAG_ID", completes="dag")
TASK = Type(name="TASK", metavar="TASK", completes="task")
RUN = Type(name="RUN", metavar="RUN", completes="run")
"""A run id, or a logical date."""
DATE = Type(name="DATE", metavar="DATE", schema={**_TEXT, "format": "date-time"})
"""Text as typed: the command parses it, since it has the time zone and the current date."""
WHOLE = Type(name="WHOLE", metavar="N", read=_whole, schema={"type": "integer", "minimum": 1})
INTEGER = Type(name="INTEGER", metavar="N", read=_integer, schema={"type": "integer"})
NUMBER = Type(name="NUMBER", metavar="N", read=_number, schema={"type": "number"})
JSON = Type(name="JSON", metavar="JSON", read=_json_object, schema={"type": "object"})
PAIR = Type(name="PAIR", metavar="NAME=VALUE", read=_pair, schema={"type": "object"})
DURATION = Type(name="DURATION", read=_duration, schema={**_TEXT, "format": "duration"})
NAMES = Type(name="NAMES", metavar="A,B", read=_names, schema={"type": "array", "items": _TEXT})
PATTERN = Type(name="PATTERN", metavar="REGEX", read=_pattern, schema={**_TEXT, "format": "regex"})
CRON = Type(name="CRON", metavar="CRON")
"""A cron expression or a preset. The parser has a hint for one that is not quoted."""
VARIABLE = Type(name="VARIABLE", completes="variable")
CONNECTION = Type(name="CONNECTION", completes="connection")
POOL = Type(name="POOL", completes="pool")
BACKFILL = Type(name="BACKFILL", read=_integer, schema={"type": "integer"}, completes="backfill")
"""Id of a backfill."""
LAB = Type(name="LAB", completes="lab")
QUIZ = Type(name="QUIZ", completes="quiz")
FILE = Type(name="FILE", metavar="FILE", completes="file")


# ----------------------------------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A declared argument; :func:`argument` is the short form. With ``positional`` and ``flags`` it may be
    passed either way."""

    name: str
    help: str
    type: Type = TEXT
    positional: bool = False
    flags: tuple[str, ...] = ()
    default: Any = None
    required: bool = False
    repeated: bool = False
    """An option may be repeated; a positional argument takes all remaining words. The value is a list."""
    choices: tuple[str, ...] = ()
    metavar: str = ""
    const: Any = None
    """Value of an option that is passed without one."""
    example: str = ""

    @property
    def flag(self) -> str:
        """The first long flag: completion and hints show it."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0] if self.flags else "")

    @property
    def shown(self) -> str:
        """The name in help and errors."""
        return self.metavar or self.name if self.positional else self.flags_shown

    @property
    def flags_shown(self) -> str:
        """``-n/--number``: the first short and the first long flag."""
        short = next((flag for flag in self.flags if not flag.startswith("--")), "")
        return "/".join(filter(None, [short if short != self.flag else "", self.flag]))


def argument(*spellings: str, help: str = "", name: str = "", type: Type = TEXT, **options: Any) -> Argument:
    """Declare an argument: a name for a positional one, flags for an option, both for either. ``name`` defaults to the
    positional name, otherwise to the first long flag. A positional argument is required unless it has a default, is
    repeated, or has ``required=False``."""
    names = [spelling for spelling in spellings if not spelling.startswith("-")]
    flags = tuple(spelling for spelling in spellings if spelling.startswith("-"))
    long = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else "")
    positional = bool(names)
    optional = not positional or options.get("repeated") or options.get("default") is not None
    options.setdefault("required", not optional)
    name = name or (names[0] if names else long.lstrip("-").replace("-", "_"))
    if type is SWITCH:
        options.setdefault("default", False)
    return Argument(name=name, help=help, type=type, positional=positional, flags=flags, **options)


def switch(*flags: str, help: str, name: str = "", **options: Any) -> Argument:
    """Declare an option without a value: True if present."""
    return argument(*flags, help=help, name=name, type=SWITCH, **options)


# --------------------------------------------------------------------------------------------------------- error texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTexts:
    """Texts and class of a surface's usage errors. ``{line}`` is the command, ``{usage}`` its usage."""

    unknown_option: str
    too_many: str
    bad_value: str
    no_value: str
    hint: str
    """Hint of an error that has no better one."""
    error: type[NbflowError] = UsageError


TERMINAL = ErrorTexts(
    unknown_option="{line}: unknown option {option}.",
    too_many="{line}: unexpected argument {word!r}.",
    bad_value="{line}: argument {shown}: {error}.",
    no_value="{line}: argument {shown}: expected one argument.",
    hint="Usage: {usage}",
)
NOTEBOOK = ErrorTexts(
    unknown_option="{line}: unknown option {option}.",
    too_many="{line}: unexpected argument {word!r}.",
    bad_value="{line}: argument {shown}: {error}.",
    no_value="{line}: argument {flag}: expected one argument.",
    hint="Help: {line}?",
)


class HelpRequested(Exception):
    """``--help`` was passed; the message is the help text."""


# -------------------------------------------------------------------------------------------------------------- parser


class _ParsingError(Exception):
    """An error message of argparse."""


class _RaisingParser(argparse.ArgumentParser):
    """argparse that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise _ParsingError(message)

    def print_help(self, file: Any = None) -> None:
        raise HelpRequested(self.format_help().rstrip())


class _InvalidValue(Exception):
    """A text that is not a value of the argument. Not a ValueError, since argparse would replace its message."""

    def __init__(self, argument: Argument, shown: str, text: str, error: Exception) -> None:
        super().__init__(argument, text, error)
        self.argument, self.shown, self.text, self.error = argument, shown, text, error


def _reader(argument: Argument, shown: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return argument.type.read(text)
        except (ValueError, NbflowError) as error:
            raise _InvalidValue(argument, shown, text, error) from None

    return read


class Parser(_RaisingParser):
    """The parser of one command. ``unavailable(option)`` returns why nbflow lacks an option of Airflow, or None."""

    def __init__(
        self,
        line: str,
        arguments: Iterable[Argument],
        *,
        texts: ErrorTexts,
        description: str = "",
        epilog: str = "",
        unavailable: Callable[[str], str | None] = lambda option: None,
    ) -> None:
        super().__init__(
            prog=line,
            description=description,
            epilog=epilog or None,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.line, self.texts, self.unavailable = line, texts, unavailable
        self.arguments = tuple(arguments)
        for argument in self.arguments:
            if argument.positional:
                _add_positional(self, argument)
            if argument.flags:
                _add_option(self, argument, required=argument.required and not argument.positional)

    def parse(self, words: Sequence[str]) -> Values:
        """Parse the words. Raises the error class of ``texts``, or HelpRequested."""
        try:
            values = self._values(list(words))
        except _InvalidValue as invalid:
            raise self._invalid_value(invalid) from None
        except _ParsingError as error:
            raise self._usage_error(f"{self.line}: {error}.") from None
        for argument in self.arguments:
            if not hasattr(values, argument.name):
                setattr(values, argument.name, _default(argument))
        return values

    def options_in(self, words: Sequence[str]) -> tuple[str, ...]:
        """The flags of the options on the line, in their order."""
        values, _ = self._parse_options(list(words))
        flags = {argument.name: argument.flag for argument in self.arguments if argument.flags}
        return tuple(flags[name] for name in vars(values))

    # --- parsing

    def _values(self, words: list[str]) -> Values:
        """Parse the options first, then the remaining words as positional arguments. argparse alone matches positional
        arguments with the words before the first option, and misses those after it."""
        end = words.index("--") if "--" in words else len(words)
        values, remaining = self._parse_options(words[:end])
        unknown = next((word for word in remaining if _is_option(word)), None)
        if unknown is not None:
            raise self._unknown_option(unknown.partition("=")[0])
        remaining += words[end + 1 :]
        positional = [
            argument for argument in self.arguments if argument.positional and not hasattr(values, argument.name)
        ]
        parser = _RaisingParser(prog=self.line, add_help=False, prefix_chars="\0")  # "-3" is not an option here
        for argument in positional:
            _add_positional(parser, argument, optional=True)
        try:
            values, extra = parser.parse_known_args(remaining, values)
        except _ParsingError as error:
            raise self._usage_error(f"{self.line}: {error}.") from None
        for argument in positional:
            if getattr(values, argument.name, None) in (None, []):
                values.__dict__.pop(argument.name, None)
        if extra:
            raise self._too_many(remaining, extra, values)
        required = [argument for argument in self.arguments if argument.required]
        missing = [argument.shown for argument in required if not hasattr(values, argument.name)]
        if missing:
            raise self._usage_error(f"{self.line}: the following arguments are required: {', '.join(missing)}.")
        return values

    def _parse_options(self, words: list[str]) -> tuple[Values, list[str]]:
        parser = _RaisingParser(prog=self.line, allow_abbrev=False, add_help=False, exit_on_error=False)
        parser.add_argument("-h", "--help", action=_Help, parser=self)
        for argument in self.arguments:
            if argument.flags:
                _add_option(parser, argument, default=argparse.SUPPRESS)
        try:
            return parser.parse_known_args(words)
        except argparse.ArgumentError as error:
            raise self._option_error(error) from None

    # --- errors

    def _usage_error(self, text: str, hint: str = "") -> NbflowError:
        return self.texts.error(text, hint=hint or self.texts.hint.format(line=self.line, usage=self.usage_line()))

    def _unknown_option(self, option: str) -> NbflowError:
        reason = self.unavailable(option)
        if reason is not None:
            return self.texts.error(reason)
        known = [flag for argument in self.arguments for flag in argument.flags]
        text = self.texts.unknown_option.format(line=self.line, option=option)
        return self._usage_error(text, did_you_mean(option, known).strip())

    def _too_many(self, words: Sequence[str], extra: Sequence[str], values: Values) -> NbflowError:
        text = self.texts.too_many.format(line=self.line, word=extra[0], count=len(words), words=" ".join(words))
        return self._usage_error(text, self._unquoted_cron(values, extra))

    def _unquoted_cron(self, values: Values, extra: Sequence[str]) -> str:
        """The hint if the unexpected words look like the rest of a cron expression."""
        for argument in self.arguments:
            if argument.type is CRON and (first := getattr(values, argument.name, None)):
                return f'Quote a cron expression: {argument.flag} "{" ".join([str(first), *extra])}".'
        return ""

    def _invalid_value(self, invalid: _InvalidValue) -> NbflowError:
        argument, error = invalid.argument, invalid.error
        if isinstance(error, BadValue):
            shown = argument.flag or argument.shown
            sentence, hint = (text.replace("{shown}", shown) for text in (error.sentence, error.hint))
            return self.texts.error(sentence, hint=hint)
        text = self.texts.bad_value.format(
            line=self.line, shown=invalid.shown, flag=argument.flag, error=str(error).rstrip("."), text=invalid.text
        )
        return self._usage_error(text, _example(argument))

    def _option_error(self, error: argparse.ArgumentError) -> NbflowError:
        argument = next(argument for argument in self.arguments if "/".join(argument.flags) == error.argument_name)
        flag, shown = argument.flag, argument.flags_shown
        if error.message.startswith("ignored explicit argument"):
            return self._usage_error(f"{self.line}: {flag} takes no value.", f"Write {flag} alone.")
        if error.message == "expected one argument":
            text = self.texts.no_value.format(line=self.line, flag=flag, shown=shown)
            return self._usage_error(text, _example(argument))
        return self._usage_error(f"{self.line}: argument {shown}: {error.message}.")

    def usage_line(self) -> str:
        """``nbflow dags pause [-h] dag_id``"""
        return " ".join(self.format_usage().removeprefix("usage: ").split())


class _Help(argparse.Action):
    """``-h``: print the help of the whole parser, which includes the positional arguments."""

    def __init__(self, option_strings: Sequence[str], dest: str, parser: Parser) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS)
        self.parser = parser

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self.parser.print_help()
        raise AssertionError


def _default(argument: Argument) -> Any:
    return list(argument.default or ()) if argument.repeated else argument.default


def _example(argument: Argument) -> str:
    return f"For example: {argument.flag} {argument.example}" if argument.example and argument.flag else ""


def _is_option(word: str) -> bool:
    """Not ``-`` (standard input), not ``-3``, and not a text with spaces that begins with a dash."""
    return len(word) > 1 and word[0] == "-" and " " not in word and not re.fullmatch(r"-\d+|-\d*\.\d+", word)


def _add_positional(parser: argparse.ArgumentParser, argument: Argument, *, optional: bool = False) -> None:
    if argument.repeated:
        nargs: str | None = "+" if argument.required and not optional else "*"
    else:
        nargs = None if argument.required and not optional and not argument.flags else "?"
    default = None if optional else argument.default  # argparse would parse SUPPRESS as a value
    options: dict[str, Any] = {"choices": argument.choices} if argument.choices else {}
    parser.add_argument(
        argument.name,
        nargs=nargs,
        type=_reader(argument, argument.shown),
        metavar=argument.metavar or None,
        default=default,
        help=argument.help,
        **options,
    )


def _add_option(parser: argparse.ArgumentParser, argument: Argument, **options: Any) -> None:
    options = {"default": argument.default, "dest": argument.name, "help": argument.help, **options}
    if argument.type is SWITCH:
        const = True if argument.const is None else argument.const
        parser.add_argument(*argument.flags, action="store_const", const=const, **options)
        return
    if argument.choices:
        options["choices"] = argument.choices
    if argument.const is not None:
        options |= {"nargs": "?", "const": argument.const}
    if argument.repeated:
        options["action"] = "append"
    metavar = argument.metavar or (None if argument.choices else argument.type.metavar or argument.name.upper())
    parser.add_argument(*argument.flags, type=_reader(argument, argument.flags_shown), metavar=metavar, **options)


# --------------------------------------------------------------------------------------------------------------- lines


def split_line(line: str, text: str, texts: ErrorTexts) -> list[str]:
    """Split ``text`` into words as a shell does; ``line`` is the command before it, for the error."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise texts.error(f"{line} {text.strip()}: {str(error).lower()}.", hint="Close the quote.") from None


def values_of(arguments: Iterable[Argument], values: Mapping[str, Any]) -> Values:
    """Values by argument name, from code, with defaults for the rest. Raises UsageError for an unknown name or a
    missing required argument."""
    declared = {argument.name: argument for argument in arguments}
    for name in values:
        if name not in declared:
            hint = f"Arguments: {', '.join(declared)}."
            raise UsageError(f"Unknown argument {name!r}.{did_you_mean(name, declared)}", hint=hint)
    missing = [name for name, argument in declared.items() if argument.required and values.get(name) is None]
    if missing:
        raise UsageError(f"Missing arguments: {', '.join(missing)}.")
    return Values(**{**{name: _default(argument) for name, argument in declared.items()}, **values})


TYPES: Mapping[str, Type] = MappingProxyType(
    {
        type.name: type
        for type in (
            TEXT, SWITCH, DAG, TASK, RUN, DATE, WHOLE, INTEGER, NUMBER, JSON, PAIR, DURATION, NAMES, PATTERN, CRON,
            FILE, VARIABLE, CONNECTION, POOL, BACKFILL, LAB, QUIZ,
        )
    }
)  # fmt: skip
"""Types by name."""
