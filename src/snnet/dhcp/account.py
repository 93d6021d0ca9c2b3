"""The user and group that dnsmasq runs as after it has bound its ports."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path


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
    if os.geteuid() == 0 and _may_set_groups():
        for name in ("dnsmasq", "nobody"):
            if (account := _account(name)) is not None:
                return account
    return Account("", "", os.getegid())


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
