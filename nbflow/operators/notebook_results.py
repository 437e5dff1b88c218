"""Results of a notebook that runs as a task: the notebook writes them, the task reads them from its outputs.

``glue("rows", 42)`` in a cell writes a named value to the cell's output, as JSON with nbflow's MIME type, which other
front ends ignore. ``glued_results`` collects the values; the last value of a name is used. The scraps of the package
scrapbook (``scrapbook.glue``) are read, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbflow import serde
from nbflow.errors import NbflowError

GLUE_MIME = "application/vnd.nbflow.glue+json"
SCRAP_MIMES = ("application/scrapbook.scrap.json+json", "application/scrapbook.scrap.text+json")


def glue(name: str, value: Any, *, display: bool = True) -> None:
    """Set the notebook's result ``name`` to ``value``. With ``display=False`` the output shows no text.

    Raises SerializationError for a value that an XCom cannot hold.
    """
    if not isinstance(name, str) or not name:
        raise NbflowError(f"The name of a result must be text, not {name!r}.")
    data = {"name": name, "data": serde.encode(value, f"glue({name!r})")}
    from IPython.display import display as show

    text = {"text/plain": f"{name} = {value!r}"} if display else {"text/plain": ""}
    show({GLUE_MIME: data, **text}, raw=True)


def glued_results(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """name -> value of the results in an executed notebook (as nbformat reads it)."""
    results: dict[str, Any] = {}
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data = output.get("data") or {}
            if GLUE_MIME in data:
                results[data[GLUE_MIME]["name"]] = serde.decode(data[GLUE_MIME]["data"])
            for mime in SCRAP_MIMES:
                if mime in data:
                    results[data[mime]["name"]] = data[mime]["data"]
    return results
