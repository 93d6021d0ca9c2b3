"""The policy of one VNIC: what its guest may do beyond what every guest may.

It can be changed while the VNIC is in use.  No alias can hold it, so it stands in the record of
intents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from types import MappingProxyType
from typing import Any

from snnet.contract import AntiSpoof, InvalidRequest, IPAddress, IPNetwork, Key, Noun, Nouns
from snnet.contract.addresses import gateway_of

from .addressing import Addresses, Networks, overlapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Noun):
    """The policy of one VNIC.  It is a noun of the record of intents alone.

    ``addresses`` and ``networks`` are the guest's beside its own addresses, in rising order and
    without overlaps.  ``anti_spoofing`` None means as the node's configuration has it.
    """

    vnic: tuple[str, ...] = ()
    """Tenant id, subnet id and VNIC id."""
    addresses: Addresses = ()
    networks: Networks = ()
    anti_spoofing: bool | None = None

    def make_key(self) -> Key:
        return ("policy", *self.vnic)

    @property
    def extra(self) -> tuple[IPAddress | IPNetwork, ...]:
        """What the guest may use beside its own addresses."""
        return (*self.addresses, *self.networks)

    def is_guarded(self, *, default: bool) -> bool:
        """Whether the addresses of the guest's packets are checked."""
        return default if self.anti_spoofing is None else self.anti_spoofing

    def intended(self) -> tuple[Noun, ...]:
        """What to remember of it: nothing of a policy like that of every VNIC."""
        return () if self == Policy(vnic=self.vnic) else (self,)

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON, by the fields of ``VnicConfig``."""
        return {
            "extra_addresses": [str(one) for one in self.extra],
            "anti_spoofing": self.anti_spoofing,
        }


NO_POLICY = Policy()
"""The policy of a VNIC that asks for nothing."""


def check_extra(
    given: Iterable[IPAddress | IPNetwork], subnets: Networks, field: str = "extra_addresses"
) -> tuple[Addresses, Networks]:
    """Check what a guest may use beside its own addresses; return addresses and networks.

    They need not be in the subnet: containers within a guest may have networks of their own.
    Nobody may pose as the gateway.
    """
    blocks: list[IPNetwork] = []
    for number, block in enumerate(given):
        network = block if isinstance(block, (IPv4Network, IPv6Network)) else _alone(block)
        _check_block(network, subnets, f"{field}[{number}]")
        blocks.append(network)
    merged: list[IPNetwork] = [
        *collapse_addresses(one for one in blocks if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in blocks if isinstance(one, IPv6Network)),
    ]
    alone = [one for one in merged if one.prefixlen == one.max_prefixlen]
    return tuple(one[0] for one in alone), tuple(one for one in merged if one not in alone)


def _alone(address: IPAddress) -> IPNetwork:
    return IPv4Network(address) if address.version == 4 else IPv6Network(address)


_NOT_UNICAST: tuple[IPNetwork, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("::/127"),
    IPv6Network("fe80::/10"),
    IPv6Network("ff00::/8"),
)
"""No sender's (RFC 1122, 3.2.1.3), of one link, for groups, or reserved (RFC 6890)."""


def _check_block(network: IPNetwork, subnets: Networks, field: str) -> None:
    if other := overlapping([network], _of(network.version, _NOT_UNICAST)):
        raise InvalidRequest(
            f"{_said(network)} has addresses of {other}, which no guest can have: name smaller "
            "networks, or set anti_spoofing=False",
            field=field,
        )
    for subnet in _of(network.version, subnets):
        if gateway_of(subnet) in network:
            raise InvalidRequest(
                f"{_said(network)} has the gateway {gateway_of(subnet)} of {subnet}: leave it out",
                field=field,
            )


def _of(version: int, networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    return [network for network in networks if network.version == version]


def _said(network: IPNetwork) -> str:
    return str(network[0] if network.prefixlen == network.max_prefixlen else network)


class Policies:
    """The policies of a node's VNICs, by the record of intents or else by what is found."""

    def __init__(
        self,
        owner: str = "",
        ours: Nouns = MappingProxyType({}),
        remembered: Nouns = MappingProxyType({}),
    ) -> None:
        self._owner = owner
        self._ours = ours
        self._remembered: Mapping[Key, Noun] = remembered

    def of(self, vnic: tuple[str, ...], link: str, own: Addresses) -> Policy:
        """Return the policy of a VNIC with its link's name and its own addresses."""
        policy = Policy(vnic=vnic)
        remembered = self._remembered.get(policy.key)
        if isinstance(remembered, Policy):
            return remembered
        # The record may be lost: the guard says what the guest was allowed.
        guard = self._ours.get(("anti-spoof", self._owner, link))
        if isinstance(guard, AntiSpoof):
            extra = tuple(address for address in guard.addresses if address not in own)
            return replace(policy, addresses=extra, networks=guard.networks)
        return policy
