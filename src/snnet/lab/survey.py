"""What the real lab needs of this machine, looked at before anything is made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv4Address

from snnet import plugins
from snnet.contract import Bridge, Denied, Link, Macvtap, Tap, Unsupported, Veth
from snnet.core.encapsulation import tunnel_link
from snnet.system.host import SystemHost
from snnet.system.process import PACKAGES, find_program

from .client import PROGRAM
from snnet.system.namespaces import Namespace

_PROGRAMS = ("ip", PROGRAM, "dnsmasq")


def check_machine(backend: str, tunnels: Iterable[str]) -> tuple[str, str | None]:
    """The first of the tunnels that the kernel can do, and why it is not an earlier one.

    ``Denied`` says whom to run as, ``Unsupported`` what to install or to load.
    """
    if os.geteuid() != 0:
        raise Denied(f"backend {backend!r} makes network namespaces and links: run as root")
    _check_programs()
    namespace = Namespace("survey")
    try:
        return _check_kernel(namespace, backend, tunnels)
    finally:
        namespace.close()


def _check_programs() -> None:
    lacking = [program for program in _PROGRAMS if find_program(program) is None]
    if lacking:
        packages = " ".join(PACKAGES[program] for program in lacking)
        raise Unsupported(f"not installed: {', '.join(lacking)}; apt-get install {packages}")


def _check_kernel(
    namespace: Namespace, backend: str, tunnels: Iterable[str]
) -> tuple[str, str | None]:
    host = SystemHost("demo", namespace.fd)
    try:
        driver = plugins.open_driver(plugins.BACKENDS, backend, host)
        try:
            for link in _links():
                if reason := driver.missing(link):
                    raise Unsupported(reason)
            lacking = None
            for tunnel in tunnels:
                reason = driver.missing(_tunnel(tunnel))
                if reason is None:
                    return tunnel, lacking
                lacking = lacking or reason
            raise Unsupported(lacking or "no tunnel to choose from")
        finally:
            driver.close()
    finally:
        host.close()


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
