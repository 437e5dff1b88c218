"""The free names of a cell, compared with the names that Python misses when the cell runs."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.sources.free_names import read_code, unresolved

NAMES = ("a", "b", "c", "d", "e")
name = st.sampled_from(NAMES)


class Anything:
    """A value that supports every operation of the generated programs."""

    def __call__(self, *args: object, **kwargs: object) -> Anything:
        return self

    def __iter__(self) -> object:
        return iter([self])

    def __enter__(self) -> Anything:
        return self

    def __exit__(self, *args: object) -> None: ...

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __add__(self, other: object) -> Anything:
        return self

    __radd__ = __iadd__ = __getitem__ = __add__


#: Statements of which every part runs once; {0} ... {3} are names.
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
    "class {0}:\n    {1} = {1}",
    "class {0}:\n    {1} += {2}\n    {3} = {1}",
    "def {0}():\n    {1} = 1\n    class {2}: {1} = {1}\n{0}()",
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
    """The names that raise NameError, each of which is defined before the program runs again."""
    defined: dict[str, object] = {}
    while True:
        space: dict[str, object] = {"__name__": "cell", **defined}
        try:
            exec(compile(program, "<cell>", "exec"), space)
        except NameError as error:
            if isinstance(error, UnboundLocalError) or error.name is None or error.name in defined:
                return set(defined)
            defined[error.name] = Anything()
            continue
        except Exception:  # another error, which hides further NameErrors
            return set(defined)
        return set(defined)


def bound_in_classes(program: str) -> set[str]:
    classes = (node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ClassDef))
    names = (node for body in classes for node in ast.walk(body) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


@given(programs())
def test_every_name_that_python_misses_is_unresolved(program: str) -> None:
    # Given a program that Python can compile
    try:
        compile(program, "<cell>", "exec")
    except SyntaxError:
        return
    code = read_code(program)
    # When it is run until no name is missing
    missed = missed_by_python(program)
    # Then the missing names are those that were unresolved, except names that it binds at the top level or in a class:
    # there a name may be read before it is bound (`class a: b = b`), which symtable does not tell apart
    assert missed - code.defined - bound_in_classes(program) <= set(unresolved(code, ()))


@given(programs())
def test_only_names_in_the_program_are_unresolved(program: str) -> None:
    # Given any program
    code = read_code(program)
    if code.error is not None:
        return
    # Then its unresolved names occur in it, and it does not bind them at the top level
    assert set(unresolved(code, ())) <= code.mentioned - code.defined
    # And none is unresolved if all of them are available
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
def test_the_free_names_of_a_cell(text: str, missing: list[str]) -> None:
    # Given a cell, then its free names are those that it does not define, in the order of their first use
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
def test_lines_of_ipython_are_blanked_and_recorded(
    text: str, magics: tuple[tuple[int, str], ...], defined: set[str]
) -> None:
    # Given a cell with lines in IPython's syntax, or lines that only look so
    code = read_code(text)
    # Then these lines are recorded, and the rest is parsed as Python
    assert (code.error, code.magics, set(code.defined)) == (None, magics, defined)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_has_an_error(text: str) -> None:
    # Given any text
    code = read_code(text)
    # Then it compiles, or it has an error
    assert code.error is not None or isinstance(code.tree, ast.Module)


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ("x = x", {"x"}),
        ("x += 1", {"x"}),
        ("x = [i for i in x]", {"x"}),
        ("def m(self, v=v): ...\n    v = 1", {"v"}),
        ("@d\n    def d(self): ...", {"d"}),
        ("import os\n    y = os.path", set()),
        ("from os import path as p\n    y = p", set()),
        ("def m(self): ...\n    n = m", set()),
        ("try: ...\n    except ValueError as e:\n        z = e", set()),
        ("if True:\n        x = 1\n    y = x", set()),
        ("for i in (): j = i", set()),
    ],
)
def test_a_class_body_needs_what_it_reads_before_it_binds_it(body, needed):
    assert set(unresolved(read_code(f"class A:\n    {body}"), ())) == needed
