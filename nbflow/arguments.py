"""Arguments as data, and the one parser made from them: of ``nbflow``, ``%dag`` and ``%%dag`` lines alike.

An :class:`Argument` says its name, its type, how it is spelled and what it is for. Its :class:`Type` is a row of a
small table: how a text is read, what completes it, its JSON Schema. The parser is argparse underneath. Its rules:

* It never exits: what is wrong is raised, in one line that names the fault and the way out.
* Options may stand between words. What follows ``--`` is words.
* An argument may have a place among the words and flags too (``RUN`` and ``--run RUN``); given as an option, it leaves
  its place to the next one.
* Options are never abbreviated; an unknown one is answered with the nearest.

A surface has a :class:`Voice`: which error it raises and how it words what several arguments have in common.
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

from nbflow.errors import NbflowError, did_you_mean

Values = argparse.Namespace
"""Arguments that were read, by name; what was not given has its default."""


class UsageError(NbflowError):
    """A line makes no sense: an unknown option, a value that cannot be read. A command's exit code is 2."""


class BadValue(ValueError):
    """A text that cannot be read, worded as a sentence of its own; ``{shown}`` in it is the argument."""

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.hint = sentence, hint


# --------------------------------------------------------------------------------------------------------------- types


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """What kind of value an argument takes. ``read`` raises ValueError with what it wants instead."""

    name: str
    read: Callable[[str], Any] = str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    """JSON Schema of the value in a request."""
    metavar: str = ""
    """What help shows for the value of an option."""
    completes: str = ""
    """What Tab offers: dag, task, run, file; empty: nothing, or the choices."""


def _whole(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError(f"a whole number from 1 on, not {text!r}")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a whole number, not {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"a number, not {text!r}") from None


def _json_object(text: str) -> dict[str, Any]:
    from nbflow.authoring.params import read_conf
    from nbflow.errors import ParamValidationError

    try:
        return read_conf(text) if text else {}
    except ParamValidationError as error:
        raise BadValue(f"{{shown}} {error}", hint="""Write: {shown} '{"day": 1}'""") from None


def _pair(text: str) -> dict[str, Any]:
    """``name=value``, the value as JSON where it is JSON: ``rows=10``, ``country=DE``, ``"ids=[1, 2]"``."""
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadValue(f"{text!r} is no NAME=VALUE.", hint="Write: -p rows=10")
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
        raise ValueError("give seconds, or a number with s, min, h or d: 90, 5min, 2h")
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
"""It takes no value: given, it is true."""
DAG = Type(name="DAG", metavar="DAG_ID", completes="dag")
TASK = Type(name="TASK", metavar="TASK", completes="task")
RUN = Type(name="RUN", metavar="RUN", completes="run")
"""A run id, or a logical date."""
DATE = Type(name="DATE", metavar="DATE", schema={**_TEXT, "format": "date-time"})
"""Text as typed: who carries out the command knows the time zone and what ``today`` is."""
WHOLE = Type(name="WHOLE", metavar="N", read=_whole, schema={"type": "integer", "minimum": 1})
INTEGER = Type(name="INTEGER", metavar="N", read=_integer, schema={"type": "integer"})
NUMBER = Type(name="NUMBER", metavar="N", read=_number, schema={"type": "number"})
JSON = Type(name="JSON", metavar="JSON", read=_json_object, schema={"type": "object"})
PAIR = Type(name="PAIR", metavar="NAME=VALUE", read=_pair, schema={"type": "object"})
DURATION = Type(name="DURATION", read=_duration, schema={**_TEXT, "format": "duration"})
NAMES = Type(name="NAMES", metavar="A,B", read=_names, schema={"type": "array", "items": _TEXT})
PATTERN = Type(name="PATTERN", metavar="REGEX", read=_pattern, schema={**_TEXT, "format": "regex"})
CRON = Type(name="CRON", metavar="CRON")
"""A cron expression or a preset: text whose spaces are easily left unquoted."""
VARIABLE = Type(name="VARIABLE", completes="variable")
CONNECTION = Type(name="CONNECTION", completes="connection")
POOL = Type(name="POOL", completes="pool")
BACKFILL = Type(name="BACKFILL", read=_integer, schema={"type": "integer"}, completes="backfill")
"""Number of a backfill."""
LAB = Type(name="LAB", completes="lab")
QUIZ = Type(name="QUIZ", completes="quiz")
FILE = Type(name="FILE", metavar="FILE", completes="file")


# ----------------------------------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument; :func:`argument` writes it shorter. With ``place`` it stands among the words, with ``flags`` it is
    an option, with both it may be given either way."""

    name: str
    help: str
    type: Type = TEXT
    place: bool = False
    flags: tuple[str, ...] = ()
    default: Any = None
    required: bool = False
    repeated: bool = False
    """It may be given more than once (an option), or takes all words that are left (a place); the value is a list."""
    choices: tuple[str, ...] = ()
    metavar: str = ""
    const: Any = None
    """The value of an option that is given without one."""
    example: str = ""

    @property
    def flag(self) -> str:
        """The flag that is offered and shown: its first long one."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0] if self.flags else "")

    @property
    def shown(self) -> str:
        """How help and errors call it."""
        return self.metavar or self.name if self.place else self.flags_shown

    @property
    def flags_shown(self) -> str:
        """``-n/--number``: its first short flag and its first long one."""
        short = next((flag for flag in self.flags if not flag.startswith("--")), "")
        return "/".join(filter(None, [short if short != self.flag else "", self.flag]))


def argument(*spellings: str, help: str = "", name: str = "", type: Type = TEXT, **options: Any) -> Argument:
    """An argument by its spellings: a word for its place, flags for an option, both for either. Its name is that word,
    or the first long flag. What has a place is required unless it has a default, is repeated, or says otherwise."""
    words = [word for word in spellings if not word.startswith("-")]
    flags = tuple(word for word in spellings if word.startswith("-"))
    long = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else "")
    place = bool(words)
    optional = not place or options.get("repeated") or options.get("default") is not None
    options.setdefault("required", not optional)
    called = name or (words[0] if words else long.lstrip("-").replace("-", "_"))
    if type is SWITCH:
        options.setdefault("default", False)
    return Argument(name=called, help=help, type=type, place=place, flags=flags, **options)


