"""What the network process may not: taken from it before it reads a byte of others, for good.

Each limit stands by itself, and what this machine does not have is left out and reported (`enter`):
a user of its own where the daemon is root, no capabilities, no new privileges, no core, no other
process to look into, no file but the few that the C library's resolver and TLS read (Landlock,
Linux 5.13), no program or process to start, no socket on this machine (seccomp). So whoever takes
it over finds no key, and nothing to write to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import platform
import pwd
import resource
import socket
import ssl
import struct
import sys
from contextlib import suppress

from sslmd.net.messages import NetLimit

# prctl(2)
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_MOST_CAPABILITIES = 64

# Bytes of its own; 100 MB for a thousand orders under way. Names in flight are open files.
MEMORY = 512 << 20
OPEN_FILES = 8192

# Between the daemon (0) and a certbot (acme.launch), proc_pid_oom_score_adj(5).
OOM_SCORE = 300

_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_DATA, MEMORY),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NOFILE, OPEN_FILES),
)

# What the C library reads to look up a host (nsswitch.conf(5), resolv.conf(5), gai.conf(5)).
_RESOLVER = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols", "/run/systemd/resolve", "/run/resolvconf"),
)
_LIBRARIES = ("/usr/lib", "/lib", "/lib64", "/usr/local/lib")
_RANDOM = ("/dev/urandom", "/dev/null")

# Stands in for a user of its own that is missing. Others may be this user too: they can end the
# process, but neither look into it nor be looked into.
_NOBODY = "nobody"


def enter(user: str) -> tuple[NetLimit, ...]:
    """Give up everything that reading the network does not need; return what holds now.

    `user`: whom to become, "" to stay who we are. Where that cannot be it is `nobody`, and where
    the unit allows no other user at all, the one that we are: less is kept from it then, but no
    site stands still. The daemon reports what is missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[NetLimit] = []
    # The kernel takes it before the daemon where memory is short.
    with suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text(f"{OOM_SCORE}\n")
    # Its modules are loaded at the first look-up, which afterwards would find no file.
    with suppress(OSError):
        socket.getaddrinfo("localhost", None)
    for which, most in _LIMITS:
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))
    for number in range(_MOST_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if user and (changed := become(user)):
        held.append(changed)
    if _drop_capabilities(libc):
        held.append(NetLimit.CAPABILITIES)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held.append(NetLimit.NO_NEW_PRIVS)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if _landlock(libc):
        held.append(NetLimit.LANDLOCK)
    if _seccomp(libc):
        held.append(NetLimit.SECCOMP)
    return tuple(held)


def become(user: str) -> NetLimit | None:
    """Become `user`, else `nobody`; return what that is worth, None where we stay who we are.

    A user that is root by its number counts as none.
    """
    for name, limit in ((user, NetLimit.UID), (_NOBODY, NetLimit.NOBODY)):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            continue
        try:
            os.setgroups([])
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        except OSError:  # the unit has neither CAP_SETUID nor @setuid
            return None
        return limit
    return None


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Empty the three sets (capset(2)); whether they are."""
    head = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    return int(libc.capset(head, bytes(24))) == 0


# --- Landlock (landlock(7)) -------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Rights to files that each version of the interface knows; what it does not know it refuses.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND_TCP = 1 << 0  # since 4; connecting is what it is for
_SCOPES = 0b11  # since 6: abstract sockets and signals of processes outside


def _landlock(libc: ctypes.CDLL) -> bool:
    """Leave of the file system what the resolver and TLS read. Whether the kernel has it."""
    version = int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION))
    if version < 1:
        return False
    rights = _FILE_RIGHTS[max(one for one in _FILE_RIGHTS if one <= version)]
    network = _BIND_TCP if version >= 4 else 0
    scopes = _SCOPES if version >= 6 else 0
    words = struct.pack("=QQQ", rights, network, scopes)
    words = words[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = int(libc.syscall(_CREATE_RULESET, words, len(words), 0))
    if rules < 0:
        return False
    try:
        for path in _readable():
            _allow(libc, rules, path)
        return int(libc.syscall(_RESTRICT_SELF, rules, 0)) == 0
    finally:
        os.close(rules)


def _readable() -> list[str]:
    trusted = ssl.get_default_verify_paths()
    roots = [
        trusted.openssl_cafile,
        trusted.openssl_capath,
        "/etc/ssl",
        "/usr/share/ca-certificates",
    ]
    roots += [os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    paths = [*_RESOLVER, *_RANDOM, *filter(None, roots)]
    # Python, which reads its library at first use. Whatever is secret does not lie there.
    paths += [path for path in (*sys.path, *_LIBRARIES) if os.path.isdir(path)]
    # Of a link both ends: what it stands in is not opened to all.
    return [*dict.fromkeys([*paths, *map(os.path.realpath, paths)])]


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    with suppress(OSError):  # not there, or not for us
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            is_dir = os.path.isdir(path)
            rights = _READ_FILE | (_READ_DIR if is_dir else 0)
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
        finally:
            os.close(handle)


# --- seccomp (seccomp(2)) ---------------------------------------------------------------------

# By architecture (uname -m): its number for audit (linux/audit.h), and those of system calls that
# start programs, look into or signal others, change what is mounted or who we are, or load code.
_CALLS = {
    "x86_64": """
        execve=59 execveat=322 fork=57 vfork=58 ptrace=101 process_vm_readv=310
        process_vm_writev=311 kill=62 tkill=200 rt_sigqueueinfo=129 rt_tgsigqueueinfo=297
        pidfd_send_signal=424 pidfd_getfd=438 mount=165 umount2=166 pivot_root=155
        chroot=161 unshare=272 setns=308 bpf=321 perf_event_open=298 keyctl=250 add_key=248
        request_key=249 userfaultfd=323 io_uring_setup=425 init_module=175 finit_module=313
        kexec_load=246 reboot=169 setuid=105 setgid=106 setresuid=117 setresgid=119
        setgroups=116 open_by_handle_at=304 name_to_handle_at=303 acct=163 swapon=167
        settimeofday=164 clock_settime=227 adjtimex=159 personality=135
        setpriority=141 sched_setparam=142 sched_setscheduler=144 sched_setaffinity=203
        sched_setattr=314 ioprio_set=251
    """,
    "aarch64": """
        execve=221 execveat=281 ptrace=117 process_vm_readv=270 process_vm_writev=271 kill=129
        tkill=130 rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 pidfd_send_signal=424
        pidfd_getfd=438 mount=40 umount2=39 pivot_root=41
        chroot=51 unshare=97 setns=268 bpf=280 perf_event_open=241 keyctl=219 add_key=217
        request_key=218 userfaultfd=282 io_uring_setup=425 init_module=105 finit_module=273
        kexec_load=104 reboot=142 setuid=146 setgid=144 setresuid=147 setresgid=149
        setgroups=159 open_by_handle_at=265 name_to_handle_at=264 acct=89 swapon=224
        settimeofday=170 clock_settime=112 adjtimex=171 personality=92
        setpriority=140 sched_setparam=118 sched_setscheduler=119 sched_setaffinity=122
        sched_setattr=274 ioprio_set=30
    """,
}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Those that are allowed for some arguments: clone, clone3, tgkill, socket.
_SOME = {"x86_64": (56, 435, 234, 41, 302), "aarch64": (220, 435, 131, 198, 261)}

# D-Bus, the journal and every other server on this machine listens on a socket of files or of its
# own kind; netlink is what the C library asks for our addresses.
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_CLONE_THREAD = 0x10000

# Classic BPF (linux/bpf_common.h): load a word, jump if equal, if greater or equal, if a bit is
# set, return. A jump has how many steps it leaves out: if so, if not.
_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_AT = 0, 4, 16  # in struct seccomp_data (little-endian)
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_KILL = 0x80000000
_X32 = 0x40000000  # numbers of the other interface of x86_64


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Refuse those calls with EPERM. Whether this machine has it, and its numbers are known."""
    machine = platform.machine()
    if machine not in _CALLS:
        return False
    numbers = sorted(int(call.partition("=")[2]) for call in _CALLS[machine].split())
    clone, clone3, tgkill, new_socket, prlimit = _SOME[machine]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in numbers:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    # Its arguments cannot be seen; the C library then takes `clone`.
    steps += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _UNKNOWN)]
    steps += _if_first(clone, (_HAS, _CLONE_THREAD))  # a thread, not a process
    steps += _if_first(tgkill, (_EQUAL, os.getpid()))  # abort(3)
    steps += _if_first(new_socket, *((_EQUAL, int(family)) for family in _FAMILIES))
    steps += _if_first(prlimit, (_EQUAL, 0))  # our own limits; the daemon may be the same user
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    return int(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)) == 0


def _if_first(number: int, *tests: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Allow a call whose first argument meets one of `tests`, and refuse it otherwise."""
    found = [(test, len(tests) - at, 0, wanted) for at, (test, wanted) in enumerate(tests)]
    body = [(_LOAD, 0, 0, _FIRST_AT), *found, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]
