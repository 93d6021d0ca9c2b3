"""The configurations that callers pass in, checked and normalised at construction.

The constructors check types and formats: an object that exists is well formed.  Each
call checks what it needs beyond that (:mod:`snnet.core.requests`).  Addresses and
networks may be strings or ``ipaddress`` objects; they are kept as ``ipaddress`` objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from snnet.contract import TUNNELS as TUNNEL_NOUNS
from snnet.contract import InvalidRequest
from snnet.contract.addresses import is_host_name
from snnet.contract.errors import shown
from snnet.contract.keywords import refuse_unknown, refusing_unknown
from snnet.contract.links import TAP_QUEUES_MAX
from snnet.contract.roles import NetworkMode as NetworkMode
from snnet.contract.roles import VnicRole as VnicRole
from snnet.contract.shaping import check_rate
from snnet.contract.values import plain_text

from .checks import (
    Address,
    Cidrs,
    Network,
    check_address,
    check_block,
    check_bool,
    check_choice,
    check_enum,
    check_families,
    check_id,
    check_int,
    check_mac,
    check_many,
    check_mtu,
    check_network,
    check_text,
    check_uid,
)
from .yamlfile import read_yaml


@refusing_unknown
@dataclass(frozen=True, slots=True, kw_only=True)
class VnicConfig:
    """All that describes one VNIC.  Each method documents which fields it needs.

    ``subnet_key`` is the tunnel key, 1 to 2**32-1 (2**24-1 if it is a VNI).
    ``subnet`` and ``ip`` are one value, or a tuple of one of each family, which is kept with
    IPv4 first.  ``mac=None`` means ``mac_for(ip)``.  ``mtu`` is in bytes and applies to this VNIC
    only.  ``queues`` > 1 creates a multi-queue tap.  ``owner`` is the user of the host
    (name or uid) that may open the tap of a VM; with None only root may.
    ``extra_addresses`` are addresses and networks that the guest may use beside its own.
    ``anti_spoofing`` False lets it use any; None means as the node's configuration has it.
    It sends and receives what the tenant's security ``groups`` allow, ``rate_from_guest`` and
    ``rate_to_guest`` at most (bits a second, or text: "100mbit").
    """

    role: VnicRole = VnicRole.TENANT_VM
    vnic_id: str | None = None
    instance_id: str | None = None
    tenant_id: str | None = None
    subnet_id: str | None = None
    concentrator_id: str | None = None
    concentrator_ip: Address | None = None
    subnet: Cidrs | None = None
    subnet_key: int | None = None
    ip: Address | tuple[Address, ...] | None = None
    mac: str | None = None
    mtu: int | None = None
    queues: int = 1
    owner: str | int | None = None
    extra_addresses: Iterable[Address | Network] = ()
    anti_spoofing: bool | None = None
    groups: Iterable[str] = ()
    rate_to_guest: int | str | None = None
    rate_from_guest: int | str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        if not isinstance(self.role, VnicRole):
            put(self, "role", check_enum(self.role, "role", VnicRole))
        for name in ("vnic_id", "instance_id", "tenant_id", "subnet_id", "concentrator_id"):
            value = getattr(self, name)
            if value is not None:
                put(self, name, check_id(value, name))
        if self.concentrator_ip is not None:
            put(self, "concentrator_ip", check_address(self.concentrator_ip, "concentrator_ip"))
        if self.subnet_key is not None:
            put(self, "subnet_key", check_int(self.subnet_key, "subnet_key", 1, 2**32 - 1))
        both: tuple[tuple[str, Callable[[object, str], Any]], ...]
        both = (("subnet", check_network), ("ip", check_address))
        for name, check in both:
            if (value := getattr(self, name)) is not None:
                values = check_families(value, name, check)
                put(self, name, values[0] if len(values) == 1 else values)
        if self.mac is not None:
            put(self, "mac", check_mac(self.mac, "mac"))
        if self.mtu is not None:
            put(self, "mtu", check_mtu(self.mtu, "mtu"))
        put(self, "queues", check_int(self.queues, "queues", 1, TAP_QUEUES_MAX))
        if self.owner is not None:
            by_name = isinstance(self.owner, str)
            put(self, "owner", (check_text if by_name else check_uid)(self.owner, "owner"))
        if self.extra_addresses != ():
            extra = check_many(self.extra_addresses, "extra_addresses", check_block)
            put(self, "extra_addresses", extra)
        if self.anti_spoofing is not None:
            check_bool(self.anti_spoofing, "anti_spoofing")
        if self.groups != ():
            put(self, "groups", check_many(self.groups, "groups", check_id))
        for name in ("rate_to_guest", "rate_from_guest"):
            put(self, name, check_rate(getattr(self, name), name))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``VnicConfig(**data)`` makes an equal object."""
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        data["role"] = self.role.value
        data |= {name: list(map(str, data[name])) for name in data if type(data[name]) is tuple}
        data = {name: value for name, value in data.items() if value != []}
        return {
            name: value if isinstance(value, (int, str, list)) else str(value)
            for name, value in data.items()
            if value is not None
        }