def switch(*flags: str, help: str, name: str = "", **options: Any) -> Argument:
    """An option without a value: true if it is given."""
    return argument(*flags, help=help, name=name, type=SWITCH, **options)


# -------------------------------------------------------------------------------------------------------------- voices


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How a surface words what can go wrong with any line. ``{line}`` is the command, ``{usage}`` its usage."""

    no_option: str
    too_many: str
    bad_value: str
    no_value: str
    way_out: str
    """The hint where nothing nearer is known."""
    error: type[NbflowError] = UsageError


TERMINAL = Voice(
    no_option="{line}: there is no option {option}.",
    too_many="{line}: one argument too many: {word!r}.",
    bad_value="{line}: argument {shown}: {fault}.",
    no_value="{line}: argument {shown}: expected one argument.",
    way_out="Usage: {usage}",
)
NOTEBOOK = Voice(
    no_option="{line} has no option {option}.",
    too_many="{line}: {word!r} is one argument too many.",
    bad_value="{line}: argument {shown}: {fault}.",
    no_value="{line}: {flag} needs a value.",
    way_out="Help: {line}?",
)


class HelpWanted(Exception):
    """Help was asked for; the message is the help."""


# -------------------------------------------------------------------------------------------------------------- parser


class _Fault(Exception):
    """What argparse found wrong with one of its actions."""


class _Raw(argparse.ArgumentParser):
    """argparse without its exits."""

    def error(self, message: str) -> NoReturn:
        raise _Fault(message)

    def print_help(self, file: Any = None) -> None:
        raise HelpWanted(self.format_help().rstrip())


class _Unread(Exception):
    """A text that an argument cannot read. No ValueError: argparse would replace its words."""

    def __init__(self, argument: Argument, shown: str, text: str, fault: Exception) -> None:
        super().__init__(argument, text, fault)
        self.argument, self.shown, self.text, self.fault = argument, shown, text, fault


def _reader(one: Argument, shown: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return one.type.read(text)
        except (ValueError, NbflowError) as fault:
            raise _Unread(one, shown, text, fault) from None

    return read


class Parser(_Raw):
    """The parser of one line. ``absent(option)`` may say why an unknown option is not there."""

    def __init__(
        self,
        line: str,
        arguments: Iterable[Argument],
        *,
        voice: Voice,
        description: str = "",
        more: str = "",
        absent: Callable[[str], str | None] = lambda option: None,
    ) -> None:
        super().__init__(
            prog=line,
            description=description,
            epilog=more or None,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.line, self.voice, self.absent = line, voice, absent
        self.arguments = tuple(arguments)
        for one in self.arguments:
            if one.place:
                _add_place(self, one)
            if one.flags:
                _add_option(self, one, required=one.required and not one.place)

    def parse(self, words: Sequence[str]) -> Values:
        """The values of a line. Raises the voice's error, or HelpWanted."""
        try:
            values = self._read(list(words))
        except _Unread as unread:
            raise self._bad_value(unread) from None
        except _Fault as fault:
            raise self._failed(f"{self.line}: {fault}.") from None
        for one in self.arguments:
            if not hasattr(values, one.name):
                setattr(values, one.name, list(one.default or ()) if one.repeated else one.default)
        return values

    def given(self, words: Sequence[str]) -> tuple[str, ...]:
        """The flags of the options that stand on the line, in their order."""
        found, _ = self._options(list(words))
        flags = {one.name: one.flag for one in self.arguments if one.flags}
        return tuple(flags[name] for name in vars(found))

    # --- reading

    def _read(self, words: list[str]) -> Values:
        """Options first, then the words that are left, place by place: argparse alone gives a place the words that
        stand before the first option, and misses those behind it."""
        cut = words.index("--") if "--" in words else len(words)
        values, left = self._options(words[:cut])
        unknown = next((word for word in left if _is_option(word)), None)
        if unknown is not None:
            raise self._no_option(unknown.partition("=")[0])
        left += words[cut + 1 :]
        places = [one for one in self.arguments if one.place and not hasattr(values, one.name)]
        raw = _Raw(prog=self.line, add_help=False, prefix_chars="\0")  # no word is an option here, "-3" neither
        for one in places:
            _add_place(raw, one, optional=True)
        try:
            values, extra = raw.parse_known_args(left, values)
        except _Fault as fault:
            raise self._failed(f"{self.line}: {fault}.") from None
        for one in places:
            if getattr(values, one.name, None) in (None, []):
                values.__dict__.pop(one.name, None)
        if extra:
            raise self._too_many(left, extra, values)
        missing = [one.shown for one in self.arguments if one.required and not hasattr(values, one.name)]
        if missing:
            raise self._failed(f"{self.line}: the following arguments are required: {', '.join(missing)}.")
        return values

    def _options(self, words: list[str]) -> tuple[Values, list[str]]:
        raw = _Raw(prog=self.line, allow_abbrev=False, add_help=False, exit_on_error=False)
        raw.add_argument("-h", "--help", action=_Help, parser=self)
        for one in self.arguments:
            if one.flags:
                _add_option(raw, one, default=argparse.SUPPRESS)
        try:
            return raw.parse_known_args(words)
        except argparse.ArgumentError as fault:
            raise self._option_fault(fault) from None

    # --- wording

    def _failed(self, text: str, hint: str = "") -> NbflowError:
        return self.voice.error(text, hint=hint or self.voice.way_out.format(line=self.line, usage=self.usage_line()))

    def _no_option(self, option: str) -> NbflowError:
        why = self.absent(option)
        if why is not None:
            return self.voice.error(why)
        known = [flag for one in self.arguments for flag in one.flags]
        text = self.voice.no_option.format(line=self.line, option=option)
        return self._failed(text, did_you_mean(option, known).strip())

    def _too_many(self, words: Sequence[str], extra: Sequence[str], values: Values) -> NbflowError:
        text = self.voice.too_many.format(line=self.line, word=extra[0], count=len(words), words=" ".join(words))
        return self._failed(text, self._unquoted(values, extra))

    def _unquoted(self, values: Values, extra: Sequence[str]) -> str:
        """The hint where what is too many looks like the rest of a cron expression."""
        for one in self.arguments:
            if one.type is CRON and (begun := getattr(values, one.name, None)):
                return f'Quote a cron expression: {one.flag} "{" ".join([str(begun), *extra])}".'
        return ""

    def _bad_value(self, unread: _Unread) -> NbflowError:
        one, fault = unread.argument, unread.fault
        if isinstance(fault, BadValue):
            shown = one.flag or one.shown
            sentence, hint = (text.replace("{shown}", shown) for text in (fault.sentence, fault.hint))
            return self.voice.error(sentence, hint=hint)
        said = str(fault).rstrip(".")
        words = {"line": self.line, "shown": unread.shown, "flag": one.flag, "fault": said, "text": unread.text}
        return self._failed(self.voice.bad_value.format(**words), _example(one))

    def _option_fault(self, fault: argparse.ArgumentError) -> NbflowError:
        one = next(one for one in self.arguments if "/".join(one.flags) == fault.argument_name)
        if fault.message.startswith("ignored explicit argument"):
            return self._failed(f"{self.line}: {one.flag} takes no value.", f"Write {one.flag} alone.")
        if fault.message == "expected one argument":
            return self._failed(
                self.voice.no_value.format(line=self.line, flag=one.flag, shown=one.flags_shown), _example(one)
            )
        return self._failed(f"{self.line}: argument {one.flags_shown}: {fault.message}.")

    def usage_line(self) -> str:
        """``nbflow dags pause [-h] dag_id``"""
        return " ".join(self.format_usage().removeprefix("usage: ").split())


