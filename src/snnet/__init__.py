"""snnet: tenant networks for VMs and containers, on swappable dataplanes.

A :class:`ComputeNode` gives tenants' VMs and containers their virtual NICs; a
:class:`Cnci` is a tenant's concentrator.  Importing this package has no
effect; drivers load their libraries when they are opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnet.config import Neighbor, NetworkConfig, NetworkMode, VnicConfig, VnicRole
from snnet.contract import (
    ApiError,
    Busy,
    Cancelled,
    Conflict,
    Denied,
    DhcpEntry,
    DhcpScope,
    DriverLoadError,
    DriverNotFound,
    Exhausted,
    Exists,
    FatalError,
    Incomplete,
    InvalidRequest,
    Missing,
    Plan,
    PortForward,
    Rejected,
    SnnetError,
    State,
    Timeout,
    Unavailable,
    Unsupported,
    Veto,
)
from snnet.core.addressing import debug_ssh_port, mac_for
from snnet.core.concentrators import Concentrator
from snnet.core.events import ContainerEvent, ContainerInfo, TunnelEvent, TunnelEventType
from snnet.core.local_requests import ConcentratorConfig, HostForward, LocalSubnet
from snnet.core.mesh import Mesh, Peer
from snnet.core.subnets import CnciSubnet
from snnet.core.topology import CnciTopology, Topology
from snnet.core.uplinks import Uplink
from snnet.core.vnics import CnciVnic, TenantSubnet, Vnic
from snnet.core.wanted import Remote, Subnet
from snnet.node import Cnci, ComputeNode
from snnet.node.results import (
    CreatedVnic,
    DestroyedVnic,
    Reconciled,
    ReconciledItem,
    Report,
    VnicResult,
)
from snnet.node.scopes import ScopeControl
from snnet.plugins import open_registry

if TYPE_CHECKING:
    from snnet.backends.fake import Fabric, FakeKernel
    from snnet.cluster import Cluster

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "Busy",
    "Cancelled",
    "Cluster",
    "Cnci",
    "CnciSubnet",
    "CnciTopology",
    "CnciVnic",
    "ComputeNode",
    "Concentrator",
    "ConcentratorConfig",
    "Conflict",
    "ContainerEvent",
    "ContainerInfo",
    "CreatedVnic",
    "Denied",
    "DestroyedVnic",
    "DhcpEntry",
    "DhcpScope",
    "DriverLoadError",
    "DriverNotFound",
    "Exhausted",
    "Exists",
    "Fabric",
    "FakeKernel",
    "FatalError",
    "HostForward",
    "Incomplete",
    "InvalidRequest",
    "LocalSubnet",
    "Mesh",
    "Missing",
    "Neighbor",
    "NetworkConfig",
    "NetworkMode",
    "Peer",
    "Plan",
    "PortForward",
    "Reconciled",
    "ReconciledItem",
    "Rejected",
    "Remote",
    "Report",
    "ScopeControl",
    "SnnetError",
    "State",
    "Subnet",
    "TenantSubnet",
    "Timeout",
    "Topology",
    "TunnelEvent",
    "TunnelEventType",
    "Unavailable",
    "Unsupported",
    "Uplink",
    "Veto",
    "Vnic",
    "VnicConfig",
    "VnicResult",
    "VnicRole",
    "debug_ssh_port",
    "mac_for",
    "open_registry",
]

_LAZY = {
    "Cluster": "snnet.cluster",
    "FakeKernel": "snnet.backends.fake",
    "Fabric": "snnet.backends.fake",
}
"""Names that are imported when they are first asked for, and from where."""


# Hidden from type checkers: to them it would make every misspelt name one of snnet's.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a lazy name."""
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module 'snnet' has no attribute {name!r}")
