"""Users and groups of the host."""

from __future__ import annotations

import grp
import os
import pwd


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
