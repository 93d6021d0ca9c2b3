"""Options of ``docker network create`` (``-o``, ``--ipam-opt``), and Docker's own options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import Any

from snnet.checks import check_address, check_id
from snnet.cluster import DEFAULT_TENANT
from snnet.contract import InvalidRequest, IPAddress, IPInterface
from snnet.contract.addresses import of_family
from snnet.contract.errors import shown
from snnet.core.addressing import Addresses, Networks, check_guest

from . import messages

TENANT = "snnet.tenant"
SUBNET_ID = "snnet.subnet_id"
SUBNET_KEY = "snnet.subnet_key"
CONCENTRATOR_ID = "snnet.concentrator_id"
CONCENTRATOR_IP = "snnet.concentrator_ip"
MTU = "snnet.mtu"
NETWORK = "snnet.network"
BRIDGE = "bridge"

OURS = (TENANT, SUBNET_ID, SUBNET_KEY, CONCENTRATOR_ID, CONCENTRATOR_IP, MTU)
"""Our options where they describe a network completely."""

CLUSTERS = (TENANT, NETWORK, MTU)
"""Our options where a cluster knows the networks."""

_DOCKER_MTU = "com.docker.network.driver.mtu"
_GENERIC = "com.docker.network.generic"
_INTERNAL = "com.docker.network.internal"
_PORTS = "com.docker.network.portmap"


def refuse_unknown(options: Iterable[str], known: Iterable[str]) -> None:
    """Reject unknown ``snnet.*`` options."""
    for name in options:
        if name.startswith("snnet.") and name not in known:
            raise InvalidRequest(f"unknown option; valid options: {', '.join(known)}", field=name)


def generic(options: Mapping[str, Any]) -> dict[str, str]:
    """The ``-o`` options of a CreateNetwork request."""
    found = options.get(_GENERIC) or {}
    if not isinstance(found, dict):
        raise InvalidRequest("not a JSON object", field=_GENERIC)
    for name, value in found.items():
        if not isinstance(value, str):
            raise InvalidRequest("not a string", field=name)
    return found


def is_internal(options: Mapping[str, Any]) -> bool:
    """Whether the network was created with ``--internal``."""
    return options.get(_INTERNAL) is True


def refuse_ports(options: Mapping[str, Any]) -> None:
    """Reject ``docker run -p``, since the host has no route into a tenant's network."""
    if options.get(_PORTS):
        raise InvalidRequest(
            "ports of tenants' containers are not published by their host: leave out -p, and "
            "have the concentrator forward one (Cnci.add_port_forward)",
            field=_PORTS,
        )


def subnet_fields(options: Mapping[str, str]) -> dict[str, Any]:
    """The options as fields of a network, each one checked.

    The default id of the concentrator is its address.  The node checks which fields its
    mode requires.
    """
    fields: dict[str, Any] = {}
    for name, field in ((TENANT, "tenant_id"), (SUBNET_ID, "subnet_id")):
        if name in options:
            fields[field] = check_id(options[name], name)
    if CONCENTRATOR_IP in options:
        ip = check_address(options[CONCENTRATOR_IP], CONCENTRATOR_IP)
        fields["concentrator_ip"] = ip
        fields["concentrator_id"] = str(ip).replace(":", "-")
    if CONCENTRATOR_ID in options:
        fields["concentrator_id"] = check_id(options[CONCENTRATOR_ID], CONCENTRATOR_ID)
    for name, field in ((SUBNET_KEY, "subnet_key"), (_DOCKER_MTU, "mtu"), (MTU, "mtu")):
        if name in options:
            fields[field] = _number(options[name], name)
    return fields


def cluster_fields(options: Mapping[str, str]) -> dict[str, Any]:
    """The options that name a network of a cluster, as fields of a network, each one checked.

    The cluster has the rest.
    """
    known = {name: options[name] for name in (*CLUSTERS, _DOCKER_MTU) if name in options}
    fields = {"tenant_id": DEFAULT_TENANT, "subnet_id": "", **subnet_fields(known)}
    if NETWORK in options:
        fields["subnet_id"] = check_id(options[NETWORK], NETWORK)
    return fields


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InvalidRequest(f"{shown(text)} is not a whole number", field=name)
    return int(text)


def interface(text: str, field: str) -> IPInterface:
    """Parse an address with a prefix length, as Go formats an IPNet."""
    try:
        found = ip_interface(text)
    except ValueError:
        raise InvalidRequest(
            f"{shown(text)} is not an address with a prefix length", field=field
        ) from None
    check_address(found.ip, field)
    return found


def assigned(subnets: Networks, given: messages.Interface) -> Addresses:
    """The addresses that Docker's IPAM driver assigned, one in each subnet."""
    texts = {4: ("Address", given.Address), 6: ("AddressIPv6", given.AddressIPv6)}
    ips: list[IPAddress] = []
    for version, (field, text) in texts.items():
        subnet = of_family(subnets, version)
        if text and subnet is None:
            raise InvalidRequest(f"the network has no IPv{version} subnet", field=field)
        if subnet is None:
            continue
        if not text:
            raise InvalidRequest(
                "is needed: the network's IPAM driver must assign one", field=field
            )
        ips.append(check_guest(interface(text, field).ip, (subnet,)))
    return tuple(ips)
