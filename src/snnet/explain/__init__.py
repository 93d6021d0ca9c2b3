"""Why can this one not reach that one?  Real hosts are loaded into fakes, and asked there.

- ``snapshot.py``: what a host has, as plain data.  ``reading.py`` reads it; ``faked.py`` of
  fakes.
- ``packing.py``, ``gathering.py``: snapshots of many hosts, by their agents and a registry.
- ``world.py``: fakes and a fabric from snapshots, with guests (``vnics.py``, ``routes.py``).
- ``outside.py``: what is between the hosts and beyond them.
- ``places.py``: who is meant by a name, an address or a link.
- ``chains.py``, ``matching.py``: what the firewall rules of others do with a packet.
  ``queueing.py``, ``ipsec.py``: what traffic control and IPsec policies do.
- ``question.py``: asks, and says what came of it.  ``ending.py``: where it was lost;
  ``mending.py``: what to do about it.  ``many.py``: the same, on the hosts of a cluster.

Nothing here changes a host, and nothing sends a packet.
"""
