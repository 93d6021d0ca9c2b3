"""Many fake hosts on one wire, carrying frames.

Reachability and isolation are computed by walking the state that the drivers set:
bridges, tunnels, routes, neighbours, macvtaps, firewall rules, DHCP scopes.

Users see ``fabric.py``.  Each module imports only modules above it in this list:

- ``frames.py``: frames, packets, and what they carry.
- ``others.py``: what the rules of others see of a packet, and who knows these rules.
- ``walk.py``: stations, the walk under way and its trace, caches.
- ``conntrack.py``: connections and their translation.
- ``ndp.py``: what a guest may say by IPv6.
- ``filter.py``: verdicts of the firewall's rules.
- ``groups.py``: security groups at bridge ports.
- ``chains.py``: which hooks of others a frame passes.
- ``netfilter.py``: the hooks.
- ``shaping.py``, ``suppress.py``: rate limits on the way; what bridges answer themselves.
- ``links.py``: layer 2: links, bridges, macvtaps, the wire.
- ``arp.py``: MACs of neighbours.
- ``sockets.py``, ``stack.py``: layer 4, what listens; layer 3, IP.
- ``tunnels.py``: encapsulation and decapsulation.
- ``lease.py``, ``dhcp6.py``: router advertisements and DHCPv6.
- ``guests.py``: guests and DHCP.
- ``ports.py``, ``plugging.py``: where something is plugged in; what is plugged in already.
- ``asking.py``, ``trace.py``: what a question sends first; what came of it.
- ``fabric.py``: what is plugged in where, and the questions users ask.
"""

from .fabric import Fabric
from .guests import Guest
from .lease import Lease
from .trace import Connection

__all__ = ["Connection", "Fabric", "Guest", "Lease"]
