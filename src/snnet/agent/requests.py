"""What a host must have, as the calls of its nodes take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnet.cluster import Network
from snnet.cluster.claims import id_of
from snnet.cluster.documents import plain
from snnet.core.local_requests import ConcentratorConfig, HostForward, LocalSubnet
from snnet.core.requests import lowest_mtu
from snnet.core.wanted import Subnet

from .wanted import TenantWanted


def tunnel_key(network: Network) -> int:
    """The key of a stored network, which always has one."""
    assert network.key is not None
    return network.key


def concentrator_config(wanted: TenantWanted) -> ConcentratorConfig:
    """The concentrator as the compute node of its host takes it."""
    publics = [
        item.address
        for item in wanted.public_ips
        if item.address and id_of(item) not in wanted.refused
    ]
    if wanted.address is not None:
        return ConcentratorConfig(
            tenant_id=wanted.tenant,
            concentrator_id=wanted.tenant,
            address=wanted.address,
            public_ips=publics,
        )
    return ConcentratorConfig(
        tenant_id=wanted.tenant,
        concentrator_id=wanted.tenant,
        subnets=[
            LocalSubnet(subnet_id=item.name, subnet=item.subnet, subnet_key=tunnel_key(item))
            for item in wanted.networks
            if id_of(item) not in wanted.refused
        ],
        forwards=[
            HostForward(protocol=item.protocol, port=plain(item.port), sources=item.sources)
            for item in wanted.forwards
            if id_of(item) not in wanted.refused
        ],
        public_ips=publics,
    )


def subnets(wanted: TenantWanted, links: Mapping[str, str]) -> list[Subnet]:
    """The subnets as the concentrator takes them.

    ``links`` lead to their bridges on the same host; with an address it has tunnels instead.
    """
    return [
        Subnet(
            item.subnet,
            tunnel_key(item),
            remotes=wanted.remotes.get(item.name, ()) if wanted.address else (),
            link=links.get(item.name),
            entries=wanted.entries.get(item.name, ()),
            # A network whose MTU does not fit says so; its gateway works nevertheless.
            mtu=item.mtu and max(item.mtu, lowest_mtu(item.subnet)),
        )
        for item in wanted.networks
        if wanted.address or item.name in links
    ]


def forwards(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The forwards as the concentrator takes them, by its link to the outside.

    Without an address of its own the host has looked at the sources.
    """
    return [
        {
            "protocol": item.protocol,
            "device": device,
            "port": plain(item.port),
            "to": address,
            "to_port": item.to_port,
            "sources": [
                source
                for source in (item.sources if wanted.address else ())
                if source.version == address.version
            ],
        }
        for item in wanted.forwards
        if id_of(item) not in wanted.refused
        for address in wanted.led_to(item)
    ]


def public_ips(wanted: TenantWanted, device: str) -> list[dict[str, Any]]:
    """The public addresses as the concentrator takes them."""
    return [
        {
            "address": item.address,
            "to": wanted.guests[item.to][item.address.version],
            "device": device,
        }
        for item in wanted.public_ips
        if item.address and id_of(item) not in wanted.refused
    ]
