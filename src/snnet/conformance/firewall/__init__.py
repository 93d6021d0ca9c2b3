"""The tests of firewall drivers: each sentence of ``snnet.contract.rules``."""

from .suite import FirewallSuite

__all__ = ["FirewallSuite"]
