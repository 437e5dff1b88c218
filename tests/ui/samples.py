"""The time, in its zone, at which these tests show views."""

from datetime import datetime
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 6, 3, 3, tzinfo=BERLIN)
