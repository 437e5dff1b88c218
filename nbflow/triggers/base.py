"""The base of triggers: the condition that a deferred task waits for, as serialisable data.

A task that calls ``self.defer(trigger=..., method_name=...)`` ends its process and releases its slot. The trigger is
stored as the class name and the JSON arguments that :meth:`BaseTrigger.serialize` returns. A triggerer creates it from
them and iterates over :meth:`BaseTrigger.run`, in an event loop with thousands of other triggers. The first event ends
the wait; the same try resumes in ``method_name(context, event=payload, **kwargs)``, in a new process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """The result of a trigger; ``payload`` is JSON and becomes the argument ``event``."""

    payload: Any = None


class BaseTrigger:
    """Base of all triggers. ``run`` must not block the event loop."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return (dotted path of the class, arguments to create an equal trigger)."""
        raise NotImplementedError(f"{type(self).__name__} must define serialize().")

    def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield a TriggerEvent when the condition is met."""
        raise NotImplementedError(f"{type(self).__name__} must define run().")

    async def cleanup(self) -> None:
        """Called after an event or a cancellation, when the trigger is no longer needed."""

    def __repr__(self) -> str:
        name, arguments = self.serialize()
        return f"<{name.rpartition('.')[2]} {', '.join(f'{key}={value!r}' for key, value in arguments.items())}>"
