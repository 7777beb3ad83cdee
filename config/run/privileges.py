"""PostgreSQL refuses to run as root: which other user it runs as, and how a child becomes that user.

That user may not be able to reach the project, for instance in a home directory of mode 0700. Other people's
directories are never changed; instead the child keeps the one Linux capability that lets it read and search
everywhere (CAP_DAC_READ_SEARCH).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"
NOBODY = 65_534

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522

# Loaded here and not in the child: between fork and exec as little as possible may happen.
_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilityData(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The user a child becomes; `reads_everything` keeps CAP_DAC_READ_SEARCH on the way."""

    uid: int
    gid: int
    reads_everything: bool = False


def become(identity: Identity) -> None:
    """Changes the calling process for good; for children between fork and exec.

    :raises OSError: the system refuses.
    """
    if identity.reads_everything:
        # Without this bit access(2) ignores the capability, and PostgreSQL asks access(2) for its own
        # binaries. It also keeps all capabilities over setuid; capset below drops all but one.
        _check(_libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setgid(identity.gid)
    os.setuid(identity.uid)
    if identity.reads_everything:
        mask = 1 << CAP_DAC_READ_SEARCH
        data = (_CapabilityData * 2)(_CapabilityData(mask, mask, mask), _CapabilityData(0, 0, 0))
        _check(_libc.capset(ctypes.byref(_CapabilityHeader(CAPABILITY_VERSION_3, 0)), ctypes.byref(data)))
        _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0))


def die_with_parent(*, parent: int, with_signal: int) -> None:
    """Has the kernel signal the calling process when its parent ends, however that ends. Linux only.

    Comes after `become`: a change of user clears it.
    """
    if not LINUX:
        return
    _check(_libc.prctl(PR_SET_PDEATHSIG, with_signal, 0, 0, 0))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def output_of(command: Sequence[str | Path], *, identity: Identity | None) -> str | None:
    """What the command prints when it runs as that user; None when it cannot, or fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=None if identity is None else lambda: become(identity),
            timeout=20,
            text=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def can_search(path: Path, *, uid: int, gid: int) -> bool:
    """Whether that user may pass through every directory above the path, and execute or enter what is
    there."""
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == uid:
            needed = stat.S_IXUSR
        elif status.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
