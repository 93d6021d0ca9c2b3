"""What the mode of a compute node decides about tenant VNICs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from snnet.config import VnicConfig
from snnet.contract import IPAddress, Key, Link, Noun
from snnet.core import identity as ids
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import check_same_subnet
from snnet.core.events import TunnelEvent
from snnet.core.requests import GuestRequest, SubnetId, VnicId
from snnet.core.site import Site
from snnet.core.vnics import TenantSubnet
from snnet.system.users import uid_of

from ..claims import Thing
from ..host import HostView

Q = TypeVar("Q", bound=GuestRequest)


@dataclass(slots=True)
class Part:
    """A subnet in a draft: its record, its nouns as wanted, and as found on the host."""

    subnet: TenantSubnet
    wanted: dict[Key, Noun] = field(default_factory=dict)
    found: dict[Key, Noun] = field(default_factory=dict)


def with_uid(cfg: VnicConfig) -> VnicConfig:
    """The same config with the owner's uid, if this host has a user of that name."""
    owner = cfg.owner if isinstance(cfg, VnicConfig) else None
    uid = uid_of(owner) if isinstance(owner, str) else None
    return cfg if uid is None else replace(cfg, owner=uid)


def is_whole(subnet: TenantSubnet, host: HostView) -> bool:
    """Whether the subnet's tunnel is on the host, as a port of its bridge."""
    tunnel = subnet.tunnel
    if tunnel is None:
        return False
    found = host.link_now(tunnel)
    return found is not None and not tunnel.differences(found)


class Layout(ABC, Generic[Q]):
    """How a node connects its VNICs, which depends on its mode."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def request(self, cfg: VnicConfig) -> Q:
        """The request of a create, checked whole."""

    def address(self, request: Q, ip: IPAddress) -> Thing:
        """Return the claim on one of the guest's addresses, which is exclusive."""
        return ("ip", *request.id[:2], ip)

    @abstractmethod
    def shares(self, records: ComputeRecords, request: Q) -> bool:
        """Whether the subnet of a request is complete, so that a create only adds to it."""

    @abstractmethod
    def opening(self, request: Q) -> set[Thing]:
        """Return what a create claims exclusively to make or repair the request's subnet."""

    def closing(self, subnet: SubnetId) -> set[Thing]:
        """Return what a destroy claims exclusively to remove a subnet."""
        return {("subnet", *subnet)}

    def check(self, records: ComputeRecords, request: Q, gone: Collection[VnicId]) -> None:
        """Raise Conflict if the request contradicts the records; VNICs in ``gone`` do not count."""
        known = records.subnets.get(request.id[:2])
        if known is not None:
            check_same_subnet(known, request, lambda: records.vnics(known.id))
        records.check_addresses(request.id, request.ips, gone)
        if request.derived_mac:
            records.check_mac(request, gone)

    def subnets(
        self, records: ComputeRecords, wanted: Iterable[SubnetId]
    ) -> dict[SubnetId, TenantSubnet]:
        """Return the known subnets that a draft for VNICs of these subnets depends on."""
        known = records.subnets
        return {key: known[key] for key in wanted if key in known}

    @abstractmethod
    def open(
        self,
        request: Q,
        subnets: Mapping[SubnetId, TenantSubnet],
        host: HostView,
        strays: Mapping[tuple[str, ...], str],
        *,
        look: bool,
        trusted: bool,
    ) -> Part:
        """Return the subnet of a request as the node should have it; ``subnets`` are the known.

        Without ``look`` the links of a complete subnet are not looked up, if other operations
        would fail without them.  Nothing would fail without its rules, so they are looked up
        unless they are ``trusted``.  ``strays`` are those of the node's records.
        """

    @abstractmethod
    def close(
        self, subnet: TenantSubnet, subnets: Mapping[SubnetId, TenantSubnet], host: HostView
    ) -> Part:
        """Return what is found of a subnet whose last VNIC is removed, and what of it stays.

        ``subnets`` are those that stay.
        """

    def check_guests(self, requests: Sequence[Q], host: HostView) -> None:
        """Raise Conflict if the address of a new VNIC is in use on the host or next to it."""

    def strays(self, part: Part, host: HostView) -> list[Link]:
        """Return links that may belong to the subnet of ``close``, under other names."""
        subnet, found = part.subnet, list[Link]()
        for kind, link in ((ids.BRIDGE, subnet.bridge), (ids.TUNNEL, subnet.tunnel)):
            if link is not None and link.key not in part.found:
                found += host.listing.stray(kind, subnet.id)
        return found

    @abstractmethod
    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        """Return the event of a new VNIC on ``subnet``; ``known`` is the subnet before it."""
