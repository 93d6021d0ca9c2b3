"""The firewall driver ``iptables``: rules in chains of our own, ``SNNET-*``.

``rules.py`` says what the rules of netfilter are for a set of nouns (pure),
``records.py`` how the nouns stand in comments, ``programs.py`` runs the tools,
``tables.py`` reads and replaces chains, ``driver.py`` is the driver.
"""

from .driver import IptablesFirewall

__all__ = ["IptablesFirewall"]
