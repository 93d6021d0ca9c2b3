"""The mark of a host in its namespaces is read once: each reading takes a socket and a thread."""

from __future__ import annotations

from typing import Any

import pytest

from snnet.backends import namespaces as marks
from snnet.backends.iproute_shell.namespaces import Namespaces as ShellNamespaces
from snnet.backends.netlink import namespaces as netlink
from snnet.contract import Namespace
from snnet.system import named


@pytest.mark.parametrize("backend", ["netlink", "iproute_shell"])
def test_look_ups_read_the_cookie_of_the_host_once(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Shell:
        def rows(self, *args: Any, **options: Any) -> list[dict[str, str]]:
            return [{"ifalias": "ours h=7"}]

    def cookie(netns: int) -> int:
        asked.append(netns)
        return 7

    monkeypatch.setattr(marks, "netns_cookie", cookie)
    monkeypatch.setattr(netlink, "_alias_of", lambda name: "ours h=7")
    monkeypatch.setattr(named, "exists", lambda name: True)
    shell: Any = Shell()
    table = netlink.Namespaces(3) if backend == "netlink" else ShellNamespaces(shell, 3)
    for name in ("a", "b", "c"):
        assert table.find(Namespace(name=name)) == Namespace(name=name, alias="ours")
    assert asked == [3]
