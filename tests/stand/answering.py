"""A name server of a test's own (`tests/stand/responder.py`) beside a real daemon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stand.responder import Answering, Responder

# Seconds. A bound for what would otherwise hang.
PATIENCE = 30.0


@contextmanager
def name_server_at(answering: Answering) -> Iterator[int]:
    """Answer at a port of 127.0.0.1, in a thread of its own; give the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    responder = Responder(answering)
    try:
        asyncio.run_coroutine_threadsafe(responder.__aenter__(), loop).result(PATIENCE)
        try:
            yield responder.server.port
        finally:
            ended = responder.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(ended, loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
