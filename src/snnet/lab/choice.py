"""Which backend, firewall and tunnel the demo takes, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from snnet import plugins
from snnet.config import NetworkMode
from snnet.contract import InvalidRequest, SnnetError, Unsupported
from snnet.node.deadline import CancelToken

from .lab import Lab
from .scenario import Scenario

AUTO = "auto"
BACKENDS = ("fake", "netlink", "iproute_shell")
FIREWALLS = ("fake", "none", "nftables", "iptables")
TUNNELS = ("gre", "vxlan", "geneve")
_FOR_FAKE = ("fake", "none")
_TUNNELS_BY_ITSELF = ("gre", "vxlan")
_FIREWALLS_BY_ITSELF = ("nftables", "iptables", "none")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use; ``notes`` say why something else was not taken."""

    backend: str
    firewall: str
    tunnel: str
    notes: tuple[str, ...] = ()


def choose(
    backend: str = AUTO,
    *,
    firewall: str = AUTO,
    tunnel: str = AUTO,
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
) -> Choice:
    """Settle every "auto"; looks at the machine and makes nothing on it.

    ``auto`` takes netlink where it may, else the fake; gre where the kernel
    has it, else vxlan; nftables where it is, else iptables, else none.  Raises
    what a named choice lacks: ``Unsupported``, ``Denied``, ``DriverLoadError``, or
    ``InvalidRequest`` for names that do not go together.
    """
    _check_names(backend, firewall, mode)
    tunnels = _TUNNELS_BY_ITSELF if tunnel == AUTO else (tunnel,)
    firewalls = _FIREWALLS_BY_ITSELF if firewall == AUTO else (firewall,)
    fake = Choice("fake", "fake" if firewall == AUTO else firewall, tunnels[0])
    if "fake" in (backend, firewall):
        return fake
    from .survey import check_machine

    wanted = "netlink" if backend == AUTO else backend
    try:
        found, wall, notes = check_machine(wanted, tunnels, firewalls, mode)
    except SnnetError as error:
        if backend != AUTO or firewall not in (AUTO, *_FOR_FAKE):
            raise
        return replace(fake, notes=(f"backend fake: {error}",))
    return Choice(wanted, wall, found, notes)


def open_lab(choice: Choice, scenario: Scenario, cancel: CancelToken) -> Lab:
    """The lab chosen, with nothing in it."""
    if choice.backend == "fake":
        from .fake import FakeLab

        return FakeLab(scenario, firewall=choice.firewall, tunnel=choice.tunnel, cancel=cancel)
    from .real import RealLab

    return RealLab(
        scenario,
        backend=choice.backend,
        firewall=choice.firewall,
        tunnel=choice.tunnel,
        cancel=cancel,
    )


def _check_names(backend: str, firewall: str, mode: NetworkMode) -> None:
    if mode is NetworkMode.ROUTED and firewall == "none":
        raise InvalidRequest("routed mode needs a firewall", field="firewall")
    for what, name, group in (
        ("backend", backend, plugins.BACKENDS),
        ("firewall", firewall, plugins.FIREWALLS),
    ):
        known = plugins.installed(group)
        if name != AUTO and name not in known:
            raise Unsupported(f"{what} {name!r} is still to come; there are {', '.join(known)}")
    if (firewall == "fake" and backend not in (AUTO, "fake")) or (
        backend == "fake" and firewall not in (AUTO, *_FOR_FAKE)
    ):
        raise InvalidRequest(f"{firewall!r} does not work on backend {backend!r}", field="firewall")
