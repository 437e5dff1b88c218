from __future__ import annotations
from datetime import datetime
def require_start_date(start: datetime | None, catchup: bool) -> None:
    if catchup and start is None:
        raise ValueError("start_date is required when catchup=True: there is no first run to catch up from.")
