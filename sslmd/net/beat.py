"""A sign of life by HTTP: one request, of whose answer the status alone is looked at."""

from __future__ import annotations

import asyncio

from sslmd.net.link import Handlers
from sslmd.net.messages import BEAT, Beat, BeatEnd
from sslmd.net.web import UnreachedError, Web

# Seconds for the request as a whole.
PATIENCE = 20.0


async def beat(asked: Beat) -> BeatEnd:
    """Ask for the address once; redirects are not followed."""
    web: Web | None = None
    try:
        # Reading the roots of the system takes a moment.
        web = await asyncio.to_thread(Web, "", 1)
        reply = await web.request("GET", asked.url, seconds=PATIENCE)
    except UnreachedError as err:
        return BeatEnd(why=err.code)
    finally:
        if web is not None:
            web.close()
    return BeatEnd(reply.status)


def handlers() -> Handlers:
    """Return what does it."""
    return {BEAT: beat}
