"""The configurations that callers pass in, checked and normalised at construction.

The constructors check types and formats: an object that exists is well formed.  Each
call checks what it needs beyond that (:mod:`snnet.core.requests`).  Addresses and
networks may be strings or ``ipaddress`` objects; they are kept as ``ipaddress`` objects.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, TypeVar

from snnet.contract import TUNNELS as TUNNEL_NOUNS
from snnet.contract import InvalidRequest, IPAddress, IPNetwork
from snnet.contract.addresses import (
    MTU_MAX,
    MTU_MIN,
    NO_MAC,
    is_host_name,
    is_mac,
    is_multicast_mac,
)
from snnet.contract.keywords import refuse_unknown, refusing_unknown
from snnet.contract.links import TAP_QUEUES_MAX
from snnet.contract.roles import NetworkMode as NetworkMode
from snnet.contract.roles import VnicRole as VnicRole
from snnet.contract.shaping import check_rate

from .yamlfile import read_yaml

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_SHOWN = reprlib.Repr()
_SHOWN.maxlevel = 4
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 300
_SHOWN.maxdict = _SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxset = 20

Address = IPAddress | str
Network = IPNetwork | str
Cidrs = Network | tuple[Network, ...]


def shown(value: object) -> str:
    """Return a value as error messages show it, shortened where it is long."""
    try:
        return _SHOWN.repr(value)
    except ValueError:  # Python refuses to print an int of more than 4300 digits
        return f"a {type(value).__name__} too long to print"


def check_id(value: object, field: str) -> str:
    """Check an id: 1 to 64 of ``A-Z a-z 0-9 . _ -``, starting with a letter or a digit."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise InvalidRequest(
        f"{shown(value)} is not an id: give 1 to 64 of A-Z a-z 0-9 . _ -, "
        "starting with a letter or a digit",
        field=field,
    )


def check_address(value: object, field: str) -> IPAddress:
    """Check an IP address: text or an ``ipaddress`` object, without prefix or zone."""
    if type(value) is IPv4Address:
        return value
    address: object = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            address = ip_address(value)
    # An interface is a subclass of an address, and prints with its prefix.
    if (
        isinstance(address, (IPv4Address, IPv6Address))
        and not isinstance(address, (IPv4Interface, IPv6Interface))
        and not _has_zone(address)
    ):
        return address
    raise InvalidRequest(f"{shown(value)} is not an IP address like '10.1.0.9'", field=field)


_F = TypeVar("_F", bound=IPAddress | IPNetwork)


def check_families(value: object, field: str, check: Callable[[object, str], _F]) -> tuple[_F, ...]:
    """Check one value, or a list of one of each family; return IPv4 before IPv6."""
    if not isinstance(value, (tuple, list)):
        return (check(value, field),)
    checked: tuple[_F, ...] = check_many(value, field, check)
    found = {item.version: item for item in checked}
    if not checked or len(found) < len(checked):
        raise InvalidRequest(
            f"{shown(value)} is not one value, nor one of each family, IPv4 and IPv6", field=field
        )
    return tuple(found[version] for version in sorted(found))


def _has_zone(address: IPAddress) -> bool:
    """Whether an IPv6 address has a zone, the name of a link (RFC 4007, section 11)."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def check_network(value: object, field: str) -> IPNetwork:
    """Check a network in CIDR notation; host bits are refused."""
    if type(value) is IPv4Network:
        return value
    network: object = value
    if isinstance(value, str) and "/" in value:
        try:
            network = ip_network(value)
        except ValueError as error:
            raise InvalidRequest(
                f"{value!r} is not a network like '10.1.0.0/24': {error}", field=field
            ) from None
    if isinstance(network, (IPv4Network, IPv6Network)) and not _has_zone(network.network_address):
        return network
    raise InvalidRequest(f"{shown(value)} is not a network like '10.1.0.0/24'", field=field)


def check_block(value: object, field: str) -> IPAddress | IPNetwork:
    """Check an address or a network; a network of one address is returned as the address."""
    if isinstance(value, (IPv4Network, IPv6Network)) or (isinstance(value, str) and "/" in value):
        network = check_network(value, field)
        return network[0] if network.prefixlen == network.max_prefixlen else network
    return check_address(value, field)


def check_mac(value: object, field: str) -> str:
    """Check a unicast MAC address and return it in lower case."""
    mac = value.lower() if isinstance(value, str) else ""
    if not is_mac(mac):
        raise InvalidRequest(f"{shown(value)} is not a MAC like '02:00:0a:01:00:09'", field=field)
    if is_multicast_mac(mac):
        raise InvalidRequest(
            f"{mac} is a multicast address (its first byte is odd): give a unicast MAC", field=field
        )
    if mac == NO_MAC:
        raise InvalidRequest(f"{mac} is not a MAC of any device: give a unicast MAC", field=field)
    return mac


def check_int(value: object, field: str, low: int, high: int) -> int:
    """Check a whole number from ``low`` to ``high``.  A bool is refused."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise InvalidRequest(f"{shown(value)} is not a whole number from {low} to {high}", field=field)


