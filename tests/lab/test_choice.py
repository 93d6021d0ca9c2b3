"""Which drivers the demo chooses, and its errors when it cannot run."""

from __future__ import annotations

import os

import pytest

from snnet.config import NetworkMode
from snnet.contract import Denied, DriverNotFound, InvalidRequest, Unsupported
from snnet.lab import choose


def test_fake_takes_gre_and_the_fake_firewall() -> None:
    choice = choose("fake")
    assert (choice.backend, choice.firewall, choice.tunnel) == ("fake", "fake", "gre")
    assert choice.notes == ()


def test_without_root_auto_takes_the_fake_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    choice = choose()
    assert choice.backend == "fake"
    assert "run as root" in choice.notes[0]
    with pytest.raises(Denied, match="run as root"):
        choose("netlink")


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("snnet.lab.choice.find_program", lambda name: None)
    with pytest.raises(
        Unsupported,
        match="not installed: ip, busybox, dnsmasq; "
        "apt-get install iproute2 busybox-static dnsmasq-base",
    ):
        choose("netlink")
    assert choose().backend == "fake"


@pytest.mark.parametrize(("backend", "firewall"), [("netlink", "fake"), ("fake", "nftables")])
def test_names_that_do_not_go_together_are_refused(
    backend: str, firewall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnet.plugins.installed", lambda group: [backend, firewall])
    with pytest.raises(InvalidRequest, match="does not work on backend"):
        choose(backend, firewall=firewall)


def test_a_name_that_is_not_installed_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.plugins.installed", lambda group: ["fake", "none"])
    with pytest.raises(DriverNotFound, match="'iproute_shell' is installed; installed: fake, none"):
        choose("iproute_shell")
    with pytest.raises(DriverNotFound, match="no firewall 'nftables' is installed"):
        choose(firewall="nftables")


def test_routed_needs_a_firewall() -> None:
    assert choose("fake", mode=NetworkMode.ROUTED).firewall == "fake"
    with pytest.raises(InvalidRequest, match="needs a firewall"):
        choose("fake", firewall="none", mode=NetworkMode.ROUTED)


@pytest.mark.kernel
def test_as_root_auto_takes_the_kernel_and_nftables() -> None:
    assert (choose().backend, choose().firewall) == ("netlink", "nftables")


@pytest.mark.kernel
def test_without_nft_auto_takes_iptables_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.firewall.nft.Nft.missing", lambda self: "no nft here")
    choice = choose()
    assert choice.firewall == "iptables"
    assert "firewall iptables: no nft here" in choice.notes


@pytest.mark.kernel
@pytest.mark.needs("gretap")
def test_auto_takes_gre_where_the_kernel_has_it() -> None:
    assert choose("netlink").tunnel == "gre"
