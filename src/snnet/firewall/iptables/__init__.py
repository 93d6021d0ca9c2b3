"""The firewall driver ``iptables``: rules in chains of our own, ``SNNET-*``.

``layout.py`` says where an owner's chains and records are, ``rules.py`` which rules
of netfilter a set of nouns stands for (pure), ``tables.py`` runs the programs and
replaces chains, ``state.py`` tells what is there, ``work.py`` carries out one
``apply``, ``report.py`` writes what people read, and ``driver.py`` is the driver.
"""

from .driver import IptablesFirewall

__all__ = ["IptablesFirewall"]
