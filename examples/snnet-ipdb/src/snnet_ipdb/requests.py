"""The requests to IPDB's command socket, noun by noun; wrong values are refused here.

The socket does not check values.  It cuts a name at its first NUL, and a string with
non-ASCII characters at the wrong byte; a number that is too large ends in
``struct.error``, with a stack trace in the log.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from snnet.contract import (
    NAME_MAX,
    Address,
    Bridge,
    InvalidRequest,
    Link,
    Unsupported,
    Veth,
    Vxlan,
    error_for,
)

_ALIAS_MAX = 255  # IFALIASZ (256, linux/if.h) less the final NUL
_MTU_MAX = 65535
_U32_MAX = (1 << 32) - 1
_SCOPE_HOST = 254  # linux/rtnetlink.h
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")

Request = dict[str, Any]

NO_LINK_LOCAL: Request = {
    "IFLA_AF_SPEC": {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", 1]]}]]}
}
"""The attributes of a link that gets no IPv6 link-local address when it comes up."""


def check(link: Link) -> None:
    """Refuse values that the socket would cut or cannot pack, as the kernel would."""
    check_name(link.name)
    if isinstance(link, Veth) and link.peer is not None:
        check_name(link.peer)
    if len(link.alias.encode()) > _ALIAS_MAX:
        raise error_for(errno.ERANGE, f"give {link.name} an alias of over {_ALIAS_MAX} bytes")
    peers = (link.peer_mac, link.peer_mtu) if isinstance(link, Veth) else (None, None)
    for mac in (link.mac, peers[0]):
        if mac is not None and not _MAC.fullmatch(mac):
            raise InvalidRequest(f"{mac!r} is not a MAC", field="mac")
    for mtu in (link.mtu, peers[1]):
        if mtu is not None and not 0 < mtu <= _U32_MAX:
            raise error_for(errno.EINVAL, f"give {link.name} an MTU of {mtu}")
    if isinstance(link, Vxlan):
        if link.remote is not None and link.remote.version != link.local.version:
            raise Unsupported(
                f"{link.name}: {link.local} and {link.remote} are of different families"
            )
        if not 0 <= link.vni < 1 << 24:
            raise error_for(errno.ERANGE, f"make a vxlan with VNI {link.vni}")


def check_name(name: str) -> None:
    """Refuse a pattern, and what cannot be a link's name (dev_valid_name, net/core/dev.c)."""
    raw = name.encode()
    if len(raw) > NAME_MAX:
        raise error_for(errno.ERANGE, f"call a link {name!r}", detail=f"over {NAME_MAX} bytes")
    odd = any(letter in "/:%\0" or letter.isspace() for letter in name)
    if not raw or odd or name in (".", ".."):
        raise InvalidRequest(f"{name!r} is not a name for a link", field="name")


def creation(link: Link, index: int, master: int | None) -> Request:
    """Return the first message, which creates the link with the index that later ones use."""
    request: Request = {"index": index, "ifname": link.name.encode(), "kind": link.kind}
    request |= settings(link, {"group", "mtu", "mac"})
    if master is not None:
        request["master"] = master
    if isinstance(link, Bridge):
        # Its MTU follows its smallest port until it is *changed* once (br_change_mtu,
        # net/bridge/br_device.c), so create it with another MTU.
        if link.mtu is not None:
            request["mtu"] = link.mtu + 1 if link.mtu < _MTU_MAX else link.mtu - 1
        return request | {"br_forward_delay": 0, "br_stp_state": 0}
    if isinstance(link, Veth):
        name = None if link.peer is None else link.peer.encode()
        ends = {"ifname": name, "address": link.peer_mac, "mtu": link.peer_mtu}
        peer = {name: value for name, value in ends.items() if value is not None}
        return request | ({"peer": peer} if peer else {})
    if isinstance(link, Vxlan):
        suffix = "6" if link.local.version == 6 else ""
        request |= {
            "vxlan_id": link.vni,
            f"vxlan_local{suffix}": str(link.local),
            "vxlan_port": link.port,
            "vxlan_ttl": link.ttl,
            "vxlan_learning": 0,
        }
        if link.remote is not None:
            request[f"vxlan_group{suffix}"] = str(link.remote)
    return request


def completion(link: Link) -> list[Request]:
    """Return the later messages: what the first cannot contain, and then setting the link up."""
    request = settings(link, {"alias"} if link.alias else set())
    if isinstance(link, Bridge):
        request |= settings(link, {"mtu"})
        if not link.link_local:
            request |= NO_LINK_LOCAL
    return [request] * bool(request) + [{"state": "up"}] * link.up


def settings(link: Link, names: set[str] | frozenset[str]) -> Request:
    """Return these fields of the link by the socket's names, without those that are None."""
    request: Request = {}
    for name, called in (("mtu", "mtu"), ("mac", "address"), ("group", "group")):
        if name in names and getattr(link, name) is not None:
            request[called] = getattr(link, name)
    if "alias" in names:
        request["ifalias"] = link.alias
    if "up" in names:
        request["state"] = "up" if link.up else "down"
    return request


def address(noun: Address, index: int) -> Request:
    """Return what identifies the address, on the link with this index."""
    interface = noun.address
    host = interface.version == 4 and interface.is_loopback
    return {
        "index": index,
        "address": str(interface.ip),
        "prefixlen": interface.network.prefixlen,
        "scope": _SCOPE_HOST if host else 0,
    }
