"""What every driver says about the host that it works on."""

from __future__ import annotations

from snnet.contract import Driver, Host, Netns


def check_host(driver: Driver) -> None:
    """Fail where the driver has no ``host``, or one that lacks what the contract says."""
    host = getattr(driver, "host", None)
    assert isinstance(host, Host), f"{type(driver).__name__}.host is {host!r}, not a Host"
    assert isinstance(host.netns, Netns), f"the host's netns is {host.netns!r}, not a Netns"
    assert str(host.netns), "the host's netns has no name"
    assert host.netns == host.netns
    assert isinstance(host.owner, str), f"the host's owner is {host.owner!r}, not a str"
    assert isinstance(host.networks, tuple), f"the host's networks are {host.networks!r}"
