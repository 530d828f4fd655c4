"""What a command that was refused lacks, and who can give it: said plainly, for the admin.

A restart works as an ordinary user where polkit or sudo lets him (docs/operations.md).
"""

from __future__ import annotations

import re

# What systemctl, sudo and the C library say, and what it means.
_SAID = (
    (
        # polkit, asked by systemctl: nobody is there to type a password.
        re.compile(r"[Ii]nteractive authentication required|Access denied|Not authorized"),
        "its user may not do that to the unit; allow it with a polkit rule",
    ),
    (
        re.compile(r"a (?:password|terminal) is required|no tty present"),
        "sudo wants a password; allow the command with NOPASSWD in sudoers",
    ),
    (
        re.compile(r"is not in the sudoers file|is not allowed to execute"),
        "sudoers does not allow it; add a line with NOPASSWD for this command",
    ),
    (
        re.compile(r"Operation not permitted|Permission denied|must be (run as )?root"),
        "its user is not permitted to; let it run as one who is (polkit, sudo, or user@host)",
    ),
)


def missing_right(said: str, where: str) -> str:
    """Return what to add to an error of a command, "" if it was not for lack of a right."""
    for pattern, remedy in _SAID:
        if pattern.search(said):
            return f"; on {where} {remedy}: docs/operations.md"
    return ""
