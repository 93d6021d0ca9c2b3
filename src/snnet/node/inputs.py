"""A look at what a node rests on and did not make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from snnet.contract import Address, ApiError, IPAddress, Noun, Path, Sysctl
from snnet.contract.network import FORWARDING
from snnet.core.inputs import (
    SOMEWHERE,
    STRICT,
    Before,
    Seen,
    about_devices,
    about_subnet,
    about_uplink,
    about_way,
    devices_of,
    forwarding_of,
    guest_behind,
    rp_filters,
    ways_in,
)
from snnet.core.own_packets import remotes
from snnet.core.records import Records
from snnet.core.rules import Rule
from snnet.core.uplinks import Uplink

from .drivers import Drivers


class Inputs:
    """Names what changed on the host since ``init()``, where a node depends on it."""

    def __init__(self, drivers: Drivers) -> None:
        self._backend = drivers.backend
        self._uplink: Uplink | None = None
        """The uplink that another process found."""
        self._had_default = False

    def note(self, uplink: Uplink) -> Before:
        """Remember what is there now and may be missed later."""
        self._note_default()
        return Before(uplink, self._had_default)

    def recall(self, before: Before) -> None:
        """Compare with what another process found, which set the node up."""
        self._uplink, self._had_default = before.uplink, before.default_route

    def _note_default(self) -> None:
        self._had_default = self._had_default or self._default() is not None

    def differences(self, records: Records, found: Collection[Noun]) -> Iterator[str]:
        """A line for each external input that is not as the node needs it.

        ``found`` are the links and addresses of the host.
        """
        rules = list(records.outside())
        seen = Seen.of(found)
        uplink = records.site.uplink
        # A repair by whoever opens the node fits the node to the MTU of now.
        before = uplink if self._uplink is None else replace(self._uplink, mtu=uplink.mtu)
        yield from about_uplink(before, seen)
        yield from about_devices(rules, seen)
        if Path in self._backend.carries:
            for remote in remotes(records.site, records.nouns()):
                yield from about_way(remote, self._path(remote))
            for noun in records.nouns():
                if isinstance(noun, Address) and (guest := guest_behind(noun)) is not None:
                    yield from about_subnet(noun, self._path(guest))
        for version in sorted(records.forwarding):
            if self._value(FORWARDING[version]) == "0":
                continue
            for link in dict.fromkeys([uplink.link_name, *devices_of(rules)]):
                name = forwarding_of(version, link)
                if self._value(name) == "0":
                    yield f"{name}: is 0 -> should be 1: sysctl -w {name}=1"
        if not rules:
            return
        self._note_default()
        way = self._default()
        if way is None and self._had_default:
            yield "default route: is gone -> should be there: ip route add default via ..."
        yield from self._strict(rules, way)

    def _strict(self, rules: Iterable[Rule], way: Path | None) -> Iterator[str]:
        for device in ways_in(rules):
            if way is None or way.link == device:
                continue
            values = [int(self._value(name) or 0) for name in rp_filters(device)]
            if max(values) == STRICT:
                name = rp_filters(device)[1]
                yield (
                    f"{name}: is strict, and answers leave by {way.link} -> should be 2 (loose), "
                    f"or what comes by {device} is dropped: sysctl -w {name}=2"
                )

    def _default(self) -> Path | None:
        return self._path(SOMEWHERE.remote)

    def _path(self, remote: IPAddress) -> Path | None:
        try:
            found = self._backend.find(Path(remote=remote))
        except ApiError:  # a rule of routing forbids it (ip-rule(8), prohibit)
            return None
        return found if isinstance(found, Path) else None

    def _value(self, name: str) -> str | None:
        found = self._backend.find(Sysctl(name=name))
        return found.value if isinstance(found, Sysctl) else None
