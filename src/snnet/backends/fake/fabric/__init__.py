"""Many fake hosts on one wire, carrying frames.

Reachability and isolation are found by walking the same state that the
drivers set: bridges, tunnels, routes, neighbours, macvtaps, firewall rules,
DHCP scopes.
``fabric.py`` is what users see; below it one file for each thing a frame meets.
"""

from .fabric import Connection, Fabric
from .guests import Guest, Lease

__all__ = ["Connection", "Fabric", "Guest", "Lease"]
