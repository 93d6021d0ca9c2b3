"""The nftables firewall driver.

A node has tables of its own, named after it (``snnet-cnci-cnci-1``).  Their static rules
are in ``tables.py``; nouns become elements of their sets and maps (``elements.py``).
Each change is one transaction, as text for libnftables.  Reading uses netlink, one
element at a time (``reader.py``).
"""

from .driver import NftablesFirewall

__all__ = ["NftablesFirewall"]
