"""Veth pairs."""

from __future__ import annotations

from snnet.contract import Veth

from ..codec import Codec, Common, Data, IndexOf, LinkMessage, NameOf, Values, info, name_or_none
from ..encoder import MAC, NAME, U32, Field

_KIND = info("veth")["kind"]
_PEER = "IFLA_LINKINFO IFLA_INFO_DATA VETH_INFO_PEER"
_PEER_NAME = Field(f"{_PEER} IFLA_IFNAME", NAME)
_PEER_MAC = Field(f"{_PEER} IFLA_ADDRESS", MAC)
_PEER_MTU = Field(f"{_PEER} IFLA_MTU", U32)
PEER_NAMESPACE = Field(f"{_PEER} IFLA_NET_NS_FD", U32)


def _encode(link: Veth, index_of: IndexOf) -> Values:
    values: Values = {_KIND: None}
    if link.peer is not None:
        values[_PEER_NAME] = link.peer
    if link.peer_mac is not None:
        values[_PEER_MAC] = link.peer_mac
    if link.peer_mtu is not None:
        values[_PEER_MTU] = link.peer_mtu
    return values


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Veth:
    return Veth(peer=name_or_none(name_of, link.lower), **common)


KINDS = (Codec(Veth, _encode, _decode),)
