"""The firewall driver ``iptables``: rules in chains of its own, ``SNNET-*``.

- ``layout.py``: where the chains and records of an owner are.  ``rules.py``, ``guards.py``:
  from nouns to rules of netfilter (pure).
- ``programs.py``, ``tables.py``, ``saved.py``: running the programs, reading and writing
  chains. ``bases.py``: what iptables-nft creates by itself.
- ``state.py``: what an owner has on the host; ``owners.py`` remembers it, ``reference.py``
  knows how the programs print it.
- ``work.py``: one ``apply``.  ``lent.py``: the rules that nftables sets for this driver.
- ``report.py``, ``counting.py``, ``enforced.py``: text for people, drops, and what the kernel
  obeys.
- ``driver.py``: the driver.
"""

from .driver import IptablesFirewall

__all__ = ["IptablesFirewall"]
