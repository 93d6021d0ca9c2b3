"""Which backend, firewall and tunnel the demo uses, and why not others.

Drivers are found by their entry points.  Only ``fake`` runs in memory, where a fabric
carries its frames; every other backend must work on a network namespace of this
machine's kernel.  A driver declares what it cannot do (``missing()``), and the demo asks
for everything that it will use before it starts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

from snnet import plugins
from snnet.config import NetworkMode
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Denied,
    Driver,
    DriverNotFound,
    ExternalForward,
    GroupMembers,
    GroupRules,
    Host,
    InvalidRequest,
    Link,
    Macvtap,
    Masquerade,
    Noun,
    PortForward,
    PortGroups,
    ProxyNeighbour,
    PublicIp,
    Route,
    SnnetError,
    Tap,
    Unsupported,
    Veth,
    Zone,
    ZoneLink,
)
from snnet.core.tunnels import tunnel_link
from snnet.node.deadline import CancelToken
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace
from snnet.system.netns import in_netns
from snnet.system.process import PACKAGES, find_program

from .dhcp_client import PROGRAM
from .lab import Lab
from .scenario import Scenario

AUTO, FAKE, NONE = "auto", "fake", "none"
_AUTO_TUNNELS = ("gre", "vxlan")
_AUTO_FIREWALLS = ("nftables", "iptables", NONE)
_PROGRAMS = ("ip", PROGRAM, "dnsmasq")
_OWNER = "cn:demo"
_PROBE = "probe"
_GUEST = ip_address("10.1.0.9"), ip_address("fd00:1::9")
_ENDS = {
    4: (ip_address("192.0.2.1"), ip_address("192.0.2.2")),
    6: (ip_address("2001:db8::1"), ip_address("2001:db8::2")),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use.  ``notes`` say why a preferred driver or tunnel is not used."""

    backend: str
    firewall: str
    tunnel: str
    notes: tuple[str, ...] = ()
    keep: bool = False
    groups: bool = True
    """Whether the firewall has security groups; if not, a note says why."""


def choose(
    backend: str = AUTO,
    *,
    firewall: str = AUTO,
    tunnel: str = AUTO,
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
    uplinks: int = 4,
    keep: bool = False,
) -> Choice:
    """Replace every "auto" by what works here.  Creates nothing that stays.

    ``uplinks`` is the IP version between whose addresses tunnels go.

    ``auto`` means netlink if possible, else the fake; gre if the kernel has it, else
    vxlan; nftables if possible, else iptables, else none.  The fake is never used
    instead of something that was named, nor with ``keep``.

    Raises ``DriverNotFound`` for a name that is not installed, ``InvalidRequest`` for
    names that do not go together, ``Denied`` without root, ``Unsupported`` with the
    reason for what this machine or a named driver lacks, and ``DriverLoadError``.
    """
    _check_names(backend, firewall, mode, keep)
    if FAKE in (backend, firewall):
        return _choose_fake(firewall, tunnel, mode)
    named = backend != AUTO or keep or tunnel != AUTO or firewall not in (AUTO, NONE)
    name = "netlink" if backend == AUTO else backend
    try:
        with _survey(name) as (host, driver):
            _check_backend(name, driver, host, mode)
            found, note = _choose_tunnel(driver, tunnel, mode, uplinks)
            wall, lacking = _choose_firewall(host, firewall, mode)
            no_groups = _lacks_groups(wall, host, mode)
    except SnnetError as error:
        if named:
            raise
        choice = _choose_fake(firewall, tunnel, mode)
        return replace(choice, notes=(f"backend fake: {error}", *choice.notes))
    notes = tuple(filter(None, (note, lacking, no_groups)))
    return Choice(name, wall, found, notes, keep, groups=no_groups is None)


def open_lab(choice: Choice, scenario: Scenario, cancel: CancelToken) -> Lab:
    """Open the lab that was chosen, with nothing in it."""
    if choice.backend == FAKE:
        from .fake import FakeLab

        return FakeLab(scenario, firewall=choice.firewall, tunnel=choice.tunnel, cancel=cancel)
    from .real import RealLab

    return RealLab(
        scenario,
        backend=choice.backend,
        firewall=choice.firewall,
        tunnel=choice.tunnel,
        cancel=cancel,
        keep=choice.keep,
    )


