"""Users and groups of the host."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def uid_of(name: str) -> int | None:
    """The uid of the user with this name, or None if the host has no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # no name can hold a NUL
        return None


def gid_of(name: str) -> int | None:
    """The gid of the group with this name, or None if the host has no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def user_name() -> str:
    """The name of the user that this process acts as, or its number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


CAP_NET_ADMIN = 12  # linux/capability.h


def has_capability(number: int) -> bool:
    """Whether the calling thread has the capability, in its own user namespace.

    See capabilities(7) and proc_pid_status(5).  True where that cannot be found out.
    """
    try:
        lines = Path("/proc/thread-self/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return True
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "")
    return not effective or bool(int(effective, 16) >> number & 1)
