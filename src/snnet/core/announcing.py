"""What neighbours must be told of a guest, a subnet or a concentrator that is here now."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from snnet.contract import Announcement, Key, PublicIp

from .cnci_records import CnciRecords
from .compute_records import ComputeRecords
from .records import Records
from .rules import Rule
from .site import Site
from .subnets import CnciSubnet
from .vnics import TenantSubnet, Vnic


def of_vnic(site: Site, subnet: TenantSubnet, vnic: Vnic) -> list[Announcement]:
    """A guest that is new here may have been elsewhere, or may have had another MAC.

    In routed mode the node answers for it on the uplink.
    """
    link, mac, tunnel = vnic.link.master, vnic.mac, None
    if link is None:
        return [Announcement(link=site.uplink.link_name, address=ip) for ip in vnic.ips]
    if subnet.tunnel is not None:
        tunnel = subnet.tunnel.name
    return [Announcement(link=link, address=ip, mac=mac, elsewhere=tunnel) for ip in vnic.ips]


def of_subnet(subnet: CnciSubnet, *, renew: bool) -> Iterator[Announcement]:
    """The gateways.  ``renew``: behind a new tunnel may be guests that were elsewhere."""
    link, mac = subnet.bridge.name, subnet.bridge.mac
    for number, gateway in enumerate(subnet.scope.gateways):
        yield Announcement(link=link, address=gateway, mac=mac, renew=renew and number == 0)


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
                yield from of_vnic(records.site, records.subnets[vnic.id[:2]], vnic)
        for one in records.concentrators.values():
            yield from one.announcements(added)
    if isinstance(records, CnciRecords):
        site = records.site
        if not site.ip.is_unspecified:  # as long as it looks for an uplink
            yield Announcement(link=site.uplink.link_name, address=site.ip)
        for subnet in records.subnets.values():
            yield from of_subnet(subnet, renew=subnet.bridge.key in added)
        yield from of_rules(records.rules.values(), records.rules.keys())
