"""Kernel parameters of the namespace: integers that nobody adds or removes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from snnet.contract import Sysctl
from snnet.contract.addresses import IPV6_MTU_MIN
from snnet.contract.network import FORWARDING, dots_for_slashes, link_sysctl

from .refusal import Refusal
from .state import State

_PER_LINK = {
    "ipv4.conf": {
        "accept_local": "0",
        "arp_accept": "0",
        "arp_announce": "0",
        "arp_filter": "0",
        "arp_ignore": "0",
        "forwarding": "0",
        "proxy_arp": "0",
        "proxy_arp_pvlan": "0",
        "route_localnet": "0",
        "rp_filter": "0",
        "send_redirects": "1",
    },
    "ipv6.conf": {
        "accept_dad": "1",
        "accept_ra": "1",
        "accept_redirects": "1",
        "addr_gen_mode": "0",
        "autoconf": "1",
        "disable_ipv6": "0",
        "forwarding": "0",
        "proxy_ndp": "0",
    },
    # In 1/100 s (USER_HZ); the kernel shows "default" in its first namespace only.
    "ipv4.neigh": {"proxy_delay": "80"},
    "ipv6.neigh": {"proxy_delay": "80"},
}
_GLOBAL = {
    FORWARDING[4]: "0",
    "net.bridge.bridge-nf-call-arptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
}
_SAME = {"net.ipv4.conf.all.forwarding": FORWARDING[4]}

_QUIET = ("disable_ipv6", "accept_ra", "accept_redirects")
"""What a backend sets on new bridges, on bridge ports and on host ends of routed guests."""

_CONF = re.compile(r"net\.(ipv[46]\.(?:conf|neigh))\.([^.]+)\.([a-z_0-9]+)")
_INT = re.compile(r"[+-]?[0-9]+")


class _Conf(NamedTuple):
    table: str
    """``ipv4.conf`` or another table with parameters per link."""
    link: str
    parameter: str


class SysctlRules:
    """Reads and changes parameters; those of a link exist as long as the link."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, name: str) -> Sysctl | None:
        value = self._value(_SAME.get(name, name))
        return None if value is None else Sysctl(name=name, value=value)

    def add(self, noun: Sysctl) -> None:
        raise Refusal("EOPNOTSUPP", "a kernel parameter always exists: change it")

    def remove(self, noun: Sysctl) -> None:
        raise Refusal("EOPNOTSUPP", "a kernel parameter always exists: change it")

    def change(self, noun: Sysctl, old: Sysctl) -> None:
        if not noun.name.startswith("net."):
            raise Refusal("EOPNOTSUPP", "not a parameter of a network namespace")
        name = _SAME.get(noun.name, noun.name)
        if self._value(name) is None:
            raise Refusal("ENOENT", "no such kernel parameter")
        conf = _parse(name)
        if not _INT.fullmatch(noun.value) or not -(2**31) <= int(noun.value) < 2**31:
            raise Refusal("EINVAL", f"{noun.value!r} is not a 32-bit integer")
        self._set(name, str(int(noun.value)), conf.link if conf else None)
        version = next((one for one, found in FORWARDING.items() if found == name), None)
        if version is not None:
            self._forward_everywhere(version, noun.value)

    def _value(self, name: str) -> str | None:
        if name in self._state.sysctls:
            return self._state.sysctls[name]
        if name in _GLOBAL:
            return _GLOBAL[name]
        conf = _parse(name)
        if conf is None:
            return None
        if conf.link not in ("all", "default") and not self._has(conf):
            return None
        if conf.link != "all":
            inherited = f"net.{conf.table}.default.{conf.parameter}"
            if inherited in self._state.sysctls:
                return self._state.sysctls[inherited]
        return _PER_LINK[conf.table][conf.parameter]

    def _has(self, conf: _Conf) -> bool:
        """Whether the link has such parameters: below an MTU of 1280 none of IPv6."""
        link = self._state.link(conf.link)
        if link is None:
            return False
        # addrconf_notify takes the loopback's addresses, and leaves it its parameters.
        is_small = link.mtu is not None and link.mtu < IPV6_MTU_MIN and conf.link != "lo"
        return not (is_small and conf.table.startswith("ipv6."))

    def set_link(self, link: str, parameters: Mapping[str, str]) -> None:
        """Set parameters of the link."""
        for name, value in parameters.items():
            self._set(name, value, link)

    def _set(self, name: str, value: str, link: str | None = None) -> None:
        """Set a parameter, which belongs to the link."""
        state = self._state
        state.sysctls[name] = value
        state.changes.count += 1
        if link is not None:
            state.tuned.setdefault(link, {})[name] = None

    def _forward_everywhere(self, version: int, value: str) -> None:
        """Overwrite the values of all links and of ``default``.

        See inet_forward_change and addrconf_fixup_forwarding.
        """
        for name in list(self._state.sysctls):
            conf = _parse(name)
            if (
                conf
                and name != FORWARDING[version]
                and (conf.table, conf.parameter) == (f"ipv{version}.conf", "forwarding")
            ):
                del self._state.sysctls[name]
        self._set(f"net.ipv{version}.conf.default.forwarding", str(int(value)))


def ipv6_is_disabled(state: State, link: str) -> bool:
    """Return whether ``disable_ipv6`` of the link, which is there, is set."""
    value = state.sysctls.get("net.ipv6.conf.default.disable_ipv6", "0")
    if link in state.tuned:
        value = state.sysctls.get(link_sysctl("ipv6.conf", link, "disable_ipv6"), value)
    return value != "0"


def forget_link_sysctls(state: State, link: str) -> None:
    """Remove the parameters of a link that was removed."""
    for name in state.tuned.pop(link, ()):
        state.sysctls.pop(name, None)


def forget_ipv6_sysctls(state: State, link: str) -> None:
    """Remove the IPv6 parameters of a link: an MTU below 1280 ends its IPv6 (addrconf_ifdown)."""
    tuned = state.tuned.get(link, {})
    for name in [name for name in tuned if name.startswith("net.ipv6.")]:
        del tuned[name]
        state.sysctls.pop(name, None)


def changed_sysctls(state: State) -> list[Sysctl]:
    """Return the parameters whose value differs from that of a new namespace."""
    changed = []
    for name, value in state.sysctls.items():
        conf = _parse(name)
        start = _PER_LINK[conf.table][conf.parameter] if conf else _GLOBAL[name]
        if conf and conf.parameter in _QUIET and conf.link not in ("all", "default"):
            continue  # the link itself shows it
        if value != start:
            changed.append(Sysctl(name=name, value=value))
    return changed


def _parse(name: str) -> _Conf | None:
    match = _CONF.fullmatch(name)
    if match is None or match[3] not in _PER_LINK[match[1]]:
        return None
    if match[1].endswith("neigh") and match[2] == "all":
        return None  # neigh_sysctl_register has no "all"
    return _Conf(match[1], dots_for_slashes(match[2]), match[3])
