"""When a CA wants to be asked again: Retry-After (RFC 9110 §10.2.3), and what Let's Encrypt says.

Whatever it asks for is believed within limits. Pure functions.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SHORTEST = timedelta(minutes=1)
# The longest of Let's Encrypt's limits: certificates per registered domain.
LONGEST = timedelta(days=7)

_SECONDS = re.compile(r"\d+", re.ASCII)
_IN_WORDS = re.compile(
    r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(?:UTC|Z)\b", re.ASCII
)


def retry_at(header: str | None, now: datetime, words: str = "") -> datetime | None:
    """Return the time that a Retry-After header names, else one in `words`; None without any.

    It is from 1 minute to 7 days after `now`. A header is seconds or an HTTP date.
    """
    when = _of_header((header or "").strip(), now) or _of_words(words)
    return None if when is None else min(max(when, now + SHORTEST), now + LONGEST)


def _of_header(value: str, now: datetime) -> datetime | None:
    if _SECONDS.fullmatch(value):
        # What has more digits is more than a `datetime` can bear.
        return now + min(timedelta(seconds=int(value[:9])), LONGEST)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _of_words(words: str) -> datetime | None:
    match = _IN_WORDS.search(words)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
    except ValueError:
        return None
