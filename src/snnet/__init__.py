"""snnet: tenant networks for VMs and containers, on swappable dataplanes."""

__version__ = "0.1.0"
