"""The user and group that dnsmasq runs as after it has bound its ports."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_DATABASES = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/proc/self/uid_map")
"""What says who there is, or where to ask."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that dnsmasq drops to; empty names mean that it does not drop.

    ``gid`` is the group that must be able to read dnsmasq's files.
    """

    user: str
    group: str
    gid: int


def serving_account() -> Account:
    """Return the user "dnsmasq" (made by its package) or "nobody", if root may become them.

    The group is "dnsmasq" if it exists, else the group of the user.  In a user namespace
    that does not map them (user_namespaces(7)) dnsmasq keeps its user and group.
    """
    return _serving_account(os.geteuid(), os.getegid(), *map(_state, _DATABASES))


@lru_cache(maxsize=8)
def _serving_account(uid: int, gid: int, *_: object) -> Account:
    """Look the account up, which takes as long as it takes to write all files of a scope."""
    if uid == 0 and _may_set_groups():
        for name in ("dnsmasq", "nobody"):
            if (account := _account(name)) is not None:
                return account
    return Account("", "", gid)


def _state(path: str) -> tuple[int, int, int] | None:
    """Return what changes when the file does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _account(name: str) -> Account | None:
    try:
        user = pwd.getpwnam(name)
        group = _group(name) or grp.getgrgid(user.pw_gid)
    except KeyError:
        return None
    if _is_mapped(user.pw_uid, "uid_map") and _is_mapped(group.gr_gid, "gid_map"):
        return Account(user.pw_name, group.gr_name, group.gr_gid)
    return None


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _may_set_groups() -> bool:
    # dnsmasq drops its groups first, and setgroups(2) may be forbidden.
    return Path("/proc/self/setgroups").read_text().strip() == "allow"


def _is_mapped(number: int, table: str) -> bool:
    for line in Path("/proc/self", table).read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= number < first + count:
            return True
    return False