class _Help(argparse.Action):
    """``-h`` among the options: the whole parser's help, which knows the places too."""

    def __init__(self, option_strings: Sequence[str], dest: str, parser: Parser) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS)
        self.parser = parser

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self.parser.print_help()
        raise AssertionError


def _example(one: Argument) -> str:
    return f"For example: {one.flag} {one.example}" if one.example and one.flag else ""


def _is_option(word: str) -> bool:
    """Not ``-`` (standard input), not ``-3``, and not a text with spaces that begins with a dash."""
    return len(word) > 1 and word[0] == "-" and " " not in word and not re.fullmatch(r"-\d+|-\d*\.\d+", word)


def _add_place(parser: argparse.ArgumentParser, one: Argument, *, optional: bool = False) -> None:
    if one.repeated:
        nargs: str | None = "+" if one.required and not optional else "*"
    else:
        nargs = None if one.required and not optional and not one.flags else "?"
    default = None if optional else one.default  # SUPPRESS would be read like a text
    options: dict[str, Any] = {"choices": one.choices} if one.choices else {}
    parser.add_argument(
        one.name,
        nargs=nargs,
        type=_reader(one, one.shown),
        metavar=one.metavar or None,
        default=default,
        help=one.help,
        **options,
    )


def _add_option(parser: argparse.ArgumentParser, one: Argument, **options: Any) -> None:
    options = {"default": one.default, "dest": one.name, "help": one.help, **options}
    if one.type is SWITCH:
        parser.add_argument(*one.flags, action="store_const", const=True if one.const is None else one.const, **options)
        return
    if one.choices:
        options["choices"] = one.choices
    if one.const is not None:
        options |= {"nargs": "?", "const": one.const}
    if one.repeated:
        options["action"] = "append"
    metavar = one.metavar or (None if one.choices else one.type.metavar or one.name.upper())
    parser.add_argument(*one.flags, type=_reader(one, one.flags_shown), metavar=metavar, **options)


