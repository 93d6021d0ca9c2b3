"""The verbs on what users want, kept in a registry; agents carry it out.

- ``cluster.py``: :class:`Cluster`, the face.  ``views.py``, ``waiting.py``: what it reads and
  follows.
- ``documents.py``, ``security.py``, ``node_info.py``, ``kinds.py``: the kinds of documents.
- ``keys.py``: where each stands.  ``stored.py``, ``store.py``: reading them, also damaged ones.
- ``writing.py``: each change in one commit, with its claims, by ``drafts.py``; ``networks.py``,
  ``vnics.py``, ``rules.py``, ``nodes.py``: what the verbs of one kind write.
- ``applying.py``, ``contradictions.py``, ``problems.py``: whole files of documents.
  ``rehearsal.py``: the registry of a dry run.
- ``claims.py``: what is unique.  ``addresses.py``, ``placing.py``: what is chosen.
  ``mirror.py``: a copy that a watch keeps up to date.

Nothing here knows a node or a driver: see :mod:`snnet.agent` for what does.
"""

from .applying import Applied
from .cluster import Cluster
from .documents import DEFAULT_TENANT, Forward, Network, PublicIp, Status, Vnic
from .node_info import NodeInfo
from .problems import DocumentProblem, Problems
from .security import SecurityGroup
from .waiting import Event

__all__ = [
    "DEFAULT_TENANT",
    "Applied",
    "Cluster",
    "DocumentProblem",
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
