"""Kernel parameters of a namespace that nodes share, set while some node needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from snnet.contract import Change, Host, Noun, Sysctl

from .drivers import Drivers

IP_FORWARD = "net.ipv4.ip_forward"

BRIDGED_TO_IP = "net.bridge.bridge-nf-call-iptables"
"""Whether br_netfilter shows bridged frames to IP's hooks."""
RECORD = "sysctl"


class SharedSysctls:
    """One node's share in parameters of the namespace (``ip_forward``, say).

    The value before the first user is kept in the host's record, written
    before the change, and put back when the last user has gone.
    """

    def __init__(self, host: Host, drivers: Drivers, user: str) -> None:
        self._host = host
        self._drivers = drivers
        self._user = user
        self._wanted: dict[str, str] = {}

    def nouns(self) -> Iterator[Noun]:
        """What this node wants of them."""
        for name, value in self._wanted.items():
            yield Sysctl(name=name, value=value)

    def enable(self, values: Mapping[str, str]) -> None:
        """Set those this kernel has; repeating it is harmless.  Raises what the driver says."""
        for name, value in values.items():
            if name in self._wanted:
                continue
            current = self._current(name)
            if current is None:
                continue
            with self._host.record(RECORD) as record:
                entry = record.setdefault(name, {"previous": current, "users": []})
                if self._user not in entry["users"]:
                    entry["users"].append(self._user)
            self._change(name, current, value)
            self._wanted[name] = value

    def release(self) -> None:
        """This node needs them no more; the last one puts the old values back."""
        with self._host.record(RECORD) as record:
            for name in list(record):
                entry = record[name]
                if self._user not in entry["users"]:
                    continue
                entry["users"].remove(self._user)
                if not entry["users"]:
                    self._change(name, self._current(name), entry["previous"])
                    del record[name]
        self._wanted.clear()

    def _current(self, name: str) -> str | None:
        found = self._drivers.backend.find(Sysctl(name=name))
        return found.value if isinstance(found, Sysctl) else None

    def _change(self, name: str, old: str | None, new: str) -> None:
        if old is None or old == new:
            return
        change = Change(Sysctl(name=name, value=new), Sysctl(name=name, value=old))
        outcome = self._drivers.apply([change])
        if outcome.error:
            raise outcome.error
