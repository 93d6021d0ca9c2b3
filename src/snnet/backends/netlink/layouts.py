"""What rtnetlink's messages look like: their headers, and the numbers of attributes.

See rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h and
linux/fib_rules.h.  What only one kind of link has is in the modules of ``kinds``.  The tests
compare all of it with pyroute2.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from snnet.system.nfnetlink import attribute

LINK, ADDRESS, ROUTE, NEIGHBOUR, RULE, TRAFFIC = (
    "ifinfmsg", "ifaddrmsg", "rtmsg", "ndmsg", "fibmsg", "tcmsg",
)  # fmt: skip
"""The kinds of messages, with the names of their classes in pyroute2."""

HEADERS = {
    LINK: "family:B :x ifi_type:H index:i flags:I change:I",
    ADDRESS: "family:B prefixlen:B flags:B scope:B index:I",
    ROUTE: "family:B dst_len:B src_len:B tos:B table:B proto:B scope:B type:B flags:I",
    NEIGHBOUR: "family:B :3x ifindex:i state:H flags:B ndm_type:B",
    RULE: "family:B dst_len:B src_len:B tos:B table:B res1:B res2:B action:B flags:I",
    TRAFFIC: "family:B :3x index:i handle:I parent:I info:I",
}
"""The fields of each header, and how they are packed; ``x`` is padding."""

NUMBERS: Mapping[str, int] = {
    # linux/if_link.h
    "IFLA_ADDRESS": 1, "IFLA_IFNAME": 3, "IFLA_MTU": 4, "IFLA_LINK": 5, "IFLA_MASTER": 10,
    "IFLA_LINKINFO": 18, "IFLA_AF_SPEC": 26, "IFLA_GROUP": 27, "IFLA_NET_NS_FD": 28,
    "IFLA_EXT_MASK": 29, "IFLA_NUM_TX_QUEUES": 31,
    "AF_INET6": 10, "IFLA_INET6_ADDR_GEN_MODE": 8,
    "IFLA_INFO_KIND": 1, "IFLA_INFO_DATA": 2,
    # linux/veth.h
    "VETH_INFO_PEER": 1,
    # linux/if_addr.h, linux/rtnetlink.h, linux/neighbour.h, linux/fib_rules.h
    "IFA_ADDRESS": 1, "IFA_LOCAL": 2, "IFA_CACHEINFO": 6,
    "RTA_DST": 1, "RTA_OIF": 4, "RTA_GATEWAY": 5, "RTA_TABLE": 15,
    "TCA_KIND": 1,
    "NDA_DST": 1, "NDA_LLADDR": 2, "NDA_PROTOCOL": 12,
    "FRA_SRC": 2, "FRA_PRIORITY": 6, "FRA_SUPPRESS_PREFIXLEN": 14, "FRA_TABLE": 15,
    "FRA_PROTOCOL": 21,
}  # fmt: skip

_BEFORE = {"VETH_INFO_PEER": bytes(16)}
"""What comes before the attributes inside one: a header of its own."""

_NETLINK = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port

Tree = dict[str, "bytes | Tree"]


def encode(
    layout: str,
    kind: int,
    flags: int,
    header: dict[str, int],
    tree: Tree,
    numbers: Mapping[str, int],
) -> bytes:
    """Return a message of this kind: its header's fields, then its attributes in order."""
    named = [field.split(":") for field in HEADERS[layout].split(" ")]
    packer = Struct("=" + "".join(form for _, form in named))
    body = packer.pack(*(header.get(name, 0) for name, _ in named if name))
    body += _attributes(tree, numbers)
    return _NETLINK.pack(_NETLINK.size + len(body), kind, flags, 0, 0) + body


def _attributes(tree: Tree, numbers: Mapping[str, int]) -> bytes:
    parts = []
    for name, value in tree.items():
        if isinstance(value, dict):
            value = _BEFORE.get(name, b"") + _attributes(value, numbers)
        parts.append(attribute(numbers[name], value))
    return b"".join(parts)