# --------------------------------------------------------------------------------------------------------------- lines


def split_line(line: str, text: str, voice: Voice) -> list[str]:
    """The words of a line, quotes respected; ``line`` is what stands before them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise voice.error(f"{line} {text.strip()}: {str(error).lower()}.", hint="Close the quote.") from None


def values_of(arguments: Iterable[Argument], given: Mapping[str, Any]) -> Values:
    """Arguments by their names, as a program gives them; what is not given has its default. Raises UsageError for a
    name that is not there, or one that is missing."""
    known = {one.name: one for one in arguments}
    for name in given:
        if name not in known:
            raise UsageError(f"There is no argument {name!r}.{did_you_mean(name, known)}", hint=f"{', '.join(known)}.")
    missing = [name for name, one in known.items() if one.required and given.get(name) is None]
    if missing:
        raise UsageError(f"Missing: {', '.join(missing)}.")
    defaults = {name: list(one.default or ()) if one.repeated else one.default for name, one in known.items()}
    return Values(**{**defaults, **given})


TYPES: Mapping[str, Type] = MappingProxyType(
    {
        one.name: one
        for one in (
            TEXT, SWITCH, DAG, TASK, RUN, DATE, WHOLE, INTEGER, NUMBER, JSON, PAIR, DURATION, NAMES, PATTERN, CRON,
            FILE, VARIABLE, CONNECTION, POOL, BACKFILL, LAB, QUIZ,
        )
    }
)  # fmt: skip
"""Every type, by name."""
