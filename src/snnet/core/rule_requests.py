"""The checked rules of a concentrator's calls: nothing is touched before the check."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from snnet.checks import (
    Address,
    Network,
    check_address,
    check_bool,
    check_choice,
    check_int,
    check_link_name,
    check_many,
    check_network,
)
from snnet.contract import (
    PROTOCOLS,
    ExternalForward,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Key,
    Masquerade,
    PortForward,
    PublicIp,
)
from snnet.contract.nat import forward_key

from .addressing import check_public, check_unicast
from .identity import Owner
from .ports import check_ports


def port_forwards(
    owner: Owner,
    *,
    protocol: str,
    device: str,
    port: int | str,
    to: Address,
    to_port: int | None = None,
    address: Address | None = None,
    sources: Iterable[Network] = (),
) -> list[PortForward]:
    """Return the rules of one ``add_port_forward``, one for each port."""
    ports = check_ports(port, "port")
    shift = 0 if to_port is None else check_int(to_port, "to_port", 1, 65535) - ports[0]
    if ports[-1] + shift > 65535:
        raise InvalidRequest(f"{port} from {to_port} on exceeds port 65535", field="to_port")
    first = PortForward(
        owner=str(owner),
        protocol=check_choice(protocol, "protocol", PROTOCOLS),
        device=check_link_name(device, "device"),
        port=ports[0],
        target=check_address(to, "to"),
        target_port=ports[0] + shift,
        address=own_address(address),
        sources=check_many(sources, "sources", check_network),
    )
    _check_family(first.target, [first.address] if first.address else [], "address")
    _check_family(first.target, first.sources, "sources")
    return [replace(first, port=number, target_port=number + shift) for number in ports]


def own_address(address: object) -> IPAddress | None:
    """Check the ``address`` of a port forward: the address of a host, or None."""
    return None if address is None else check_unicast(address, "address")


def _check_family(first: IPAddress, others: Iterable[IPAddress | IPNetwork], field: str) -> None:
    for other in others:
        if other.version != first.version:
            raise InvalidRequest(
                f"{other} is IPv{other.version}, and {first} is IPv{first.version}", field=field
            )


def public_ip(
    owner: Owner,
    pool: Collection[IPAddress],
    gateway: IPAddress | None = None,
    *,
    address: Address,
    to: Address,
    device: str,
) -> PublicIp:
    """Return the rule of ``add_public_ip``; if there is a ``pool``, the address must be in it.

    ``gateway`` is for public addresses of its family.
    """
    public = check_public(address, "address")
    if pool and public not in pool:
        raise InvalidRequest(f"{public} is not in the floating pool", field="address")
    internal = check_address(to, "to")
    # The one of IPv6 is more likely to be the mistake.
    _check_family(public, [internal], "address" if public.version == 6 else "to")
    return PublicIp(
        owner=str(owner),
        public=public,
        internal=internal,
        device=check_link_name(device, "device"),
        gateway=gateway if gateway and gateway.version == public.version else None,
    )


def masquerade(owner: Owner, *, device: str, nat66: bool = False) -> Masquerade:
    """Return the rule of ``enable_nat`` for one device."""
    return Masquerade(owner=str(owner), device=device, nat66=check_bool(nat66, "nat66"))


def masquerade_each(
    owner: Owner, devices: Iterable[str], nat66: bool
) -> tuple[list[Masquerade], dict[str, str]]:
    """Return the rules of ``enable_nat``, and where each device stands in the arguments."""
    names = check_many(devices, "devices", check_link_name)
    rules = [masquerade(owner, device=device, nat66=nat66) for device in names]
    return rules, {device: f"devices[{number}]" for number, device in enumerate(names)}


def external_forward(owner: Owner, device: str, bridge: str) -> ExternalForward:
    """What ``allow_external`` and ``deny_external`` are about."""
    return ExternalForward(
        owner=str(owner),
        device=check_link_name(device, "device"),
        bridge=check_link_name(bridge, "bridge"),
    )


def forwarded_ports(
    owner: Owner, protocol: str, device: str, port: int | str, address: Address | None
) -> list[Key]:
    """The identities of the forwards that ``remove_port_forward`` is about.

    Without an address, they are those for any address of IPv4, and of IPv6.
    """
    check_choice(protocol, "protocol", PROTOCOLS)
    device, at = check_link_name(device, "device"), own_address(address)
    versions = (4, 6) if at is None else (at.version,)
    return [
        forward_key(str(owner), protocol, device, number, at, version=version)
        for number in check_ports(port, "port")
        for version in versions
    ]
