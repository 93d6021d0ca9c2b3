"""The events that a node reports to its caller and its listeners."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from snnet.contract import IPAddress, IPNetwork

from .addressing import Addresses, Networks


class TunnelEventType(enum.Enum):
    """Whether the far end of a tunnel must be created or removed."""

    ADD = "add"
    DEL = "del"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEvent:
    """A compute node added or removed a tunnel; its concentrator must do the same.

    ``subnets`` are the networks of the subnet, one or one of each family, for
    ``Cnci.add_remote_subnet``; ``subnet`` is the first, IPv4 where there is one.
    Delivery is at least once; ADD and DEL may be repeated without harm.  ``port`` is the
    UDP port of a vxlan tunnel, for ``Cnci.add_remote_subnet``.  ``sequence`` is (epoch,
    number) and grows with every event of the node, also across its restarts: of two events
    about one subnet the one with the greater sequence is true.
    """

    type: TunnelEventType
    cnci_ip: IPAddress
    cn_ip: IPAddress
    subnet: IPNetwork
    tenant_id: str
    subnet_id: str
    concentrator_id: str
    cn_id: str
    subnet_key: int
    port: int | None = None
    sequence: tuple[int, int] | None = field(default=None, compare=False)
    subnets: Networks = ()

    def __post_init__(self) -> None:
        if not self.subnets:
            object.__setattr__(self, "subnets", (self.subnet,))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON or YAML."""
        return {
            "type": self.type.value,
            "cnci_ip": str(self.cnci_ip),
            "cn_ip": str(self.cn_ip),
            "subnet": str(self.subnet),
            "subnets": [str(subnet) for subnet in self.subnets],
            "tenant_id": self.tenant_id,
            "subnet_id": self.subnet_id,
            "concentrator_id": self.concentrator_id,
            "cn_id": self.cn_id,
            "subnet_key": self.subnet_key,
            "port": self.port,
            "sequence": list(self.sequence) if self.sequence else None,
        }


class Sequence:
    """Numbers the events of a node; the caller holds the lock of its records."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._number = 0

    def next(self) -> tuple[int, int]:
        self._number += 1
        return self.epoch, self._number


class ContainerEvent(enum.Enum):
    """What the caller must do about the container network of the subnet."""

    INFO = "info"
    """Nothing: it exists."""
    ADD = "add"
    """Create it before starting the container."""
    DEL = "del"
    """Remove it: its last container VNIC is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """What ``docker network create`` or ``rm`` needs for the VNIC of a container.

    ``subnet_id`` is the name for the network: the link name of the bridge, unique on
    the host.  ``bridge`` is None in routed mode.  ``subnets`` and ``gateways`` have one
    value, or one of each family; ``subnet`` and ``gateway`` are the first ones.
    """

    event: ContainerEvent
    subnet_id: str
    subnet: IPNetwork
    gateway: IPAddress
    bridge: str | None
    subnets: Networks = ()
    gateways: Addresses = ()

    def __post_init__(self) -> None:
        if not self.subnets:
            object.__setattr__(self, "subnets", (self.subnet,))
        if not self.gateways:
            object.__setattr__(self, "gateways", (self.gateway,))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON or YAML."""
        return {
            "event": self.event.value,
            "subnet_id": self.subnet_id,
            "subnet": str(self.subnet),
            "subnets": [str(subnet) for subnet in self.subnets],
            "gateway": str(self.gateway),
            "gateways": [str(gateway) for gateway in self.gateways],
            "bridge": self.bridge,
        }
