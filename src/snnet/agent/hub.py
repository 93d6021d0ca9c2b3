"""What concentrators of many hosts need of theirs: addresses, and its network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from snnet.config import NetworkConfig
from snnet.contract import Address, InvalidRequest, IPAddress, Route
from snnet.core.local_requests import check_apart_from
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


def usable_addresses(node: ComputeNode, config: NetworkConfig) -> Addresses:
    """The addresses that concentrators on this host may have, and how to ask who answers.

    In topology "mesh" they need none, and their hosts are asked for.  Raises InvalidRequest if
    an address is not one of the uplink's network, where others look for it, or is the host's own.
    """
    uplink = node.site.uplink
    pool: tuple[IPAddress, ...] = ()
    if config.topology == "hub":
        pool = tuple(config.concentrator_pool)  # type: ignore[arg-type]
    for address in pool:
        wire = uplink.address.network
        if address.version != wire.version or address not in wire or address == uplink.ip:
            raise InvalidRequest(
                f"{address} is not a free address of {wire}, the network of {uplink.link_name}, "
                "where others look for it",
                field="concentrator_pool",
            )

    def answering(addresses: Collection[IPAddress]) -> set[IPAddress]:
        # Behind a router nobody can be asked, so that a silent host proves nothing.
        wire = uplink.address.network
        near = [ip for ip in addresses if ip.version == wire.version and ip in wire]
        found = node.backend.answering(uplink.link_name, near, uplink.ip)
        return {ip for ip in addresses if ip not in near} | found

    return Addresses(pool, answering)


def why_not_public(node: ComputeNode) -> Callable[[IPAddress], str | None]:
    """Return what says why a concentrator on this host cannot have a public address, if so.

    Others would lose the address: the host itself, or all hosts that go by the same router.
    """
    found = node.backend.snapshot({Address, Route}).values()
    own = {noun.address.ip for noun in found if isinstance(noun, Address)}
    gateways = {noun.gateway for noun in found if isinstance(noun, Route)}
    wire = node.site.uplink.address.network

    def why(address: IPAddress) -> str | None:
        if address in own:
            return f"{address} is an address of the concentrator's host itself"
        if address in gateways:
            return f"{address} is a gateway of the concentrator's host"
        try:
            check_apart_from(wire, address, "address")
        except InvalidRequest as error:
            return str(error)
        return None

    return why


def inner_config(node: ComputeNode, config: NetworkConfig) -> NetworkConfig:
    """The configuration for the namespaces of this host's concentrators.

    From there the network of the host's uplink, which is closed to tenants, cannot be seen.
    """
    if config.topology == "local" or config.compute_nets:
        return config
    return replace(config, compute_nets=(node.site.uplink.address.network,))
