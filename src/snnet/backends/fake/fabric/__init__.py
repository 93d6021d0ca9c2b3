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
- ``links.py``: layer 2: links, bridges, macvtaps, the wire.
- ``arp.py``: MACs of neighbours.
- ``stack.py``: layers 3 and 4: IP and sockets.
- ``tunnels.py``: encapsulation and decapsulation.
- ``lease.py``, ``dhcp6.py``: router advertisements and DHCPv6.
- ``guests.py``: guests and DHCP.
- ``plugging.py``, ``trace.py``: where something is plugged in; what came of a question.
- ``fabric.py``: what is plugged in where, and the questions users ask.
"""

from .fabric import Fabric
from .guests import Guest
from .lease import Lease
from .trace import Connection

__all__ = ["Connection", "Fabric", "Guest", "Lease"]
