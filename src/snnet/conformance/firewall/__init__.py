"""What a firewall driver must do: the sentences of ``snnet.contract.rules``, as tests."""

from .suite import FirewallSuite

__all__ = ["FirewallSuite"]
