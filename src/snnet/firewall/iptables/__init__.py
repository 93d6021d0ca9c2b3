"""The firewall driver ``iptables``: rules in chains of its own, ``SNNET-*``.

``layout.py`` says where the chains and records of an owner are; ``rules.py`` turns nouns
into rules of netfilter (pure); ``tables.py`` runs the programs and writes chains;
``state.py`` finds what is there, and ``owners.py`` remembers it; ``work.py`` carries out one
``apply``; ``report.py`` writes text for people; ``driver.py`` is the driver.
"""

from .driver import IptablesFirewall

__all__ = ["IptablesFirewall"]
