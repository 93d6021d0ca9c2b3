"""What neighbours must be told of a guest, a subnet or a concentrator that is here now."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from snnet.contract import Announcement, Key, PublicIp
from snnet.contract.addresses import gateway_of

from .cnci_records import CnciRecords
from .compute_records import ComputeRecords
from .records import Records
from .rules import Rule
from .site import Site
from .subnets import CnciSubnet
from .vnics import TenantSubnet, Vnic


def of_vnic(site: Site, subnet: TenantSubnet, vnic: Vnic) -> Announcement:
    """A guest that is new here may have been elsewhere, or may have had another MAC.

    In routed mode the node answers for it on the uplink.
    """
    if vnic.bridge is None:
        return Announcement(link=site.uplink.link_name, address=vnic.ip)
    tunnel = subnet.tunnel.name if subnet.tunnel else None
    return Announcement(link=vnic.bridge, address=vnic.ip, mac=vnic.mac, elsewhere=tunnel)


def of_subnet(subnet: CnciSubnet, *, renew: bool) -> Announcement:
    """The gateway.  ``renew``: behind a new tunnel may be guests that were elsewhere."""
    gateway = gateway_of(subnet.network)
    return Announcement(
        link=subnet.bridge.name, address=gateway, mac=subnet.bridge.mac, renew=renew
    )


def of_rules(rules: Iterable[Rule], added: Container[Key]) -> Iterator[Announcement]:
    """The public addresses of rules that are new."""
    for rule in rules:
        if isinstance(rule, PublicIp) and rule.key in added:
            yield Announcement(link=rule.device, address=rule.public)


def of_node(records: Records, added: Container[Key]) -> Iterator[Announcement]:
    """What a rebuild or a repair that added these nouns has to say.

    A concentrator as a whole may have been on another host.
    """
    if isinstance(records, ComputeRecords):
        for vnic in records.vnics():
            if vnic.link.key in added:
                yield of_vnic(records.site, records.subnets[vnic.id[:2]], vnic)
    if isinstance(records, CnciRecords):
        site = records.site
        if not site.ip.is_unspecified:  # as long as it looks for an uplink
            yield Announcement(link=site.uplink.link_name, address=site.ip)
        for subnet in records.subnets.values():
            yield of_subnet(subnet, renew=subnet.bridge.key in added)
        yield from of_rules(records.rules.values(), records.rules.keys())