def _check_names(backend: str, firewall: str, mode: NetworkMode, keep: bool) -> None:
    for group, name in ((plugins.BACKENDS, backend), (plugins.FIREWALLS, firewall)):
        if name != AUTO and name not in plugins.installed(group):
            what = group.removeprefix("snnet.").removesuffix("s")
            raise DriverNotFound(f"no {what} {name!r} is installed; {plugins.instead(group)}")
    if mode is NetworkMode.ROUTED and firewall == NONE:
        raise InvalidRequest("mode 'routed' needs a firewall, not 'none'", field="firewall")
    if firewall == FAKE and backend not in (AUTO, FAKE):
        raise InvalidRequest(
            f"'fake' does not work on backend {backend!r}: use backend 'fake'", field="firewall"
        )
    if keep and FAKE in (backend, firewall):
        raise InvalidRequest(
            "there is nothing to keep: backend 'fake' is in memory and ends with this command; "
            "as root use backend 'netlink'",
            field="keep",
        )


# -- the fake ------------------------------------------------------------------------


def _choose_fake(firewall: str, tunnel: str, mode: NetworkMode) -> Choice:
    firewall = FAKE if firewall == AUTO else firewall
    if firewall != NONE:
        from snnet.backends.fake import FakeKernel

        try:
            plugins.open_driver(plugins.FIREWALLS, firewall, FakeKernel()).close()
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{firewall!r} does not work on backend 'fake' ({error})", field="firewall"
            ) from error
    from snnet.backends.fake import FakeKernel

    tunnel = _AUTO_TUNNELS[0] if tunnel == AUTO else tunnel
    no_groups = _lacks_groups(firewall, FakeKernel(), mode)
    notes = () if no_groups is None else (no_groups,)
    return Choice(FAKE, firewall, tunnel, notes, groups=no_groups is None)


# -- this machine ----------------------------------------------------------------------


@contextmanager
def _survey(backend: str) -> Iterator[tuple[RealHost, Driver]]:
    """A temporary namespace and the backend opened on it, where everything can be asked."""
    if os.geteuid() != 0:
        raise Denied(f"backend {backend!r} creates network namespaces and links: run as root")
    lacking = [program for program in _PROGRAMS if find_program(program) is None]
    if lacking:
        packages = " ".join(PACKAGES[program] for program in lacking)
        raise Unsupported(f"not installed: {', '.join(lacking)}; apt-get install {packages}")
    with (
        closing(Namespace("survey")) as namespace,
        closing(RealHost(namespace.fd, owner=_OWNER)) as host,
        closing(_open_backend(backend, host)) as driver,
    ):
        yield host, driver


def _open_backend(name: str, host: RealHost) -> Driver:
    try:
        return plugins.open_driver(plugins.BACKENDS, name, host)
    except InvalidRequest as error:
        raise Unsupported(
            f"backend {name!r} does not work on a network namespace, which the demo needs: {error}"
        ) from error


def _lacks(driver: Driver, nouns: Iterable[Noun]) -> str | None:
    """Why the driver cannot carry one of the nouns, or None."""
    for noun in nouns:
        if reason := driver.missing(noun):
            return reason
        if type(noun) not in driver.carries:
            return f"it does not carry {type(noun).__name__}"
    return None


def _check_backend(name: str, driver: Driver, host: RealHost, mode: NetworkMode) -> None:
    if reason := _lacks(driver, _links(mode)):
        raise Unsupported(f"backend {name!r} cannot run the demo: {reason}")
    # A driver that keeps its links in memory declares no gap, so create one in the survey's
    # namespace and ask the kernel for it.
    error = driver.apply([Add(Bridge(name=_PROBE))]).error
    if error is not None:
        raise Unsupported(f"backend {name!r} cannot run the demo: {error}") from error
    links = in_netns(host.netns.fd, socket.if_nameindex)
    if _PROBE not in {link for _, link in links}:
        raise Unsupported(
            f"backend {name!r} cannot run the demo: it creates no links in this machine's kernel"
        )


