"""The nftables firewall driver.

A node has tables of its own, named after it (``snnet-cnci-cnci-1``): static rules in
``tables.py``, and sets and maps that rules as nouns become elements of
(``elements.py``).  Changes are text for libnftables, one transaction each; reading
goes by netlink, an element at a time (``reader.py``).
"""

from .driver import NftablesFirewall

__all__ = ["NftablesFirewall"]
