"""Which names a cell needs, held to what Python itself misses when the cell runs."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.sources.free_names import read_code, unresolved

NAMES = ("a", "b", "c", "d", "e")
name = st.sampled_from(NAMES)


class Anything:
    """A value that takes part in whatever the generated programs do."""

    def __call__(self, *args: object, **kwargs: object) -> Anything:
        return self

    def __iter__(self) -> object:
        return iter([self])

    def __enter__(self) -> Anything:
        return self

    def __exit__(self, *args: object) -> None: ...

    def __getattr__(self, asked: str) -> Anything:
        if asked.startswith("__"):
            raise AttributeError(asked)
        return self

    def __add__(self, other: object) -> Anything:
        return self

    __radd__ = __iadd__ = __getitem__ = __add__


#: Statements in which every part runs once; {0} ... {3} are names.
STATEMENTS = (
    "{0} = {1}",
    "{0}: {1} = {2}",
    "{0} = {0} + {1}",
    "for {0} in {1}: {2}",
    "[{0} + {1} for {0} in {2}]",
    "[{0} for {0} in {1} for {2} in {0}]",
    "{{{0}: {1} for {0} in {2} if ({3} := {0})}}",
    "(lambda {0}, {1}={2}: {0} + {1} + {3})({2})",
    "def {0}({1}={2}, *{3}): return {1}\n{0}()",
    "def {0}({1}: {2} = 0) -> {3}: return {1}\n{0}()",
    "def {0}():\n    {1} = {2}\n    def inner(): return {1} + {3}\n    return inner()\n{0}()",
    "def {0}():\n    global {1}\n    {1} = {2}\n{0}()",
    "def {0}():\n    {1} = 1\n    del {1}\n    {2}\n{0}()",
    "class {0}:\n    {1} = {2}\n    def m(self): return __class__, {3}\n{0}().m()",
    "with {0} as {1}: {2}",
    "try:\n    raise ValueError\nexcept ValueError as {0}:\n    {1}",
    "match {{'k': {0}}}:\n    case {{'k': {1}}}: {2}",
    "import os.path as {0}\n{1}",
    "from os import path as {0}, sep as {1}",
    "async def {0}(): return {1}\n_ = {0}().close()",
    "f'{{{0}}} {{{1}:{{{2}}}}}'",
    "({0} := {1})",
)


@st.composite
def programs(draw: st.DrawFn) -> str:
    shapes = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=5))
    return "\n".join(shape.format(*(draw(name) for _ in range(4))) for shape in shapes)


def missed_by_python(program: str) -> set[str]:
    """Names that Python asks for in vain, giving it each one that it has asked for."""
    given_names: dict[str, object] = {}
    while True:
        space: dict[str, object] = {"__name__": "cell", **given_names}
        try:
            exec(compile(program, "<cell>", "exec"), space)
        except NameError as error:
            if isinstance(error, UnboundLocalError) or error.name is None or error.name in given_names:
                return set(given_names)
            given_names[error.name] = Anything()
            continue
        except Exception:  # the program went wrong otherwise, and we cannot see past it
            return set(given_names)
        return set(given_names)


@given(programs())
def test_every_name_that_python_misses_is_found(program: str) -> None:
    # Given a program that Python can compile
    try:
        compile(program, "<cell>", "exec")
    except SyntaxError:
        return
    code = read_code(program)
    # When it is run with nothing but what it asked for
    missed = missed_by_python(program)
    # Then what it asked for was known before, unless it binds that name itself somewhere
    assert missed - code.defined <= set(unresolved(code, ()))


@given(programs())
def test_no_name_is_asked_for_that_is_not_there(program: str) -> None:
    # Given any program
    code = read_code(program)
    if code.error is not None:
        return
    # Then it asks only for names that it mentions, and for none that it binds at its top level
    assert set(unresolved(code, ())) <= code.mentioned - code.defined
    # And for nothing once it has all of them
    assert unresolved(code, unresolved(code, ())) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("del x", ["x"]),
        ("x = 1\ndel x", []),
        ("x: int", []),
        ("x: int\ny = x", ["x"]),
        ("def f():\n    x: int = 1\n    return x", []),
        ("from __future__ import annotations\ndef f(a: A) -> B:\n    c: C = 1", []),
        ("def f(a: A) -> B: ...", ["A", "B"]),
        ("class C:\n    a = 1\n    def m(self): return a", ["a"]),
        ("print(__name__, __file__, len)", []),
        ("try: ...\nexcept Odd: ...", ["Odd"]),
        ("z\ny\nz", ["z", "y"]),
        ("await x", ["x"]),
    ],
)
def test_names_that_come_from_outside(text: str, missing: list[str]) -> None:
    # Given a cell, its free names are those that only its surroundings could give, in order of use
    assert unresolved(read_code(text), ()) == missing


@pytest.mark.parametrize(
    ("text", "magics", "defined"),
    [
        ("%matplotlib inline\nx = 1", ((1, "%matplotlib inline"),), {"x"}),
        ("files = !ls", ((1, "files = !ls"),), {"files"}),
        ("x = %time f()", ((1, "x = %time f()"),), {"x"}),
        ("df.head?", ((1, "df.head?"),), set()),
        ("if x:\n    !ls", ((2, "!ls"),), set()),
        ("!ls \\\n  -l\ny = 1", ((1, "!ls -l"),), {"y"}),
        ("x = (5\n% 3)", (), {"x"}),
        ("s = '''\n%not magic\n!ls\n'''", (), {"s"}),
    ],
)
def test_lines_of_ipython_are_blanked_and_remembered(
    text: str, magics: tuple[tuple[int, str], ...], defined: set[str]
) -> None:
    # Given a cell with lines that only IPython understands, or that merely look so
    code = read_code(text)
    # Then those lines are known, and the rest is read as Python
    assert (code.error, code.magics, set(code.defined)) == (None, magics, defined)


@given(st.text(max_size=60))
def test_any_text_is_read_or_is_an_error(text: str) -> None:
    # Given anything that someone may have typed
    code = read_code(text)
    # Then it compiles, or the error is data
    assert code.error is not None or isinstance(code.tree, ast.Module)
