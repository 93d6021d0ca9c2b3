"""What the present rules make of a tracked connection.

The kernel does not record the link by which a connection came or leaves.  It came by the link
that has the address it was for, or by the link that leads back to its source.  It leaves by the
link that has the address that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from snnet.contract import (
    ExternalForward,
    IPAddress,
    IPNetwork,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    ZoneLink,
)
from snnet.system.conntrack import Connection

Way = Callable[[IPAddress], str | None]
"""The link by which an address is reached."""

CONCERNED: tuple[type[Noun], ...] = (
    PortForward,
    PublicIp,
    Masquerade,
    ExternalForward,
    ZoneLink,
)
"""The rules that decide what is translated, and what leaves."""


class Allowed:
    """The rules of a host, and its addresses with the links that have them."""

    def __init__(
        self, nouns: Iterable[Noun], local: Mapping[IPAddress, set[str]], way: Way
    ) -> None:
        self._local, self._way = local, way
        self._forwards: dict[tuple[str, int], list[PortForward]] = {}
        self._publics: list[PublicIp] = []
        self._masquerades: set[str] = set()
        self._exits: set[tuple[str, str]] = set()
        self._links: dict[str, tuple[IPNetwork, ...]] = {}
        for noun in nouns:
            match noun:
                case PortForward():
                    self._forwards.setdefault((noun.protocol, noun.port), []).append(noun)
                case PublicIp():
                    self._publics.append(noun)
                case Masquerade():
                    self._masquerades.add(noun.device)
                case ExternalForward():
                    self._exits.add((noun.device, noun.bridge))
                case ZoneLink():
                    self._links[noun.link] = noun.networks

    def __call__(self, connection: Connection) -> bool:
        """Whether a new connection of the same ends would pass, and be translated the same."""
        return self._arrives(connection) and self._leaves(connection)

    def _arrives(self, connection: Connection) -> bool:
        """Whether its target would be what it is."""
        asked, port = ip_address(connection.original_destination), connection.original_port
        answers = ip_address(connection.reply_source), connection.reply_port
        public = [rule.internal for rule in self._publics if rule.public == asked]
        if public:
            return answers == (public[0], port)
        taken = self._taken(connection, asked)
        targets: set[tuple[IPAddress, int]] = {(rule.target, rule.target_port) for rule in taken}
        return answers in (targets or {(asked, port)})

    def _taken(self, connection: Connection, asked: IPAddress) -> list[PortForward]:
        """The forwards of which one would take it."""
        if asked not in self._local:
            return []
        source = ip_address(connection.original_source)
        at = (connection.protocol_name, connection.original_port)
        rules = [
            rule
            for rule in self._forwards.get(at, ())
            if rule.address in (None, asked)
            and rule.target.version == asked.version
            and rule.admits(source)
        ]
        if self._bridges(source):
            rules = [rule for rule in rules if asked in rule.guest_addresses]
        elif rules:
            links = {*self._local[asked], self._way(source)}
            rules = [rule for rule in rules if rule.device in links]
        return [rule for rule in rules if rule.address] or rules

    def _leaves(self, connection: Connection) -> bool:
        """Whether it may leave the host where it does, with the source that it has."""
        source = ip_address(connection.original_source)
        given, server = (
            ip_address(connection.reply_destination),
            ip_address(connection.reply_source),
        )
        bridges = self._bridges(source)
        if server in self._local or self._bridges(server):
            return True  # to the host, or to the inside
        if given == source:
            # Only IPv6 leaves the inside untranslated.
            device = self._way(server) if bridges and source.version == 6 else None
            return device is None or self._leaves_by(device, source, given, bridges)
        return any(
            self._leaves_by(device, source, given, bridges) for device in self._local.get(given, ())
        )

    def _leaves_by(
        self, device: str, source: IPAddress, given: IPAddress, bridges: list[str]
    ) -> bool:
        public = [
            rule.public
            for rule in self._publics
            if rule.internal == source and rule.device == device
        ]
        if public:
            return given in public
        allowed = not bridges or any((device, bridge) in self._exits for bridge in bridges)
        return allowed and device in self._masquerades

    def _bridges(self, address: IPAddress) -> list[str]:
        """The links of zones that the address is behind."""
        found = [
            link
            for link, networks in self._links.items()
            if any(address in network for network in networks)
        ]
        way = None if found else self._way(address)
        return [way] if way in self._links else found
