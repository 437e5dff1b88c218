"""Results of a notebook that runs as a task: written in the notebook, read from its outputs.

``glue("rows", 42)`` in a cell puts a named value into the cell's output, as JSON under a MIME type of our own, where it
does no harm to a reader who does not know it. ``glued`` collects them; the last value of a name counts. The scraps of
the package scrapbook (``scrapbook.glue``) are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbflow import serde
from nbflow.errors import NbflowError

GLUE_MIME = "application/vnd.nbflow.glue+json"
SCRAP_MIMES = ("application/scrapbook.scrap.json+json", "application/scrapbook.scrap.text+json")


def glue(name: str, value: Any, *, display: bool = True) -> None:
    """Make ``value`` the notebook's result ``name``. ``display=False`` shows no line of text beside it.

    Raises SerializationError for what an XCom cannot hold either.
    """
    if not isinstance(name, str) or not name:
        raise NbflowError(f"The name of a result is text, not {name!r}.")
    data = {"name": name, "data": serde.encode(value, f"glue({name!r})")}
    from IPython.display import display as show

    text = {"text/plain": f"{name} = {value!r}"} if display else {"text/plain": ""}
    show({GLUE_MIME: data, **text}, raw=True)


def glued(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """name -> value, of an executed notebook (as nbformat reads it)."""
    found: dict[str, Any] = {}
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data = output.get("data") or {}
            if GLUE_MIME in data:
                found[data[GLUE_MIME]["name"]] = serde.decode(data[GLUE_MIME]["data"])
            for mime in SCRAP_MIMES:
                if mime in data:
                    found[data[mime]["name"]] = data[mime]["data"]
    return found
