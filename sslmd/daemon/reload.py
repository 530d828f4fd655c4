"""A reload: the configuration is loaded again and taken as a whole, or refused as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslmd.config.files import differences
from sslmd.config.load import load
from sslmd.config.model import Config
from sslmd.core.errors import ConfigError, Mistake, SslmError
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, on_wire
from sslmd.core.told import Reported
from sslmd.core.words.sentence import say
from sslmd.daemon.hub import Hub
from sslmd.daemon.refusal import refusal_of
from sslmd.daemon.tell.journal import ERROR, NOTICE, WARNING
from sslmd.servers import folders

# Certificates that a line of the journal names.
_NAMED = 10


class Reload:
    """Loads the configuration again. `taken` hears of each one that is in force from then on."""

    def __init__(
        self,
        hub: Hub,
        conf_dir: Path,
        socket: str,
        tell: Callable[[str, Reason | str, int], None],
        taken: Callable[[Config], None],
    ) -> None:
        self._hub = hub
        self._conf_dir = conf_dir
        self._socket = socket
        self._tell = tell
        self._taken = taken

    async def run(self) -> dict[str, Any]:
        """Return what changed; raise `ConfigError` or `SslmError` where it is refused."""
        hub = self._hub
        try:
            config = await hub.threads.in_thread(self._load)
        except ConfigError as err:
            self.warn(err.warnings)
            self._refuse(err.mistakes, Reported.START_FAILS)
            raise
        if emptied := self._emptied(config):
            self.warn(config.warnings)
            self._refuse(emptied, Reported.GIVES_UP)
            raise ConfigError(emptied, config.warnings)
        old = hub.site.config
        if config.globals.certs_dir != old.globals.certs_dir:
            why = Reason(Failed.CERTS_DIR, folder=str(old.globals.certs_dir))
            self._refuse([say(why)], Reported.NEEDS_START)
            raise SslmError(why)
        added, removed, changed = await hub.reconfigure(config)
        hub.refused = None
        hub.threads.in_background(hub.ordering.challenges.start(config.zones()))
        self._taken(config)
        self.warn(config.warnings)
        tables = differences(old.written, config.written)
        changes = {"added": added, "removed": removed, "changed": changed}
        text = Reason(
            Reported.CONFIG_LOADED,
            added=len(added),
            removed=len(removed),
            changed=len(changed),
            tables=tables,
        )
        which = {f"which_{word}": tuple(map(str, some)) for word, some in changes.items()}
        line = Reason(text.code, **dict(text.facts), **which)
        self._tell("config-loaded", line, NOTICE)
        return {
            "text": say(text),
            **on_wire(text, "text"),
            **{word: [str(cert) for cert in some] for word, some in changes.items()},
            "tables": list(map(say, tables)),
            "warnings": [str(warning) for warning in config.warnings],
        }

    def _load(self) -> Config:
        config = load(self._conf_dir)
        found = folders.check(config, self._socket)
        return replace(config, warnings=config.warnings + found)

    def warn(self, warnings: Sequence[Mistake]) -> None:
        """Tell of what is odd in a configuration."""
        for warning in warnings:
            self._tell("config-warning", str(warning), WARNING)

    def _refuse(self, mistakes: Sequence[object], consequence: Reported) -> None:
        for mistake in mistakes:
            self._tell("config-refused", str(mistake), ERROR)
        then = Reason(consequence)
        self._tell("config-refused", Reason(Reported.CONFIG_STAYS, consequence=then), ERROR)
        self._hub.refused = refusal_of(self._hub.site.now(), mistakes, consequence)

    def _emptied(self, config: Config) -> list[Mistake]:
        """A file that was a service and no longer looks like one is a mistake, not a farewell."""
        left_out = {warning.file: warning for warning in config.warnings}
        mistakes = []
        for cert in self._hub.registry.managed():
            path = str(config.conf_dir / cert.group / cert.service)
            if cert not in config.services and path in left_out:
                remedy = "correct it; to give the certificate up, delete the file"
                mistakes.append(Mistake(path, 0, "", "it is no service file any more", remedy))
        return mistakes
