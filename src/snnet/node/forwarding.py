"""IPv4 forwarding of a namespace, on while some node of it needs it."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.contract import Change, Host, Noun, Sysctl

from .drivers import Drivers

IP_FORWARD = "net.ipv4.ip_forward"
RECORD = "sysctl"


class Forwarding:
    """One node's share in the namespace's ``ip_forward``.

    The value before the first user is kept in the host's record, written
    before the change, and put back when the last user has gone.
    """

    def __init__(self, host: Host, drivers: Drivers, user: str) -> None:
        self._host = host
        self._drivers = drivers
        self._user = user
        self._wanted = False

    def nouns(self) -> Iterator[Noun]:
        """What this node wants of it."""
        if self._wanted:
            yield Sysctl(name=IP_FORWARD, value="1")

    def enable(self) -> None:
        """Turn forwarding on; repeating it is harmless.  Raises what the driver says."""
        if self._wanted:
            return
        current = self._current()
        with self._host.record(RECORD) as record:
            entry = record.setdefault(IP_FORWARD, {"previous": current, "users": []})
            if self._user not in entry["users"]:
                entry["users"].append(self._user)
        self._change(current, "1")
        self._wanted = True

    def release(self) -> None:
        """This node needs it no more; the last one puts the old value back."""
        with self._host.record(RECORD) as record:
            entry = record.get(IP_FORWARD)
            if entry is not None and self._user in entry["users"]:
                entry["users"].remove(self._user)
                if not entry["users"]:
                    self._change(self._current(), entry["previous"])
                    del record[IP_FORWARD]
        self._wanted = False

    def _current(self) -> str:
        found = self._drivers.backend.find(("sysctl", IP_FORWARD))
        return found.value if isinstance(found, Sysctl) else "0"

    def _change(self, old: str, new: str) -> None:
        if old == new:
            return
        change = Change(Sysctl(name=IP_FORWARD, value=new), Sysctl(name=IP_FORWARD, value=old))
        outcome = self._drivers.apply([change])
        if outcome.error:
            raise outcome.error
