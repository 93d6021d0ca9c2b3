"""Many fake hosts on one wire, carrying frames.

Reachability and isolation are computed by walking the state that the drivers set:
bridges, tunnels, routes, neighbours, macvtaps, firewall rules, DHCP scopes.

Users see ``fabric.py``.  Each module imports only modules above it in this list:

- ``frames.py``: frames, packets, and what they carry.
- ``walk.py``: stations, the walk under way and its trace, caches.
- ``conntrack.py``: connections and their translation.
- ``ndp.py``: what a guest may say by IPv6.
- ``filter.py``: verdicts of the firewall's rules.
- ``groups.py``: security groups at bridge ports.
- ``netfilter.py``: the hooks.
- ``links.py``: layer 2: links, bridges, macvtaps, the wire.
- ``arp.py``: MACs of neighbours.
- ``stack.py``: layers 3 and 4: IP and sockets.
- ``tunnels.py``: encapsulation and decapsulation.
- ``lease.py``, ``dhcp6.py``: router advertisements and DHCPv6.
- ``guests.py``: guests and DHCP.
- ``fabric.py``: what is plugged in where, and the questions users ask.
"""

from .fabric import Connection, Fabric
from .guests import Guest
from .lease import Lease

__all__ = ["Connection", "Fabric", "Guest", "Lease"]
