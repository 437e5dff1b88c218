"""What a deferred task waits for, as data that another process can wait on.

A task that calls ``self.defer(trigger=..., method_name=...)`` ends its process and gives its slot back. The trigger is
stored as the name and the JSON arguments that :meth:`BaseTrigger.serialize` gives; a triggerer makes it again from them
and iterates over :meth:`BaseTrigger.run` in an event loop that it shares with thousands of others. The first event ends
the wait, and the task goes on in ``method_name(context, event=payload, **kwargs)``, in a new process and the same try.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """What a trigger found; ``payload`` is JSON and becomes the argument ``event``."""

    payload: Any = None


class BaseTrigger:
    """Base of all triggers. ``run`` never blocks: whatever waits, awaits."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """(dotted path of the class, the arguments that make an equal trigger)."""
        raise NotImplementedError(f"{type(self).__name__} must define serialize().")

    def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield a TriggerEvent once what is waited for has come."""
        raise NotImplementedError(f"{type(self).__name__} must define run().")

    async def cleanup(self) -> None:
        """Called when the trigger is no longer waited for, after an event or a cancellation."""

    def __repr__(self) -> str:
        name, arguments = self.serialize()
        return f"<{name.rpartition('.')[2]} {', '.join(f'{key}={value!r}' for key, value in arguments.items())}>"