def _choose_tunnel(
    driver: Driver, tunnel: str, mode: NetworkMode, uplinks: int
) -> tuple[str, str | None]:
    """The first tunnel that works, and why an earlier one does not."""
    tunnels = _AUTO_TUNNELS if tunnel == AUTO else (tunnel,)
    if mode is NetworkMode.ROUTED:
        return tunnels[0], None
    note = None
    for name in tunnels:
        reason = _lacks(driver, [_tunnel(name, uplinks)])
        if reason is None:
            return name, note and f"tunnel {name}: {note}"
        note = note or reason
    raise Unsupported(
        f"tunnel {' and '.join(map(repr, tunnels))} cannot be used here: {note}, or use "
        "backend 'fake'"
    )


def _choose_firewall(host: RealHost, firewall: str, mode: NetworkMode) -> tuple[str, str | None]:
    """The first firewall that works, and why an earlier one does not."""
    note = None
    for name in _AUTO_FIREWALLS if firewall == AUTO else (firewall,):
        reason = None if name == NONE else _firewall_lacks(host, name, mode)
        if name == NONE and mode is NetworkMode.ROUTED:
            break
        if reason is None:
            return name, note and f"firewall {name}: {note}"
        if firewall != AUTO:
            raise Unsupported(f"firewall {name!r} cannot run the demo: {reason}")
        note = note or reason
    raise Unsupported(f"mode 'routed' needs a firewall: {note}")


def _firewall_lacks(host: RealHost, name: str, mode: NetworkMode) -> str | None:
    with closing(plugins.open_driver(plugins.FIREWALLS, name, host)) as driver:
        return _lacks(driver, _rules(mode))


def _lacks_groups(firewall: str, host: Host, mode: NetworkMode) -> str | None:
    """Why no guest is in a security group, or None."""
    with closing(plugins.open_driver(plugins.FIREWALLS, firewall, host)) as driver:
        reason = _lacks(driver, _groups(bridged=mode is not NetworkMode.ROUTED))
    return reason and f"no security group, firewall {firewall}: {reason}"


# -- what the demo uses ----------------------------------------------------------------


def _links(mode: NetworkMode) -> Iterator[Noun]:
    routed = mode is NetworkMode.ROUTED
    yield Bridge(name=_PROBE)
    yield Tap(name=_PROBE, proxy_arp=routed)
    yield Veth(name=_PROBE, peer="probe1", proxy_arp=routed)
    yield Address(link=_PROBE, address=ip_interface("10.1.0.1/24"))
    if routed:
        for ip in _GUEST:
            yield Route(link=_PROBE, destination=ip_network(ip))
            yield ProxyNeighbour(link=_PROBE, address=ip)
    else:
        yield Macvtap(name=_PROBE, lower="eth0")


def _tunnel(tunnel: str, uplinks: int) -> Link:
    local, remote = _ENDS[uplinks]
    return tunnel_link(
        tunnel,
        name=_PROBE,
        alias="",
        key=1,
        local=local,
        remote=remote,
        master="probe0",
        mac="06:00:00:00:00:01",
        mtu=1400,
    )


def _rules(mode: NetworkMode) -> Iterator[Noun]:
    yield Zone(owner=_OWNER, zone=_PROBE)
    yield ZoneLink(owner=_OWNER, zone=_PROBE, link=_PROBE)
    if mode is NetworkMode.ROUTED:
        return
    yield Masquerade(owner=_OWNER, device=_PROBE, nat66=True)
    yield ExternalForward(owner=_OWNER, device=_PROBE, bridge=_PROBE)
    for ip, (_, public) in zip(_GUEST, _ENDS.values(), strict=True):
        yield PortForward(
            owner=_OWNER, protocol="tcp", device=_PROBE, port=80, target=ip, target_port=80
        )
        yield PublicIp(owner=_OWNER, public=public, internal=ip, device=_PROBE)


def _groups(*, bridged: bool) -> Iterator[Noun]:
    yield GroupMembers(owner=_OWNER, tenant=_PROBE, group=_PROBE, bridged=bridged)
    yield GroupRules(owner=_OWNER, tenant=_PROBE, group=_PROBE, bridged=bridged)
    yield PortGroups(owner=_OWNER, link=_PROBE, tenant=_PROBE, groups=(_PROBE,), bridged=bridged)
