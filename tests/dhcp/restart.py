"""A restart as the engine asks for it."""

from __future__ import annotations

import dataclasses

from snnet.contract import Change, DhcpScope
from snnet.dhcp.dnsmasq import Dnsmasq


def restart(driver: Dnsmasq, scope: DhcpScope) -> None:
    """Stop and start the server of a running scope."""
    stopped = dataclasses.replace(scope, running=False)
    outcome = driver.apply([Change(stopped, scope), Change(scope, stopped)])
    if outcome.error is not None:
        raise outcome.error
