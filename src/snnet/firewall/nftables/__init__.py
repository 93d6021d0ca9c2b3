"""The nftables firewall driver.

A node has tables of its own, named after it (``snnet-cnci-cnci-1``).  Nouns become elements of
their sets and maps.  Each change is one transaction.  Reading uses netlink, one element at a
time.

- ``tables.py``: the tables with their static rules, in parts; ``senders.py``, ``ndp.py``,
  ``filter.py`` and ``drops.py`` have some of the rules.  ``families.py``, ``types.py``: words
  and values of nft.
- ``needs.py``, ``usage.py``, ``support.py``, ``clearing.py``: which parts a noun needs, which
  nobody needs any more, which this kernel can have, and which tables go whole.
- ``elements.py``, ``records.py``: a noun as elements, and the one element that tells of it.
  ``chains.py``, ``groups.py``, ``matches.py``, ``tunnels.py``: what nouns have beside elements.
- ``steps.py``: one operation as commands.  ``writer.py``: elements over netlink; what else a
  change needs goes to libnftables as text.
- ``reader.py``, ``nouns.py``: what is in the kernel, and the nouns in it.  ``integrity.py``,
  ``reference.py``: whether others changed it.  ``dropped.py``: what it dropped.
- ``driver.py``: the driver.
"""

from .driver import NftablesFirewall

__all__ = ["NftablesFirewall"]
