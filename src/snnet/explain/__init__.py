"""Why can this one not reach that one?  A real host is loaded into fakes, and asked there.

- ``snapshot.py``: what a host has, as plain data.  ``reading.py`` reads it.
- ``world.py``: fakes and a fabric from a snapshot, with guests and what is beyond the host.
- ``places.py``: who is meant by a name, an address or a link.
- ``chains.py``: what the firewall rules of others do with a packet.
- ``question.py``: asks, and says what came of it.  ``mending.py``: what to do about it.

Nothing here changes a host, and nothing sends a packet.
"""
