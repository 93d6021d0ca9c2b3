"""Kernel parameters by which the host forwards packets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from snnet.contract import IPNetwork, Nouns, SharedSysctl
from snnet.contract.network import FORWARDING, link_sysctl

from .site import Site


def versions_of(networks: Iterable[IPNetwork]) -> frozenset[int]:
    """The IP versions of these networks."""
    return frozenset(network.version for network in networks)


def forwarded(found: Nouns) -> frozenset[int]:
    """The IP versions of kernel parameters that a node has set."""
    names = [noun.name for noun in found.values() if isinstance(noun, SharedSysctl)]
    return frozenset(6 if "ipv6" in name or "ip6" in name else 4 for name in names)


def forwarding(site: Site, versions: Collection[int]) -> Iterator[SharedSysctl]:
    """Yield the parameters for a host that forwards packets of these IP versions.

    A host that forwards IPv6 takes no more routes from router advertisements, and loses those
    that it has, unless ``accept_ra`` is 2 (rt6_purge_dflt_routers, net/ipv6/route.c).  So links
    that accepted advertisements go on to do so; this must come first.
    """
    owner = str(site.owner)
    for link in site.foreign if 6 in versions else ():
        name = link_sysctl("ipv6.conf", link, "accept_ra")
        yield SharedSysctl(owner=owner, name=name, value="2", unless=("0",))
    for version in sorted(versions):
        yield SharedSysctl(owner=owner, name=FORWARDING[version], value="1")
