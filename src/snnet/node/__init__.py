"""Nodes: the compute node and the concentrator, safe to call from any thread.

A node has one method for each call (:mod:`snnet.node.calls`), and an engine that runs calls:
claim, read, draft, ask, apply, publish, tell.  The pure decisions are in :mod:`snnet.core`;
drivers change the host.

- ``compute.py``, ``cnci.py``: the faces, on ``node.py``.  ``bulk.py``, ``reconcile*.py``,
  ``steps.py``: many calls at once.  ``scopes.py``: the control of one DHCP scope.
- ``engine.py`` runs what ``call.py`` defines: ``claims.py``, ``deadline.py``, ``news.py``,
  ``outbox.py``, ``results.py``.
- ``comparing.py``: what ``verify()`` says.
- ``host.py``: the look at the host: ``listing.py``, ``seen.py``, ``taken.py``, ``spaces.py``,
  ``inputs.py``, ``parameters.py``, ``rivals.py``.
- ``drivers.py``, ``opening.py``: the drivers of a node.  ``sysctls.py``, ``insides.py`` and
  ``docker_user.py`` are drivers themselves, on ``over_backend.py``; ``migration.py`` takes rules
  over from another firewall.
- ``uplinks.py``: where the node is.  ``intents.py``, ``sequences.py``, ``noted.py``: what it
  keeps in files.
"""

from .cnci import Cnci
from .compute import ComputeNode

__all__ = ["Cnci", "ComputeNode"]