def check_uid(value: object, field: str) -> int:
    """A user id of Linux: 2**32 - 1 stands for none."""
    return check_int(value, field, 0, 2**32 - 2)


def check_mtu(value: object, field: str) -> int:
    return check_int(value, field, MTU_MIN, MTU_MAX)


_E = TypeVar("_E", bound=enum.Enum)


def check_enum(value: object, field: str, kind: type[_E]) -> _E:
    """Check a member of ``kind``, given as the member or as its value."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(member.value) for member in kind)
        raise InvalidRequest(f"{shown(value)} is not one of {known}", field=field) from None


def check_choice(value: object, field: str, known: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise InvalidRequest(f"{shown(value)} is not one of {', '.join(map(repr, known))}", field=field)


def check_bool(value: object, field: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequest(f"{shown(value)} is neither True nor False", field=field)


def check_text(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidRequest(f"{shown(value)} is not text", field=field)


def check_many(value: object, field: str, check: Callable[[object, str], Any]) -> tuple[Any, ...]:
    """Check each item of a list; the error names the item by ``field`` and position."""
    # A network is iterable too: iterating over a /64 never ends.
    no_list = (str, bytes, Mapping, IPv4Network, IPv6Network)
    if isinstance(value, no_list) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{shown(value)} is not a list", field=field)
    return tuple(check(item, f"{field}[{number}]") for number, item in enumerate(value))


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
                check_id(value, name)
        if self.concentrator_ip is not None:
            put(self, "concentrator_ip", check_address(self.concentrator_ip, "concentrator_ip"))
        if self.subnet_key is not None:
            check_int(self.subnet_key, "subnet_key", 1, 2**32 - 1)
        both: tuple[tuple[str, Callable[[object, str], Any]], ...]
        both = (("subnet", check_network), ("ip", check_address))
        for name, check in both:
            if (value := getattr(self, name)) is not None:
                values = check_families(value, name, check)
                put(self, name, values[0] if len(values) == 1 else values)
        if self.mac is not None:
            put(self, "mac", check_mac(self.mac, "mac"))
        if self.mtu is not None:
            check_mtu(self.mtu, "mtu")
        check_int(self.queues, "queues", 1, TAP_QUEUES_MAX)
        if self.owner is not None and not isinstance(self.owner, str):
            check_uid(self.owner, "owner")
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
        check_int(self.tunnel_id, "tunnel_id", 1, 2**32 - 1)


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
        check_choice(self.tunnel, "tunnel", TUNNELS)
        check_choice(self.topology, "topology", TOPOLOGIES)
        check_choice(self.macvtap_mode, "macvtap_mode", MACVTAP_MODES)
        if self.mtu is not None:
            check_mtu(self.mtu, "mtu")
        if self.public_gateway is not None:
            put(self, "public_gateway", check_address(self.public_gateway, "public_gateway"))
        check_bool(self.anti_spoofing, "anti_spoofing")
        check_bool(self.dns, "dns")
        check_int(self.mesh_port, "mesh_port", 1, 65535)
        check_int(self.dhcp_reserved, "dhcp_reserved", 0, 2**16)
        if self.node_number is not None:
            check_int(self.node_number, "node_number", 0, NODE_NUMBER_MAX)
        if self.domain_name is not None and not (
            isinstance(self.domain_name, str)
            and is_host_name(self.domain_name)
            and self.domain_name == self.domain_name.lower()
        ):
            raise InvalidRequest(
                f"{shown(self.domain_name)} is not a lower-case domain name", field="domain_name"
            )

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
