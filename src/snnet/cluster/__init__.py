"""The verbs on what users want, kept in a registry; agents carry it out.

Nothing here knows a node or a driver: see :mod:`snnet.agent` for what does.
"""

from .applying import Applied
from .cluster import Cluster
from .documents import DEFAULT_TENANT, Forward, Network, PublicIp, Status, Vnic
from .node_info import NodeInfo
from .problems import Problems
from .security import SecurityGroup
from .waiting import Event

__all__ = [
    "DEFAULT_TENANT",
    "Applied",
    "Cluster",
    "Event",
    "Forward",
    "Network",
    "NodeInfo",
    "Problems",
    "PublicIp",
    "SecurityGroup",
    "Status",
    "Vnic",
]
