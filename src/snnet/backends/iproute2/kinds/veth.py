"""Veth pairs."""

from __future__ import annotations

from snnet.contract import Veth

from ..codec import Codec, Row


def _words(link: Veth) -> list[str]:
    words = ["name", link.peer] if link.peer is not None else []
    if link.peer_mac is not None:
        words += ["address", link.peer_mac]
    if link.peer_mtu is not None:
        words += ["mtu", str(link.peer_mtu)]
    if link.peer_namespace is not None:
        words += ["netns", link.peer_namespace]
    return ["peer", *words] if words else []


def _read(row: Row, common: Row, data: Row) -> Veth:
    # For a peer in another namespace, "link_index" has its index.
    return Veth(peer=row.get("link"), **common)


KINDS = (Codec(Veth, _words, _read),)
