"""The policy of one VNIC: what its guest may do beyond what every guest may.

It can be changed while the VNIC is in use.  No alias can hold it, so it stands in the record of
intents.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from snnet.contract import AntiSpoof, IPAddress, IPNetwork, Key, Noun, Nouns, PortGroups, Shaper
from snnet.contract.frozen import frozen

from .addressing import Addresses, Networks


@frozen()
class Policy(Noun):
    """The policy of one VNIC.  It is a noun of the record of intents alone.

    ``addresses`` and ``networks`` are the guest's beside its own addresses, in rising order and
    without overlaps.  ``anti_spoofing`` None means as the node's configuration has it.
    VNICs that ask for nothing share ``NO_POLICY``.
    """

    vnic: tuple[str, ...] = ()
    """Tenant id, subnet id and VNIC id."""
    addresses: Addresses = ()
    networks: Networks = ()
    anti_spoofing: bool | None = None
    groups: tuple[str, ...] = ()
    """Each once, sorted."""
    rate_to_guest: int | None = None
    rate_from_guest: int | None = None
    """Bits a second; None: as much as there is."""

    def make_key(self) -> Key:
        return _key(self.vnic)

    @property
    def extra(self) -> tuple[IPAddress | IPNetwork, ...]:
        """What the guest may use beside its own addresses."""
        return (*self.addresses, *self.networks)

    def is_guarded(self, *, default: bool) -> bool:
        """Whether the addresses of the guest's packets are checked."""
        return default if self.anti_spoofing is None else self.anti_spoofing

    @property
    def is_plain(self) -> bool:
        """Whether it is like that of every VNIC."""
        asked = self.addresses or self.networks or self.groups
        rates = self.rate_to_guest or self.rate_from_guest
        return not asked and not rates and self.anti_spoofing is None

    def intended(self) -> tuple[Noun, ...]:
        """What to remember of it: nothing of a policy like that of every VNIC."""
        return () if self.is_plain else (self,)

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON, by the fields of ``VnicConfig``."""
        return {
            "extra_addresses": [str(one) for one in self.extra],
            "anti_spoofing": self.anti_spoofing,
            "groups": list(self.groups),
            "rate_to_guest": self.rate_to_guest,
            "rate_from_guest": self.rate_from_guest,
        }


def _key(vnic: tuple[str, ...]) -> Key:
    return ("policy", *vnic)


NO_POLICY = Policy()
"""The policy of every VNIC that asks for nothing."""


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

    def of(self, vnic: tuple[str, ...], link: str, own: Addresses, block: str = "") -> Policy:
        """Return the policy of a VNIC with its link's name and its own addresses.

        ``block`` is the name of its ifb, if it has one.
        """
        remembered = self._remembered.get(_key(vnic))
        if isinstance(remembered, Policy):
            return remembered
        # The record may be lost: the rules say what the guest was allowed.
        port = self._ours.get(("port-groups", self._owner, link))
        guard = self._ours.get(("anti-spoof", self._owner, link))
        groups = port.groups if isinstance(port, PortGroups) else ()
        extra, networks = Addresses(), Networks()
        if isinstance(guard, AntiSpoof):
            networks = guard.networks
            if guard.addresses != own:
                extra = tuple(address for address in guard.addresses if address not in own)
        rates = self._rate(link), self._rate(block)
        if not (extra or networks or groups or any(rates)):
            return NO_POLICY
        return Policy(
            vnic=vnic,
            addresses=extra,
            networks=networks,
            groups=groups,
            rate_to_guest=rates[0],
            rate_from_guest=rates[1],
        )

    def _rate(self, link: str) -> int | None:
        found = self._ours.get(("shaper", link))
        return found.rate if isinstance(found, Shaper) else None


NO_POLICIES = Policies()
"""Where nothing is recorded and nothing found: no VNIC asks for anything."""
