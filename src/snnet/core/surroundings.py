"""What else is on a host: checked before networks, addresses and ports enter it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from ipaddress import ip_network

from snnet.contract import (
    Address,
    Conflict,
    IPAddress,
    IPNetwork,
    Link,
    Noun,
    PortForward,
    Route,
    Tunnel,
)

from . import identity as ids
from .addressing import check_end
from .identity import Owner


class Surroundings:
    """Links, addresses and routes of a host that are not those of ``owner``.

    Every check raises a Conflict that names the other thing, or InvalidRequest for an address
    that no host of a network can have.
    """

    def __init__(
        self,
        owner: Owner,
        read: Callable[[type[Noun]], Iterable[Noun]],
        find: Callable[[str], Link | None],
    ) -> None:
        """``read`` returns everything of a kind on the host; only what a check needs is read.

        ``find`` returns the link of a name, or None: a check asks for the owner of a link that
        is in the way, and of no other.
        """
        self._owner = str(owner)
        self._read = read
        self._find = find

    @cached_property
    def _addresses(self) -> list[Address]:
        return [noun for noun in self._read(Address) if isinstance(noun, Address)]

    @cached_property
    def _routes(self) -> list[Route]:
        return [noun for noun in self._read(Route) if isinstance(noun, Route)]

    def _is_foreign(self, link: str) -> bool:
        return self._owner_of(link) != self._owner

    def _counts(self, noun: Address) -> bool:
        """Whether the address is an obstacle: somebody else's, and not of this host alone."""
        return not noun.address.is_loopback and self._is_foreign(noun.link)

    def _owner_of(self, link: str) -> str:
        """Whose link it says to be, in our link group; empty if it does not say."""
        found = self._find(link)
        return "" if found is None else ids.owner_of(found)

    def check_network(
        self, network: IPNetwork, what: str, *, beside: str | None = None, single: bool = True
    ) -> None:
        """A network that packets are routed to by a link of ours.

        It must not take traffic from the host's networks, its gateways, its static routes
        or another owner's networks.  A wider static route is no obstacle.  What is on
        the link ``beside`` is left out.  ``single`` False: so are single addresses and gateways,
        which are checked with each address that is taken of the network.
        """

        def hinders(link: str, other: IPNetwork) -> bool:
            if link == beside or not network.overlaps(other):
                return False
            return single or other.prefixlen < other.max_prefixlen

        for noun in self._addresses:
            if hinders(noun.link, noun.address.network) and self._counts(noun):
                raise Conflict(f"{what} overlaps {noun.address} on {self.named(noun.link)}")
        for route in self._routes:
            gateway = route.gateway if single else None
            if gateway is not None and gateway in network and self._is_foreign(route.link):
                raise Conflict(f"{what} holds {gateway}, a gateway of this host ({route})")
            narrower = route.destination.prefixlen >= network.prefixlen
            hinder = narrower and hinders(route.link, route.destination)
            if hinder and self._is_foreign(route.link):
                raise Conflict(
                    f"{what} overlaps {route.destination}, which this host reaches by "
                    f"{self.named(route.link)}"
                )

    def check_address(self, address: IPAddress, what: str) -> None:
        """An address that a guest is reached by: nobody else on the host may have it."""
        around = [
            noun
            for noun in self._addresses
            if address in noun.address.network and self._counts(noun)
        ]
        for noun in around:
            if address != noun.address.ip:
                check_end(address, noun.address.network, "address")
            else:
                raise Conflict(f"{what}: {self.named(noun.link)} has {noun.address} already")
        self.check_gateway(address, what)
        single = ip_network(address)
        for route in self._routes:
            if route.destination == single and self._is_foreign(route.link):
                raise Conflict(f"{what}: this host reaches it by {self.named(route.link)} already")
        for noun in around:
            if self._owner_of(noun.link):
                raise Conflict(f"{what} is in {noun.address} on {self.named(noun.link)}")

    def check_gateway(self, address: IPAddress, what: str) -> None:
        """An address that no route of the host may go by."""
        for route in self._routes:
            if route.gateway == address and self._is_foreign(route.link):
                raise Conflict(f"{what} is a gateway of this host ({route})")

    def network_around(self, network: IPNetwork, link: str) -> IPNetwork | None:
        """The network of the link that holds this one, if there is one."""
        for noun in (noun for noun in self._addresses if noun.link == link):
            one = noun.address.network
            holds = one.prefixlen <= network.prefixlen and network.network_address in one
            if holds and self._counts(noun):
                return one
        return None

    def has_address(self, address: IPAddress) -> bool:
        """Whether a link that is not this node's has the address."""
        return any(noun.address.ip == address and self._counts(noun) for noun in self._addresses)

    def check_port(self, forward: PortForward, uplink: str) -> None:
        """A forward must not take the packets of another tunnel of the host."""
        if not _may_take(forward, uplink):
            return
        for link in self._read(Link):
            if (
                isinstance(link, Link)
                and takes_port_of(forward, link, uplink)
                and self._is_foreign(link.name)
            ):
                raise port_collision(forward, link, self.named(link.name))

    def named(self, name: str) -> str:
        """The link, and whose it is where that is another node."""
        owner = self._owner_of(name)
        return f"link {name} of {owner}" if owner else f"link {name}"


def check_place(networks: Iterable[IPNetwork], around: Surroundings) -> None:
    """Conflict where a subnet behind a namespace of this host has addresses of the host's networks.

    Who comes from there to a forward or a public address would get no answer: a guest would.
    """
    for network in networks:
        around.check_network(network, f"subnet {network}")


def takes_port_of(forward: PortForward, tunnel: Link | None, uplink: str) -> bool:
    """Whether a port forward on the uplink leads away the packets of a tunnel.

    A tunnel without a local address (geneve) may have any of the uplink's.
    """
    local = getattr(tunnel, "local", None)
    return (
        _may_take(forward, uplink)
        and getattr(tunnel, "port", None) == forward.port
        and (forward.address is None or local in (None, forward.address))
    )


def _may_take(forward: PortForward, uplink: str) -> bool:
    """Whether packets of tunnels arrive where it forwards."""
    return forward.protocol == "udp" and forward.device == uplink


def port_collision(forward: PortForward, tunnel: Link, named: str) -> Conflict:
    return Conflict(
        f"port {forward.protocol}/{forward.port} on {forward.device} is that of the tunnel "
        f"{named}, whose packets the forward would take"
    )


def check_forwards(forwards: Iterable[Noun], tunnel: Tunnel | Link, uplink: str) -> None:
    """Conflict where one of the forwards takes the packets of a tunnel of ours."""
    for forward in forwards:
        if isinstance(forward, PortForward) and takes_port_of(forward, tunnel, uplink):
            raise port_collision(forward, tunnel, tunnel.name)


def check_remote_outside(remote: IPAddress, networks: Iterable[IPNetwork]) -> None:
    """Conflict where a tunnel's far end is in a network that is reached through tunnels."""
    for network in networks:
        if remote in network:
            raise Conflict(
                f"{remote}, the far end of a tunnel, is in {network}, which is behind it"
            )
