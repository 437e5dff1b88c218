"""Rendering template fields: which values are templates, and how they are rendered.

A field is text, or tuples, lists, sets and dicts (their values, not their keys) of text at any depth. Text that ends in
one of the operator's ``template_ext`` is the name of a template file. A value with a ``resolve(context)`` method (an
XComArg) is replaced by its resolved value; an object with ``template_fields`` is copied, and the copy's fields are
rendered. Rendering happens once: its result (a value of ``dag_run.conf``, for example) is not rendered again.

jinja2 is imported for the first real template. Text without template marks gives the same result as in Jinja.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbflow.errors import NbflowError, shortened

MAX_SHOWN_CHARACTERS = 200
"""Number of characters that an error shows of a field that cannot be rendered."""

_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True, slots=True)
class literal:
    """A value that is neither a template nor a file name: ``bash_command=literal("run.sh")``."""

    value: Any

    def resolve(self, context: Mapping[str, Any]) -> Any:
        return self.value


def render(
    value: Any, context: Mapping[str, Any], *, dag: Any = None, env: Any = None, template_ext: Sequence[str] = ()
) -> Any:
    """Return ``value`` with every template in it rendered; containers are copied.

    ``env``: a jinja2 environment to use instead of the DAG's. Raises jinja2's UndefinedError for an unknown name.
    """
    return _Renderer(context, dag, env, template_ext).any(value)


def render_fields(task: Any, context: Mapping[str, Any], *, dag: Any = None, env: Any = None) -> dict[str, Any]:
    """Render the task's ``template_fields`` in place. Returns the fields that rendering changed.

    Raises AttributeError, which names the field, for a field that the task does not have.
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
        except NbflowError:  # its message names the place
            raise
        except Exception as error:
            shown = shortened(repr(value), MAX_SHOWN_CHARACTERS)
            error.add_note(f"Rendering {name} of task {task.task_id!r}: {shown}")
            raise
        setattr(task, name, rendered)
        if renderer.changed:
            changed[name] = rendered
    return changed


def holds_template(value: Any, template_ext: Sequence[str] = (), depth: int = 0) -> bool:
    """Whether a value holds a template (or the name of a template file); attributes of objects are not searched."""
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS) or (bool(template_ext) and value.endswith(tuple(template_ext)))
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return False
    return depth < 64 and any(holds_template(item, template_ext, depth + 1) for item in value)


class _Renderer:
    """One traversal of a value. ``changed``: whether rendering changed a leaf. ``_visited``: ids of visited objects,
    so that objects which refer to each other do not cause endless recursion."""

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
        self._visited: set[int] = set()
        self.changed = False

    def any(self, value: Any) -> Any:
        walk = _WALKS.get(type(value))
        return walk(self, value) if walk is not None else self._other(value)

    def text(self, value: str) -> Any:
        is_file = bool(self._ext) and value.endswith(self._ext)
        if not is_file and not self._native and not any(mark in value for mark in _MARKS) and "\r" not in value:
            self.changed = self.changed or value.endswith("\n")
            return value.removesuffix("\n")  # Jinja removes one trailing newline
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
        if callable(resolve := getattr(value, "resolve", None)) and not isinstance(value, type | Path):
            self.changed = True
            return resolve(self._context)  # an XCom is data, so it is not rendered
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
        if (
            not isinstance(fields, list | tuple | set | frozenset)
            or isinstance(value, type)
            or id(value) in self._visited
        ):
            return value
        self._visited.add(id(value))
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
