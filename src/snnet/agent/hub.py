"""What concentrators of topology "hub" need of their host: addresses, and its network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from snnet.config import NetworkConfig
from snnet.contract import InvalidRequest, IPAddress, Unsupported
from snnet.node import ComputeNode

from .placing import Addresses


def check_concentrators(config: NetworkConfig) -> None:
    """Refuse a configuration with which a host could not run tenants' concentrators."""
    if config.topology == "hub" and not config.concentrator_pool:
        raise InvalidRequest(
            "is empty: concentrators of topology 'hub' need an address each; give a pool, or set "
            "topology 'local' if this host is the only one, or leave the role 'network' to others",
            field="concentrator_pool",
        )
    if config.topology == "mesh":
        raise Unsupported(
            "an agent cannot run concentrators of topology 'mesh' yet: set topology 'hub', or "
            "'local' for one host"
        )


def usable_addresses(node: ComputeNode, config: NetworkConfig) -> Addresses:
    """The addresses that concentrators on this host may have, and how to ask for them.

    Raises InvalidRequest if an address is not one of the uplink's network, where others look
    for it, or is the host's own.
    """
    uplink = node.site.uplink
    pool: tuple[IPAddress, ...] = tuple(config.concentrator_pool)  # type: ignore[arg-type]
    for address in pool:
        wire = uplink.address.network
        if address.version != wire.version or address not in wire or address == uplink.ip:
            raise InvalidRequest(
                f"{address} is not a free address of {wire}, the network of {uplink.link_name}, "
                "where others look for it",
                field="concentrator_pool",
            )

    def answering(addresses: Collection[IPAddress]) -> set[IPAddress]:
        return node.backend.answering(uplink.link_name, addresses, uplink.ip)

    return Addresses(pool, answering)


def inner_config(node: ComputeNode, config: NetworkConfig) -> NetworkConfig:
    """The configuration for the namespaces of this host's concentrators.

    From there the network of the host's uplink, which is closed to tenants, cannot be seen.
    """
    if config.topology != "hub" or config.compute_nets:
        return config
    return replace(config, compute_nets=(node.site.uplink.address.network,))
