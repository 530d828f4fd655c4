"""Who may read a private key on a server: `key_owner`, `key_group`, `key_mode`."""

from __future__ import annotations

from dataclasses import dataclass

KEY_MODE = 0o600


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """Owner and group by name or number, "" for those of whoever puts it there; its mode.

    As text it is what is noted of a server, "" for a key that nobody else may read.
    """

    owner: str = ""
    group: str = ""
    mode: int = KEY_MODE

    @property
    def opens(self) -> bool:
        """Whether others than the owner of the folders are to get at the key."""
        return bool(self.owner or self.group or self.mode & 0o070)

    def __str__(self) -> str:
        if self == KeyAccess():
            return ""
        return f"{self.owner}:{self.group} {self.mode:04o}"
