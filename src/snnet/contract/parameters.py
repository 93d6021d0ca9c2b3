"""Kernel parameters that links of snnet have from the moment they are created."""

from __future__ import annotations

from .links import Bridge, Ifb, Link, Tap, Veth
from .network import link_sysctl


def is_routed(link: Link) -> bool:
    """Whether the host answers ARP on the link for addresses that it routes elsewhere."""
    return isinstance(link, (Tap, Veth)) and link.proxy_arp


def routed_parameters(link: Link) -> dict[str, str]:
    """Return the parameters that make the host answer for others on the link, without delay."""
    return {
        link_sysctl("ipv4.conf", link.name, "proxy_arp"): "1",
        link_sysctl("ipv4.neigh", link.name, "proxy_delay"): "0",
    }


def needs_no_ipv6(link: Link) -> bool:
    """Whether the host needs no IPv6 on the link: a bridge has the frames of its ports."""
    return link.master is not None or isinstance(link, Ifb)


def quiet_parameters(link: Link) -> dict[str, str]:
    """Return the parameters that keep the host's IPv6 from using the link.

    They do not exist on a host without IPv6.  A bridge port needs no IPv6 at all: its
    frames go to the bridge.  Nor does an ifb.  A bridge and the host's end of a routed guest
    take no routes or addresses from router advertisements.  ``addr_gen_mode`` none does not
    prevent that (addrconf_prefix_rcv, net/ipv6/addrconf.c).  They have IPv6, where
    the host's administrator disabled it for links in general, too: guests and gateways use it.
    """
    if needs_no_ipv6(link):
        quiet = {"disable_ipv6": "1"}
    elif (isinstance(link, Bridge) and not link.link_local) or is_routed(link):
        quiet = {"accept_ra": "0", "accept_redirects": "0", "disable_ipv6": "0"}
    else:
        quiet = {}
    return {link_sysctl("ipv6.conf", link.name, name): value for name, value in quiet.items()}
