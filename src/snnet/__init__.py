"""snnet: tenant networks for VMs and containers, on swappable dataplanes.

A :class:`ComputeNode` gives tenants' VMs and containers their virtual NICs; a
:class:`Cnci` is a tenant's concentrator.  Importing this package has no
effect; drivers load their libraries when they are opened.
"""

from __future__ import annotations

# As typing.TYPE_CHECKING, which would take longer to import than all the rest.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from snnet.agent.agent import Agent
    from snnet.backends.fake import Fabric, FakeKernel
    from snnet.cluster import Cluster
    from snnet.config import Neighbor, NetworkConfig, NetworkMode, VnicConfig, VnicRole
    from snnet.contract import (
        ApiError,
        Busy,
        Cancelled,
        Conflict,
        Denied,
        DhcpEntry,
        DhcpLease,
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
        Rule,
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
    from snnet.core.groups import Group
    from snnet.core.local_requests import ConcentratorConfig, HostForward, LocalSubnet
    from snnet.core.mesh import Mesh, MeshPeer
    from snnet.core.meshing import Peer
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

__version__ = "0.1.0"

__all__ = [
    "Agent",
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
    "DhcpLease",
    "DhcpScope",
    "DriverLoadError",
    "DriverNotFound",
    "Exhausted",
    "Exists",
    "Fabric",
    "FakeKernel",
    "FatalError",
    "Group",
    "HostForward",
    "Incomplete",
    "InvalidRequest",
    "LocalSubnet",
    "Mesh",
    "MeshPeer",
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
    "Rule",
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

_MODULES = {
    "snnet.agent.agent": ("Agent",),
    "snnet.backends.fake": ("Fabric", "FakeKernel"),
    "snnet.cluster": ("Cluster",),
    "snnet.config": ("Neighbor", "NetworkConfig", "NetworkMode", "VnicConfig", "VnicRole"),
    "snnet.contract": (
        "ApiError",
        "Busy",
        "Cancelled",
        "Conflict",
        "Denied",
        "DhcpEntry",
        "DhcpLease",
        "DhcpScope",
        "DriverLoadError",
        "DriverNotFound",
        "Exhausted",
        "Exists",
        "FatalError",
        "Incomplete",
        "InvalidRequest",
        "Missing",
        "Plan",
        "PortForward",
        "Rejected",
        "Rule",
        "SnnetError",
        "State",
        "Timeout",
        "Unavailable",
        "Unsupported",
        "Veto",
    ),
    "snnet.core.addressing": ("debug_ssh_port", "mac_for"),
    "snnet.core.concentrators": ("Concentrator",),
    "snnet.core.events": ("ContainerEvent", "ContainerInfo", "TunnelEvent", "TunnelEventType"),
    "snnet.core.groups": ("Group",),
    "snnet.core.local_requests": ("ConcentratorConfig", "HostForward", "LocalSubnet"),
    "snnet.core.mesh": ("Mesh", "MeshPeer"),
    "snnet.core.meshing": ("Peer",),
    "snnet.core.subnets": ("CnciSubnet",),
    "snnet.core.topology": ("CnciTopology", "Topology"),
    "snnet.core.uplinks": ("Uplink",),
    "snnet.core.vnics": ("CnciVnic", "TenantSubnet", "Vnic"),
    "snnet.core.wanted": ("Remote", "Subnet"),
    "snnet.node": ("Cnci", "ComputeNode"),
    "snnet.node.results": (
        "CreatedVnic",
        "DestroyedVnic",
        "Reconciled",
        "ReconciledItem",
        "Report",
        "VnicResult",
    ),
    "snnet.node.scopes": ("ScopeControl",),
    "snnet.plugins": ("open_registry",),
}
"""The public names by the module that has them.  Each module is imported with its first use."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


# Hidden from type checkers: to them it would make every misspelt name one of snnet's.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name from where it is."""
        if name not in _HOMES:
            raise AttributeError(f"module 'snnet' has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
