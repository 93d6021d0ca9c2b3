"""What netfilter has in a network namespace, by name, asked of the kernel without a program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from . import nf_tables
from .netns import in_netns
from .nfnetlink import Nfnetlink, attributes

_LEGACY = ("ip_tables_names", "ip6_tables_names")
"""Files of /proc/net that list the tables which exist of legacy iptables and ip6tables."""


def names(netns: int) -> set[str]:
    """Return the names of all tables and chains of nf_tables, whosever they are.

    Raise ``NetlinkError`` where nf_tables does not answer.
    """
    with closing(Nfnetlink(netns, nf_tables.SUBSYSTEM)) as kernel:
        tables = kernel.dump(nf_tables.GET_TABLE)
        return {
            found[part].rstrip(b"\0").decode(errors="replace")
            for messages, part in (
                (tables, nf_tables.TABLE_NAME),
                (kernel.dump(nf_tables.GET_CHAIN) if tables else (), nf_tables.CHAIN_NAME),
            )
            for found in (dict(attributes(message)) for message in messages)
        }


def legacy_tables(netns: int) -> list[str]:
    """Return the tables that somebody has used of legacy iptables; reading creates none.

    Raise ``PermissionError`` for every user but root: capabilities do not help.
    """
    return list(in_netns(netns, lambda: [*_legacy_tables()]))


def _legacy_tables() -> Iterator[str]:
    for name in _LEGACY:
        try:
            with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
                yield from file.read().split()
        except FileNotFoundError:
            continue  # the kernel has no such iptables
