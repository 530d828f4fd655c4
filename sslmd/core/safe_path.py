"""Who else has power over what lies at a path: the rule of sshd's StrictModes, `safe_path()`.

Whoever owns a folder, or may write to it, can put other files and links there. So every folder from
the top down has to belong to root or the daemon's user, and nobody else may write to it. One that
everybody may write to with the sticky bit, such as /tmp, is safe to pass through if it belongs to
one of these: others cannot rename or remove there what is not theirs.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_ROOT = 0


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a POSIX ACL lets write, or read: users and groups that it names, and the own group."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    own_group: bool = True


@dataclass(frozen=True, slots=True)
class PathEntry:
    """What stands at a path: owner, group, mode (of inode(7)), and its ACL if it has one.

    `acl`: whom that lets write; `readers`: whom it lets read, of a file with a secret.
    """

    path: str
    uid: int
    gid: int
    mode: int
    acl: Named | None = None
    readers: Named | None = None

    @property
    def facts(self) -> str:
        """Whose it is, for a message."""
        return f"uid {self.uid}, gid {self.gid}, mode {stat.S_IMODE(self.mode):04o}"


@dataclass(frozen=True, slots=True)
class Danger:
    """Who else has power over something, and the command that ends it."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom nothing has to be kept from. `user`: whose the daemon is, for the way out."""

    user: int
    owners: frozenset[int]
    groups: frozenset[int]

    def with_groups(self, groups: Collection[int]) -> Trust:
        """Return it with more groups whose members may write."""
        return Trust(self.user, self.owners, self.groups.union(groups))


def trust_of(user: int, group: int) -> Trust:
    """Return whom a daemon of that user and group trusts: itself and root."""
    return Trust(user, frozenset({_ROOT, user}), frozenset({_ROOT, group}))


def danger(entry: PathEntry, trust: Trust, *, sticky: bool = False) -> Danger | None:
    """Return who else may change or replace it, None if nobody.

    `sticky`: that others may put something beside what counts does no harm.
    """
    if entry.uid not in trust.owners:
        owner = "root" if trust.user == _ROOT else str(trust.user)
        # Without -h, chown(1) changes what the link leads to.
        link = "-h " if stat.S_ISLNK(entry.mode) else ""
        return Danger(
            entry.path,
            f"belongs to uid {entry.uid}, not to the daemon's user or root ({entry.facts})",
            f"look at how it got there, then run: chown {link}{owner} {entry.path}",
        )
    if stat.S_ISLNK(entry.mode) or (sticky and _is_sticky(entry)):
        return None
    if entry.mode & stat.S_IWOTH:
        who, remedy = "everybody", f"chmod o-w {entry.path}"
    elif named := _of_group(entry, trust):
        who, remedy = named
    else:
        return None
    return Danger(entry.path, f"can be written by {who} ({entry.facts})", f"run: {remedy}")


def _of_group(entry: PathEntry, trust: Trust) -> tuple[str, str] | None:
    """Return who may write to it by its group's rights or its ACL, and how to end that."""
    # Where there is an ACL these bits are its mask: nobody whom it names gets past that.
    if not entry.mode & stat.S_IWGRP:
        return None
    acl = entry.acl or Named()
    if acl.own_group and entry.gid not in trust.groups:
        return f"gid {entry.gid}", f"chmod g-w {entry.path}"
    if not (named := _others_of(acl, trust)):
        return None
    return f"{', '.join(named)} of its ACL", f"setfacl -x {','.join(named)} {entry.path}"


def _others_of(acl: Named, trust: Trust) -> list[str]:
    """Return whom an ACL names beside those that are trusted, as setfacl(1) writes it."""
    named = [f"u:{uid}" for uid in sorted(acl.users - trust.owners)]
    return named + [f"g:{gid}" for gid in sorted(acl.groups - trust.groups)]


def foreign_link(link: PathEntry) -> Danger:
    """Return the danger of a link that somebody else may have put where it is."""
    return Danger(
        link.path,
        f"is a link of somebody else's ({link.facts})",
        f"see where it leads, then run: chown -h root {link.path}",
    )


def readable(entry: PathEntry, trust: Trust, *, by_group: bool) -> Danger | None:
    """Return who else may read a file with a secret in it.

    `by_group`: its group may, too, and whom its ACL names.
    """
    named = named_readers(entry, trust)
    bits = stat.S_IRWXO | (0 if by_group or entry.gid in trust.groups else stat.S_IRWXG)
    if not entry.mode & bits:
        if by_group or not named:
            return None
        return Danger(
            entry.path,
            f"can be read by {', '.join(named)} of its ACL ({entry.facts})",
            f"run: setfacl -x {','.join(named)} {entry.path}, and think of a new secret",
        )
    mode = "0640" if by_group and (named or entry.gid not in trust.groups) else "0600"
    return Danger(
        entry.path,
        f"can be read by others ({entry.facts})",
        f"run: chmod {mode} {entry.path}, and think of a new secret",
    )


def named_readers(entry: PathEntry, trust: Trust) -> list[str]:
    """Return whom the ACL of a file lets read it beside those that are trusted."""
    # The bits of the group are the mask: who is named gets nothing without.
    if entry.readers is None or not entry.mode & stat.S_IRGRP:
        return []
    return _others_of(entry.readers, trust)


def _is_sticky(entry: PathEntry) -> bool:
    return stat.S_ISDIR(entry.mode) and bool(entry.mode & stat.S_ISVTX)


def leads_away(link: PathEntry, above: Sequence[PathEntry], trust: Trust) -> bool:
    """Whether a link may have been put there by somebody else; `above`: the folders it lies in."""
    if any(danger(folder, trust, sticky=True) for folder in above):
        return True
    # In a sticky folder it can be had by anybody, and is whose it says.
    return _is_sticky(above[-1]) and link.uid not in trust.owners
