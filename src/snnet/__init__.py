"""snnet: tenant networks for VMs and containers, on swappable dataplanes.

A :class:`ComputeNode` gives tenants' VMs and containers their virtual NICs; a
:class:`Cnci` is a tenant's concentrator.  Importing this package has no
effect; drivers load their libraries when they are opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnet.config import Neighbor, NetworkConfig, NetworkMode, VnicConfig, VnicRole
from snnet.contract import (
    ApiError,
    Busy,
    Cancelled,
    Conflict,
    Denied,
    DriverLoadError,
    DriverNotFound,
    Exhausted,
    Exists,
    FatalError,
    Incomplete,
    InvalidRequest,
    Missing,
    Plan,
    Rejected,
    SnnetError,
    Timeout,
    Unsupported,
    Veto,
)
from snnet.core.addressing import debug_ssh_port, mac_for
from snnet.core.vnics import CnciVnic, Vnic
from snnet.core.events import ContainerEvent, ContainerInfo, TunnelEvent, TunnelEventType
from snnet.node import Cnci, ComputeNode

if TYPE_CHECKING:
    from snnet.backends.fake import Fabric, FakeKernel

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "Busy",
    "Cancelled",
    "Cnci",
    "CnciVnic",
    "ComputeNode",
    "Conflict",
    "ContainerEvent",
    "ContainerInfo",
    "Denied",
    "DriverLoadError",
    "DriverNotFound",
    "Exhausted",
    "Exists",
    "Fabric",
    "FakeKernel",
    "FatalError",
    "Incomplete",
    "InvalidRequest",
    "Missing",
    "Neighbor",
    "NetworkConfig",
    "NetworkMode",
    "Plan",
    "Rejected",
    "SnnetError",
    "Timeout",
    "TunnelEvent",
    "TunnelEventType",
    "Unsupported",
    "Veto",
    "Vnic",
    "VnicConfig",
    "VnicRole",
    "debug_ssh_port",
    "mac_for",
]

_FAKES = {"FakeKernel", "Fabric"}


def __getattr__(name: str) -> Any:
    """The fakes are imported by whoever asks for them."""
    if name in _FAKES:
        from snnet.backends import fake

        return getattr(fake, name)
    raise AttributeError(f"module 'snnet' has no attribute {name!r}")
