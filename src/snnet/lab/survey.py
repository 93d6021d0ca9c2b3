"""What the real lab needs of this machine, looked at before anything is made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from snnet import plugins
from snnet.config import NetworkMode
from snnet.contract import Bridge, Denied, Link, Macvtap, Tap, Unsupported, Veth, Zone
from snnet.core.encapsulation import tunnel_link
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace
from snnet.system.process import PACKAGES, find_program

from .client import PROGRAM

_PROGRAMS = ("ip", PROGRAM, "dnsmasq")


def check_machine(
    backend: str, tunnels: Sequence[str], firewalls: Iterable[str], mode: NetworkMode
) -> tuple[str, str, tuple[str, ...]]:
    """The first tunnel and the first firewall that work here, and why not earlier ones.

    ``Denied`` says whom to run as, ``Unsupported`` what to install or to load.
    """
    if os.geteuid() != 0:
        raise Denied(f"backend {backend!r} makes network namespaces and links: run as root")
    _check_programs()
    namespace = Namespace("survey")
    try:
        host = RealHost(namespace.fd, owner="cn:demo")
        try:
            tunnel, lacking = _check_kernel(host, backend, tunnels, mode)
            firewall, without = _check_firewall(host, firewalls)
        finally:
            host.close()
    finally:
        namespace.close()
    notes = [f"tunnel {tunnel}: {lacking}"] if lacking else []
    notes += [f"firewall {firewall}: {without}"] if without else []
    return tunnel, firewall, tuple(notes)


def _check_firewall(host: RealHost, firewalls: Iterable[str]) -> tuple[str, str | None]:
    lacking = None
    for name in firewalls:
        if name == "none":
            return name, lacking
        driver = plugins.open_driver(plugins.FIREWALLS, name, host)
        try:
            reason = driver.missing(Zone(owner=host.owner, zone="probe"))
        finally:
            driver.close()
        if reason is None:
            return name, lacking
        lacking = lacking or reason
    raise Unsupported(lacking or "no firewall to choose from")


def _check_programs() -> None:
    lacking = [program for program in _PROGRAMS if find_program(program) is None]
    if lacking:
        packages = " ".join(PACKAGES[program] for program in lacking)
        raise Unsupported(f"not installed: {', '.join(lacking)}; apt-get install {packages}")


def _check_kernel(
    host: RealHost, backend: str, tunnels: Sequence[str], mode: NetworkMode
) -> tuple[str, str | None]:
    driver = plugins.open_driver(plugins.BACKENDS, backend, host)
    try:
        for link in _links():
            if reason := driver.missing(link):
                raise Unsupported(reason)
        lacking = None
        for tunnel in tunnels:
            no_need = mode is NetworkMode.ROUTED
            reason = None if no_need else driver.missing(_tunnel(tunnel))
            if reason is None:
                return tunnel, lacking
            lacking = lacking or reason
        raise Unsupported(lacking or "no tunnel to choose from")
    finally:
        driver.close()


def _links() -> Iterable[Link]:
    yield Bridge(name="probe")
    yield Tap(name="probe")
    yield Veth(name="probe", peer="probe1")
    yield Macvtap(name="probe", lower="eth0")


def _tunnel(tunnel: str) -> Link:
    local, remote = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    return tunnel_link(
        tunnel,
        name="probe",
        alias="",
        key=1,
        local=local,
        remote=remote,
        master="probe0",
        mac="06:00:00:00:00:01",
        mtu=1400,
    )