@refusing_unknown
@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """One entry of a tenant's mesh of concentrators: a peer and one subnet behind it.

    ``physical_ip`` is the concentrator's address on the compute network,
    ``tunnel_ip`` its address in the mesh, and ``tunnel_id`` the key of the mesh.
    """

    physical_ip: Address
    subnet: Network
    tunnel_ip: Address
    tunnel_id: int

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "physical_ip", check_address(self.physical_ip, "physical_ip"))
        put(self, "subnet", check_network(self.subnet, "subnet"))
        put(self, "tunnel_ip", check_address(self.tunnel_ip, "tunnel_ip"))
        put(self, "tunnel_id", check_int(self.tunnel_id, "tunnel_id", 1, 2**32 - 1))


def _check_domain(value: object) -> str:
    if isinstance(value, str) and is_host_name(value) and value == value.lower():
        return plain_text(value)
    raise InvalidRequest(f"{shown(value)} is not a lower-case domain name", field="domain_name")


TUNNELS = tuple(noun.protocol for noun in TUNNEL_NOUNS)
NODE_NUMBER_MAX = 16383
TOPOLOGIES = ("hub", "mesh", "local")
MACVTAP_MODES = ("bridge", "vepa")
"""The modes in which a concentrator and the network of its host reach each other."""


@refusing_unknown
@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The configuration of the data-centre network; docs/configuration.md has each setting.

    ``compute_nets`` and ``management_nets`` (CIDRs) classify a node's uplinks; empty means
    the node's only real link.  ``mtu`` (bytes) caps the tenant MTU where nodes differ.
    ``node_number`` (0 to 16383) differs on every compute node; all else is the same on all
    nodes.  Wrong and unknown values are InvalidRequest.
    """

    compute_nets: Iterable[Network] = ()
    management_nets: Iterable[Network] = ()
    mode: NetworkMode = NetworkMode.GRE_TUNNEL
    tunnel: str = "gre"
    mtu: int | None = None
    macvtap_mode: str = "bridge"
    floating_pool: Iterable[Address] = ()
    public_gateway: Address | None = None
    dhcp_reserved: int = 0
    domain_name: str | None = None
    anti_spoofing: bool = True
    node_number: int | None = None
    allow_to_nets: Iterable[Network] = ()
    topology: str = "hub"
    mesh_port: int = 8473
    concentrator_pool: Iterable[Address] = ()
    dns: bool = True

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, check in (
            ("compute_nets", check_network),
            ("management_nets", check_network),
            ("allow_to_nets", check_network),
            ("floating_pool", check_address),
            ("concentrator_pool", check_address),
        ):
            put(self, name, check_many(getattr(self, name), name, check))
        put(self, "mode", check_enum(self.mode, "mode", NetworkMode))
        for name, known in (
            ("tunnel", TUNNELS),
            ("topology", TOPOLOGIES),
            ("macvtap_mode", MACVTAP_MODES),
        ):
            put(self, name, check_choice(getattr(self, name), name, known))
        if self.mtu is not None:
            put(self, "mtu", check_mtu(self.mtu, "mtu"))
        if self.public_gateway is not None:
            put(self, "public_gateway", check_address(self.public_gateway, "public_gateway"))
        check_bool(self.anti_spoofing, "anti_spoofing")
        check_bool(self.dns, "dns")
        for name, low, high in (
            ("mesh_port", 1, 65535),
            ("dhcp_reserved", 0, 2**16),
            ("node_number", 0, NODE_NUMBER_MAX),
        ):
            if name != "node_number" or self.node_number is not None:
                put(self, name, check_int(getattr(self, name), name, low, high))
        if self.domain_name is not None:
            put(self, "domain_name", _check_domain(self.domain_name))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkConfig:
        """Make a configuration from plain data; refuse unknown names (InvalidRequest)."""
        if not isinstance(data, Mapping):
            raise InvalidRequest(f"{shown(data)} is not a mapping of settings", field="data")
        refuse_unknown(data, {item.name for item in fields(cls)}, "unknown setting")
        return cls(**data)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> NetworkConfig:
        """Read a YAML file with one mapping; see ``snnet.yamlfile.read_yaml`` for its limits."""
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise InvalidRequest(f"{path} does not hold one mapping of settings", field="path")
        return cls.from_dict(data)
