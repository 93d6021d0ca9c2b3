"""What the drivers for a real kernel share, whether they use netlink or programs."""

from __future__ import annotations

import errno
import os
import secrets

from snnet.contract import Bridge, Ifb, Link, Macvtap, Missing, Noun, Unsupported
from snnet.contract.addresses import IPV6_MTU_MIN
from snnet.contract.links import MACVTAP_INDEX_MIN, Described, is_same_link
from snnet.contract.parameters import is_routed, quiet_parameters

TUN = "/dev/net/tun"
"""The device that creates taps."""

MACVTAP_TRIES = 8
"""Random indexes to try before creating a macvtap fails."""

BRIDGE_MTU = 1500
"""The MTU of a new bridge in bytes (ETH_DATA_LEN, linux/if_ether.h)."""

_LAST_INDEX = (1 << 31) - 1


# -- creating -------------------------------------------------------------------------


def comes_up_later(link: Link) -> bool:
    """Whether the link is created down, to be configured by later messages first.

    An alias is one of them: a link that is up has its alias, whenever the process is killed.
    """
    configured = isinstance(link, (Bridge, Ifb)) or link.master is not None or bool(link.alias)
    return configured or without_link_local(link)


def without_link_local(link: Link) -> bool:
    """Whether the link must not get an IPv6 link-local address; this is set while it is down."""
    if isinstance(link, (Bridge, Macvtap)):
        return not link.link_local
    return is_routed(link)


def starts_anew(link: Link, was: Link) -> bool:
    """Whether a new MTU gives the link an IPv6 with the kernel's own parameters.

    An MTU below 1280 ends IPv6 on a link, with its parameters (addrconf_notify,
    net/ipv6/addrconf.c).
    """
    return (was.mtu or 0) < IPV6_MTU_MIN <= (link.mtu or 0) and (
        without_link_local(link) or bool(quiet_parameters(link))
    )


def first_mtu(link: Link) -> int | None:
    """Return the MTU to create the link with.

    The MTU of a bridge follows its smallest port until it is *changed* once
    (br_change_mtu, net/bridge/br_device.c), so a bridge is created with another MTU: that
    of every new bridge, if it is another.
    """
    if not isinstance(link, Bridge):
        return link.mtu
    return BRIDGE_MTU + 1 if link.mtu == BRIDGE_MTU else None


def free_macvtap_index() -> int:
    """Return a random index whose character device, /dev/tap<index>, does not exist.

    All namespaces share these devices.
    """
    while True:
        index = MACVTAP_INDEX_MIN + secrets.randbelow(_LAST_INDEX - MACVTAP_INDEX_MIN)
        if not os.path.exists(f"/dev/tap{index}"):
            return index


# -- checking -------------------------------------------------------------------------


def check_makeable(link: Link) -> None:
    """Raise ``Unsupported`` for a link that no kernel can create."""
    if reason := link.unmakeable:
        raise Unsupported(f"{link.name}: {reason}")


def check_change(new: Noun, old: Noun) -> None:
    """Raise ``Unsupported`` if ``old`` cannot be changed into ``new`` in place."""
    wrong = new.differences(old) - new.changeable
    if wrong or new.key != old.key:
        raise Unsupported(f"{', '.join(sorted(wrong)) or 'the kind'} cannot be changed in place")


def check_same(link: Link, found: Described) -> None:
    """Raise ``Missing`` if the link found is a different one with the same name."""
    if not is_same_link(link, found):
        raise Missing(
            f"{link.kind} {link.name} is gone: its name belongs to a foreign {found.kind} "
            f"with group {found.group:#x} and alias {found.alias!r}, which is left alone",
            errno=errno.ENODEV,
        )


def no_tun() -> str | None:
    """Return why this host cannot create taps, or None if it can."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return (
            f"this host cannot create taps: {TUN}: {os.strerror(error.errno or 0)}; "
            "load the module tun, and run as root"
        )
    return None
