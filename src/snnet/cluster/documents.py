"""What users want, as documents: networks, VNICs, port forwards and public addresses.

Each class is at once what a caller gives, what the registry stores and what comes back.
Its constructor checks types and formats, and reports every problem at once.  A field
that the cluster chooses (a key, an address, a node) is None until it is chosen.  An
object that comes back has the ``status`` that its agent reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Self

from snnet.checks import (
    check_address,
    check_block,
    check_bool,
    check_choice,
    check_families,
    check_id,
    check_int,
    check_many,
    check_mtu,
    check_network,
    check_text,
    check_uid,
    shown,
)
from snnet.config import VnicRole
from snnet.contract import PROTOCOLS, InvalidRequest, IPAddress, IPNetwork
from snnet.contract.addresses import gateway_of
from snnet.contract.keywords import refuse_unknown
from snnet.contract.shaping import check_rate
from snnet.contract.values import plain_text
from snnet.core.addressing import check_guest_mac, check_public, check_subnets, mac_for
from snnet.core.ports import check_ports

from .problems import check_document, check_fields, optional

DEFAULT_TENANT = "default"

PENDING, READY, FAILED = "pending", "ready", "failed"
"""The states of an object: not yet tried, as wanted, or tried in vain (and tried again)."""

SUBNET_KEY_MAX = 2**24 - 1
"""Keys fit a VNI (RFC 7348), so that every kind of tunnel can carry every network."""

ROLES = {"vm": VnicRole.TENANT_VM, "container": VnicRole.TENANT_CONTAINER}
"""The short names of the roles that tenants' VNICs have."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the agent that carries an object out last said about it.

    ``error`` is why it failed and ``retry_at`` (Unix time, seconds) when the agent tries
    again.  ``node`` is the agent's node.  ``details`` are facts such as ``link_name``.
    """

    state: str = PENDING
    error: str | None = None
    retry_at: float | None = None
    node: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What all kinds of documents share.

    ``name`` is unique among a tenant's objects of the kind.  ``revision`` is that of the
    registry at which the document was written, 0 before it is.
    """

    kind: ClassVar[str]
    fixed: ClassVar[frozenset[str]]
    """The fields that an update cannot change."""
    marks: ClassVar[frozenset[str]] = frozenset()
    """The fields that only the cluster itself sets."""
    chosen: ClassVar[frozenset[str]] = frozenset()
    """The fields that the cluster chooses where they are not given: None is not a value of them."""

    name: str
    tenant: str = DEFAULT_TENANT
    revision: int = field(default=0, compare=False)
    status: Status = field(default=Status(), compare=False)

    def __post_init__(self) -> None:
        check_fields(self, {"tenant": check_id, **self.checks()})

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        """The checks of the fields that the kind adds."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """``ready``, ``failed`` (see ``error``) or ``pending``."""
        return self.status.state

    @property
    def error(self) -> str | None:
        """Why it failed, or None."""
        return self.status.error

    @property
    def title(self) -> str:
        """The object as messages name it."""
        shown = f"{self.kind} {self.name!r}"
        return shown if self.tenant == DEFAULT_TENANT else f"{shown} of tenant {self.tenant!r}"

    def document(self) -> dict[str, Any]:
        """The object as the registry stores it and ``apply`` reads it, without ``kind``."""
        return {
            name: plain(value)
            for name in _stored(type(self))  # type: ignore[arg-type]
            if (value := getattr(self, name)) not in (None, ())
        }

    def gives(self, name: str) -> bool:
        """Whether the object has a value for a field that the cluster would choose otherwise."""
        return name not in self.chosen or getattr(self, name) not in (None, ())

    def to_dict(self) -> dict[str, Any]:
        """The document with the state, for people and programs."""
        state: dict[str, Any] = {"state": self.state}
        if self.error:
            state |= {"error": self.error, "retry_at": self.status.retry_at}
        return {"name": self.name, **self.document(), **state, **self.status.details}

    @classmethod
    def read(cls, document: Mapping[str, Any], revision: int = 0) -> Self:
        """Make an object of a document.  Unknown fields are refused by name."""
        check_document(document)
        known = _stored(cls)  # type: ignore[arg-type]
        return cls._made(document, known, revision)

    @classmethod
    def asked(cls, document: Mapping[str, Any]) -> Self:
        """Make an object of a document that a user wrote; its marks are unknown fields, too."""
        known = _stored(cls)  # type: ignore[arg-type]
        return cls._made(document, {name: None for name in known if name not in cls.marks}, 0)

    @classmethod
    def _made(cls, document: Mapping[str, Any], known: Mapping[str, None], revision: int) -> Self:
        refuse_unknown(document, known, f"unknown field of a {cls.kind}")
        if "name" in known and "name" not in document:
            raise InvalidRequest(f"is missing: every {cls.kind} needs one", field="name")
        return cls(**document, revision=revision)


@cache
def _stored(kind: type[Wanted]) -> dict[str, None]:
    """The names of the fields that the registry stores, in order: lists are long."""
    return dict.fromkeys(item.name for item in fields(kind) if item.compare and item.init)


def text(value: Any) -> str:
    """A value as messages show it."""
    shown = plain(value)
    return ", ".join(map(str, shown)) if isinstance(shown, list) else str(shown)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, range):
        return value[0] if len(value) == 1 else f"{value[0]}-{value[-1]}"
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, VnicRole):
        return next(name for name, role in ROLES.items() if role is value)
    return str(value)


def _subnets(value: Any, name: str) -> tuple[IPNetwork, ...]:
    if value == ():
        raise InvalidRequest("is missing: give a network like '10.1.0.0/24'", field=name)
    return check_subnets(value, name)


def _addresses(value: Any, name: str) -> tuple[IPAddress, ...]:
    """The addresses that were asked for, maybe none."""
    return () if value in ((), None) else check_families(value, name, check_address)


def _reference(value: Any, name: str) -> str:
    """The name of another object."""
    if value == "":
        raise InvalidRequest("is missing", field=name)
    return check_id(value, name)


def _ports(value: Any, name: str) -> range:
    if isinstance(value, range):
        if value:
            return value
        raise InvalidRequest("is missing", field=name)
    return check_ports(value, name)


def _role(value: Any, name: str) -> VnicRole:
    if value in ROLES:
        return ROLES[value]
    if value in {role.value for role in ROLES.values()} or value in ROLES.values():
        return VnicRole(value)
    raise InvalidRequest(f"{shown(value)} is not one of {', '.join(ROLES)}", field=name)


def _owner(value: Any, name: str) -> str | int:
    if isinstance(value, str) and value.lstrip("+-").isdecimal():
        return check_uid(int(value[:20]), name)  # no uid is longer
    return plain_text(value) if isinstance(value, str) and value else check_uid(value, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Wanted):
    """A tenant's network: one subnet, IPv4, IPv6 or both.

    ``key`` is the tunnel key, chosen by the cluster unless given.  ``mtu`` (bytes) caps
    that of its VNICs and gateway.  ``closing`` is set while the network is being deleted.
    """

    kind: ClassVar[str] = "network"
    fixed: ClassVar[frozenset[str]] = frozenset({"subnet", "key"})
    marks: ClassVar[frozenset[str]] = frozenset({"closing"})
    chosen: ClassVar[frozenset[str]] = frozenset({"key"})

    subnet: tuple[IPNetwork, ...] = ()
    key: int | None = None
    mtu: int | None = None
    closing: bool = False

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {
            "name": check_id,
            "subnet": _subnets,
            "key": optional(lambda value, name: check_int(value, name, 1, SUBNET_KEY_MAX)),
            "mtu": optional(check_mtu),
        }

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """The gateway in each subnet: its first host address."""
        return tuple(map(gateway_of, self.subnet))

    def document(self) -> dict[str, Any]:
        found = Wanted.document(self)
        if not self.closing:
            del found["closing"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Vnic(Wanted):
    """A VNIC of a VM (a tap) or a container (a veth pair) on a network.

    ``node``, ``ip`` and ``mac`` are chosen by the cluster unless given; the MAC is then
    ``mac_for(ip)``.  ``managed_by`` names the program that created the VNIC and will delete it.
    The rest is as in ``snnet.VnicConfig``.
    """

    kind: ClassVar[str] = "vnic"
    fixed: ClassVar[frozenset[str]] = frozenset({"network", "role", "ip", "mac"})
    marks: ClassVar[frozenset[str]] = frozenset({"managed_by"})
    chosen: ClassVar[frozenset[str]] = frozenset({"node", "ip"})

    network: str = ""
    node: str | None = None
    role: VnicRole = VnicRole.TENANT_VM
    ip: tuple[IPAddress, ...] = ()
    mac: str | None = None
    mtu: int | None = None
    owner: str | int | None = None
    managed_by: str | None = None
    extra_addresses: tuple[IPAddress | IPNetwork, ...] = ()
    anti_spoofing: bool | None = None
    groups: tuple[str, ...] = ()
    rate_to_guest: int | None = None
    rate_from_guest: int | None = None

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {
            "name": check_id,
            "network": _reference,
            "managed_by": optional(check_text),
            "node": optional(check_id),
            "role": _role,
            "ip": _addresses,
            "mac": optional(check_guest_mac),
            "mtu": optional(check_mtu),
            "owner": optional(_owner),
            "extra_addresses": lambda value, name: check_many(value, name, check_block),
            "anti_spoofing": optional(check_bool),
            "groups": lambda value, name: tuple(sorted({*check_many(value, name, check_id)})),
            **dict.fromkeys(("rate_to_guest", "rate_from_guest"), optional(check_rate)),
        }

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """Its addresses, IPv4 first; empty until they are chosen."""
        return self.ip

    @property
    def guest_mac(self) -> str:
        """The guest's MAC: ``mac``, or the one that belongs to its first address."""
        return self.mac or mac_for(self.ip)

    @property
    def link_name(self) -> str | None:
        """The name of the link on its node, once there is one."""
        name: str | None = self.status.details.get("link_name")
        return name

    def to_dict(self) -> dict[str, Any]:
        found = Wanted.to_dict(self)
        return {**found, "mac": self.guest_mac} if self.ip else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward(Wanted):
    """Connections from outside to ``port`` go to ``to_port`` of the VNIC ``to``.

    ``port`` is a port or a range like "8000-8010"; ``to_port`` is the first port inside,
    by default the same.  ``sources`` are the networks that may connect; empty means all.
    The name is protocol and port, such as "tcp-8080".
    """

    kind: ClassVar[str] = "forward"
    fixed: ClassVar[frozenset[str]] = frozenset({"network", "protocol", "port"})

    name: str = field(init=False, default="")
    network: str = ""
    protocol: str = "tcp"
    port: range = range(0)
    to: str = ""
    to_port: int | None = None
    sources: tuple[IPNetwork, ...] = ()

    def __post_init__(self) -> None:
        Wanted.__post_init__(self)
        last = (self.to_port or self.port[0]) + len(self.port) - 1
        if last > 65535:
            raise InvalidRequest(
                f"ports {plain(self.port)} from {self.to_port} on exceed 65535", field="to_port"
            )
        object.__setattr__(self, "name", f"{self.protocol}-{plain(self.port)}")

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {
            "network": _reference,
            "protocol": lambda value, name: check_choice(value, name, PROTOCOLS),
            "port": lambda value, name: (
                value if isinstance(value, range) and value else check_ports(value, name)
            ),
            "to": _reference,
            "to_port": optional(lambda value, name: check_int(value, name, 1, 65535)),
            "sources": lambda value, name: check_many(value, name, check_network),
        }

    def overlaps(self, other: Forward) -> bool:
        """Whether both want a port of one protocol."""
        return (
            self.protocol == other.protocol
            and self.port[0] <= other.port[-1]
            and other.port[0] <= self.port[-1]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicIp(Wanted):
    """A public address that belongs to one VNIC; its name is the address."""

    kind: ClassVar[str] = "public-ip"
    fixed: ClassVar[frozenset[str]] = frozenset()

    name: str = field(init=False, default="")
    address: IPAddress | None = None
    to: str = ""

    def __post_init__(self) -> None:
        Wanted.__post_init__(self)
        object.__setattr__(self, "name", str(self.address))

    def checks(self) -> Mapping[str, Callable[[Any, str], Any]]:
        return {"address": check_public, "to": _reference}
