"""Rendering template fields: which values hold templates, and what becomes of them.

A field is text, or tuples, lists, sets and dicts (their values, not their keys) of it at any depth. Text that ends in
one of the operator's ``template_ext`` names a file. A value with a ``resolve(context)`` method (an XComArg) is replaced
by what it resolves to; an object with ``template_fields`` of its own is rendered in place. Rendering happens once: what
a template produced (``dag_run.conf``, say) is never read as a template again.

jinja2 is imported when the first real template turns up. Text without braces comes out as Jinja would give it back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbflow.errors import NbflowError, shortened

MOST_SHOWN_CHARACTERS = 200
"""Of a field that cannot be rendered, in the error."""

_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True, slots=True)
class literal:
    """Text that is no template and no file name: ``bash_command=literal("run.sh")``."""

    value: Any

    def resolve(self, context: Mapping[str, Any]) -> Any:
        return self.value

    def iter_references(self) -> tuple[()]:
        return ()


def render(
    value: Any, context: Mapping[str, Any], *, dag: Any = None, env: Any = None, template_ext: Sequence[str] = ()
) -> Any:
    """``value`` with every template in it rendered; containers are new ones.

    ``env`` (a jinja2 environment) stands in for the DAG's own. Raises jinja2's UndefinedError for an unknown name.
    """
    return _Renderer(context, dag, env, template_ext).any(value)


def render_fields(task: Any, context: Mapping[str, Any], *, dag: Any = None, env: Any = None) -> dict[str, Any]:
    """Render the task's ``template_fields`` in place; returns those that rendering changed.

    Raises AttributeError naming a field that the task does not have.
    """
    native = getattr(task, "render_template_as_native_obj", None)
    renderer = _Renderer(context, dag, env, getattr(task, "template_ext", None), native=native)
    changed: dict[str, Any] = {}
    for name in task.template_fields:
        try:
            value = getattr(task, name)
        except AttributeError:
            raise AttributeError(
                f"{name!r} is in template_fields of {type(task).__name__}, but the task has no such attribute; set it "
                "in __init__."
            ) from None
        if not value:
            continue
        renderer.changed = False
        try:
            rendered = renderer.any(value)
        except NbflowError:  # says its place
            raise
        except Exception as error:
            what = shortened(repr(value), MOST_SHOWN_CHARACTERS)
            error.add_note(f"Rendering {name} of task {task.task_id!r}: {what}")
            raise
        setattr(task, name, rendered)
        if renderer.changed:
            changed[name] = rendered
    return changed


def holds_template(value: Any, template_ext: Sequence[str] = (), depth: int = 0) -> bool:
    """Whether there is a template (or the name of a template file) in a value; objects are not looked into."""
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS) or (bool(template_ext) and value.endswith(tuple(template_ext)))
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return False
    return depth < 64 and any(holds_template(item, template_ext, depth + 1) for item in value)


class _Renderer:
    """One walk. ``changed`` tells whether some leaf came out as another object; ``_seen`` keeps the walk from following
    objects that refer to each other around for ever."""

    def __init__(
        self,
        context: Mapping[str, Any],
        dag: Any,
        env: Any,
        template_ext: Sequence[str] | None,
        *,
        native: bool | None = None,
    ) -> None:
        self._context, self._dag, self._env, self._ext = context, dag, env, tuple(template_ext or ())
        self._native = bool(getattr(dag, "render_template_as_native_obj", False)) if native is None else native
        if env is not None:
            self._native = _is_native(env)
        self._seen: set[int] = set()
        self.changed = False

    def any(self, value: Any) -> Any:
        walk = _WALKS.get(type(value))
        return walk(self, value) if walk is not None else self._other(value)

    def text(self, value: str) -> Any:
        is_file = bool(self._ext) and value.endswith(self._ext)
        if not is_file and not self._native and not any(mark in value for mark in _MARKS) and "\r" not in value:
            self.changed = self.changed or value.endswith("\n")
            return value.removesuffix("\n")  # as Jinja, which drops one newline at the end
        self.changed = True
        from nbflow.authoring import jinja

        env = self._env or jinja.environment(self._dag, native=self._native)
        template = jinja.template_of_file(env, value) if is_file else jinja.template_of_text(env, value)
        return jinja.render(env, template, self._context)

    def list(self, value: list[Any]) -> Any:
        return [self.any(item) for item in value]

    def tuple(self, value: tuple[Any, ...]) -> Any:
        return tuple([self.any(item) for item in value])

    def set(self, value: set[Any]) -> Any:
        return {self.any(item) for item in value}

    def dict(self, value: dict[Any, Any]) -> Any:
        return {key: self.any(item) for key, item in value.items()}

    def _other(self, value: Any) -> Any:
        if callable(resolve := getattr(value, "resolve", None)) and not isinstance(value, type):
            self.changed = True
            return resolve(self._context)  # what an XCom holds is data, not a template
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.any(item) for item in value))
        for base, walk in _WALKS.items():
            if isinstance(value, base):
                return walk(self, value)
        return self._nested(value)

    def _nested(self, value: Any) -> Any:
        fields = getattr(value, "template_fields", None)
        if not isinstance(fields, list | tuple | set | frozenset) or isinstance(value, type) or id(value) in self._seen:
            return value
        self._seen.add(id(value))
        rendered = copy.copy(value)
        for name in fields:
            setattr(rendered, name, self.any(getattr(value, name)))
        return rendered


_WALKS: dict[type, Callable[[_Renderer, Any], Any]] = {
    str: _Renderer.text,
    list: _Renderer.list,
    tuple: _Renderer.tuple,
    dict: _Renderer.dict,
    set: _Renderer.set,
    type(None): lambda _, value: value,
    bool: lambda _, value: value,
    int: lambda _, value: value,
    float: lambda _, value: value,
}


def _is_native(env: Any) -> bool:
    from jinja2.nativetypes import NativeEnvironment

    return isinstance(env, NativeEnvironment)
