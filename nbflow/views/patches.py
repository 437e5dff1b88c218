"""The difference between two states of a view, as operations on its JSON.

A patch is a list of operations, applied in order:

``{"op": "set", "path": [...], "value": x}``
    Set a member of an object or an item of a list. The path ``[]`` sets the whole document.
``{"op": "set", "path": [..., id], "value": row, "before": other}``
    Insert a row into a list, before the row with the id ``other`` (null: at the end).
``{"op": "remove", "path": [...]}``
    Remove a member of an object or a row of a list.

A step of a path is a string or an integer. In an object, a string names a member. In a list, a string names the row
with that ``id``, and an integer is an index. A list is a list of rows if all its items are objects with a unique string
``id``; adding or removing a row then takes one operation. Reordered lists of rows, and other lists whose length
changed, are set as a whole.

``apply_patch(a, patch(a, b)) == b``. An operation whose path does not exist raises StalePatch: the patch starts from
another state, and the client must fetch the view again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbflow.errors import StalePatch

Step = str | int
Operation = Mapping[str, Any]


def patch(before: Any, after: Any) -> list[Operation]:
    """Return the operations that turn one JSON value into another; an empty list if they are equal."""
    return list(_changes(before, after, ()))


def _changes(before: Any, after: Any, path: tuple[Step, ...]) -> Iterator[Operation]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    elif type(before) is not type(after) or before != after:  # in JSON, true is not 1
        yield _set(path, after)


def _of_objects(before: dict[str, Any], after: dict[str, Any], path: tuple[Step, ...]) -> Iterator[Operation]:
    for name in before:
        if name not in after:
            yield _remove((*path, name))
    for name, value in after.items():
        if name not in before:
            yield _set((*path, name), value)
        else:
            yield from _changes(before[name], value, (*path, name))


def _of_lists(before: list[Any], after: list[Any], path: tuple[Step, ...]) -> Iterator[Operation]:
    old, new = _rows(before), _rows(after)
    if old and new:
        yield from _of_rows(old, new, path) if _same_order(old, new) else [_set(path, after)]
    elif len(before) == len(after):
        for index, (old_item, new_item) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old_item, new_item, (*path, index))
    else:
        yield _set(path, after)


def _rows(items: list[Any]) -> dict[str, Any]:
    """The rows of the list by id; empty if it is not a list of rows."""
    rows = {item["id"]: item for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)}
    return rows if len(rows) == len(items) else {}


def _same_order(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return [row for row in old if row in new] == [row for row in new if row in old]


def _of_rows(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[Step, ...]) -> Iterator[Operation]:
    for row in old:
        if row not in new:
            yield _remove((*path, row))
    next_rows: list[str | None] = [*list(new)[1:], None]
    # From the end: the row named by "before" must exist when the operation is applied.
    for row, next_row in reversed(list(zip(new, next_rows, strict=True))):
        if row not in old:
            yield _set((*path, row), new[row]) | {"before": next_row}
        else:
            yield from _changes(old[row], new[row], (*path, row))


def _set(path: Sequence[Step], value: Any) -> dict[str, Any]:
    return {"op": "set", "path": list(path), "value": value}


def _remove(path: Sequence[Step]) -> dict[str, Any]:
    return {"op": "remove", "path": list(path)}


# ------------------------------------------------------------------------------------------------------------ applying


def apply_patch(document: Any, operations: Sequence[Operation]) -> Any:
    """Return the document with the operations applied; the given document is not changed. Raises StalePatch."""
    for operation in operations:
        document = _applied(document, operation["path"], operation)
    return document


def _applied(node: Any, path: Sequence[Step], operation: Operation) -> Any:
    if not path:
        return operation["value"]
    if isinstance(node, dict):
        return _in_object(node, path, operation)
    if isinstance(node, list):
        return _in_list(node, path, operation)
    raise _stale(operation)


def _in_object(node: dict[str, Any], path: Sequence[Step], operation: Operation) -> dict[str, Any]:
    name, last = path[0], len(path) == 1
    if last and operation["op"] == "set":
        return {**node, str(name): operation["value"]}
    if name not in node:
        raise _stale(operation)
    if last:
        return {other: value for other, value in node.items() if other != name}
    return {**node, str(name): _applied(node[str(name)], path[1:], operation)}


def _in_list(node: list[Any], path: Sequence[Step], operation: Operation) -> list[Any]:
    step, last = path[0], len(path) == 1
    if last and "before" in operation:
        other = operation["before"]
        index = len(node) if other is None else _index(node, other, operation)
        return [*node[:index], operation["value"], *node[index:]]
    index = _index(node, step, operation)
    if last and operation["op"] == "remove":
        return [*node[:index], *node[index + 1 :]]
    return [*node[:index], _applied(node[index], path[1:], operation), *node[index + 1 :]]


def _index(node: list[Any], step: Step, operation: Operation) -> int:
    """Index of the item that a step names."""
    if isinstance(step, int):
        if 0 <= step < len(node):
            return step
    else:
        for index, item in enumerate(node):
            if isinstance(item, dict) and item.get("id") == step:
                return index
    raise _stale(operation)


def _stale(operation: Operation) -> StalePatch:
    return StalePatch(f"The patch starts from another state of the view: this one has no {operation['path']}.")
