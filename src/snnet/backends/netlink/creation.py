"""The fields of the RTM_NEWLINK that creates a link."""

from __future__ import annotations

from snnet.backends.linux import check_makeable, comes_up_later, first_mtu
from snnet.contract import Link

from .codec import IndexOf, Values
from .encoder import MAC, NAME, U8, U32, Field
from .found import IFF_UP
from .kinds import CODECS

INDEX = Field("index", U32)
FLAGS = Field("flags", U32)
CHANGE = Field("change", U32)
IFNAME = Field("IFLA_IFNAME", NAME)
ADDRESS = Field("IFLA_ADDRESS", MAC)
MTU = Field("IFLA_MTU", U32)
MASTER = Field("IFLA_MASTER", U32)
GROUP = Field("IFLA_GROUP", U32)
NO_LINK_LOCAL = Field("IFLA_AF_SPEC AF_INET6 IFLA_INET6_ADDR_GEN_MODE", U8, 1)


def creation(link: Link, index_of: IndexOf) -> Values:
    """Return the fields of the RTM_NEWLINK that creates this link.

    A bridge, a bridge port and a link without a link-local address are made down: their
    IPv6 parameters are set before they come up.
    """
    check_makeable(link)
    values: Values = {INDEX: link.index}
    if link.up and not comes_up_later(link):
        values |= {FLAGS: IFF_UP, CHANGE: IFF_UP}
    values |= {IFNAME: link.name, GROUP: link.group}
    if link.mac is not None:
        values[ADDRESS] = link.mac
    if (mtu := first_mtu(link)) is not None:
        values[MTU] = mtu
    if link.master is not None:
        values[MASTER] = index_of(link.master)
    return values | CODECS[type(link)].encode(link, index_of)
