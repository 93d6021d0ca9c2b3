"""What requests to nf_tables have in common (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import socket

from .nfnetlink import Nfnetlink, attributes

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES, linux/netfilter/nfnetlink.h
GET_TABLE, DELETE_TABLE = 1, 2
GET_CHAIN, DELETE_CHAIN = 4, 5
GET_RULE = 7
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = 12, 13, 14
_GET_GENERATION, _GENERATION_ID = 16, 1

TABLE_NAME, TABLE_FLAGS, TABLE_USE = 1, 2, 3
CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_POLICY, CHAIN_USE, CHAIN_TYPE = 1, 3, 4, 5, 6, 7

FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
"""NFPROTO_*, linux/netfilter.h"""


def tables(kernel: Nfnetlink, family: str) -> list[str]:
    """Return the names of the family's tables.

    Raise ``NetlinkError`` where nf_tables does not answer.
    """
    found = kernel.dump(GET_TABLE, family=FAMILIES[family])
    names = (dict(attributes(message))[TABLE_NAME] for message in found)
    return [name.rstrip(b"\0").decode(errors="replace") for name in names]


def generation(kernel: Nfnetlink) -> int:
    """Return the number of the ruleset: every transaction of the namespace adds one to it.

    Raise ``NetlinkError`` where nf_tables does not answer.
    """
    answer = kernel.look_up(_GET_GENERATION, b"", family=socket.AF_UNSPEC)
    return int.from_bytes(dict(attributes(answer))[_GENERATION_ID], "big")
