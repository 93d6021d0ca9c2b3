"""The resident process of a host: follows a registry, drives the host's nodes, repairs drift.

Read ``agent.py`` first: one round after another, each from a reading of the registry to the
calls of the nodes and to what is said about each object.

- ``service.py``, ``settings.py``, ``systemd.py``, ``logs.py``, ``metrics.py``: the process.
- ``membership.py``, ``statuses.py``, ``answering.py``: what the agent writes into the registry.
- ``news.py``: what of the registry concerns this host.  ``wanted.py``, ``groups.py``,
  ``requests.py``: from documents to what the host must have (pure).
- ``compute.py``, ``network.py``: the two roles.  ``placing.py``, ``hub.py``, ``mesh.py``:
  concentrators on many hosts, and paths to them.
- ``drift.py``: what others change.  ``uplink.py``: an uplink that changes.  ``rivals.py``: other
  hosts with the same concentrators.
- ``pause.py``: when a failed round is tried again.  ``opening.py``: a registry that does not
  answer yet, and concentrators' namespaces.  ``origin.py``: one that did not make the host.
- ``docker.py``: Docker's plugin beside the agent.

The data plane outlives the agent, and nothing is done because of a reading that failed.
"""
