"""The moment and the place at which the views of these tests are seen."""

from datetime import datetime
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 6, 3, 3, tzinfo=BERLIN)
