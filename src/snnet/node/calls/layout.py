"""What the mode of a compute node decides about tenant VNICs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from snnet.config import VnicConfig
from snnet.contract import IPAddress, Key, Link, Noun
from snnet.core.compute_records import ComputeRecords
from snnet.core.conflicts import check_same_subnet
from snnet.core.events import TunnelEvent
from snnet.core.requests import GuestRequest, SubnetId, VnicId
from snnet.core.site import Site
from snnet.core.vnics import TenantSubnet
from snnet.system.users import uid_of

from ..claims import Thing
from ..host import HostView, Strays

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


class Layout(ABC, Generic[Q]):
    """How the VNICs of a node hang together, which is a matter of the node's mode."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def request(self, cfg: VnicConfig) -> Q:
        """The request of a create, checked whole."""

    @abstractmethod
    def address(self, request: Q, ip: IPAddress) -> Thing:
        """One of the guest's addresses, which nobody else may have."""

    @abstractmethod
    def shares(self, records: ComputeRecords, request: Q) -> bool:
        """Whether the subnet of a request is complete, so that a create only adds to it."""

    @abstractmethod
    def opening(self, request: Q) -> set[Thing]:
        """What a create needs for itself alone to make or repair the request's subnet."""

    def closing(self, subnet: SubnetId) -> set[Thing]:
        """What a destroy needs for itself alone to remove a subnet."""
        return {("subnet", *subnet)}

    def check(self, records: ComputeRecords, request: Q, gone: Collection[VnicId]) -> None:
        """Conflict where the request contradicts what the node knows, without VNICs ``gone``."""
        known = records.subnets.get(request.id[:2])
        if known is not None:
            check_same_subnet(known, request, (vnic.vnic_id for vnic in records.vnics(known.id)))
        records.check_addresses(request.id, request.ips, gone)
        if request.derived_mac:
            records.check_mac(request, gone)

    def subnets(
        self, records: ComputeRecords, wanted: Iterable[SubnetId]
    ) -> dict[SubnetId, TenantSubnet]:
        """The known subnets that a draft for these subnets' VNICs depends on."""
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
        """The subnet of a request, as the node should have it; ``subnets`` are those known.

        Without ``look`` the links of a complete subnet are taken for granted, as far as
        other operations fail without them.  Its rules are taken for granted only if they
        are ``trusted`` too: nothing would fail without them.  ``strays`` are those of the
        node's records.
        """

    @abstractmethod
    def close(
        self, subnet: TenantSubnet, subnets: Mapping[SubnetId, TenantSubnet], host: HostView
    ) -> Part:
        """What is found of a subnet whose last VNIC goes, and what of it is to stay.

        ``subnets`` are those that stay.
        """

    def check_guest(self, request: Q, host: HostView) -> None:
        """Conflict where the address of a new VNIC is taken on the host."""

    def strays(self, part: Part, strays: Strays) -> list[Link]:
        """Links that may be those of the subnet of ``close``, under other names."""
        return []

    @abstractmethod
    def opened(self, known: TenantSubnet | None, subnet: TenantSubnet) -> TunnelEvent | None:
        """The event of a VNIC on ``subnet``, which was ``known`` before."""
