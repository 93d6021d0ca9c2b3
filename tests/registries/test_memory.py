"""The registry in memory: who shares its documents, and for how long."""

from __future__ import annotations

import os

import pytest

import snnet
from snnet.contract import DriverNotFound, InvalidRequest, Put
from snnet.registries.memory import MemoryRegistry


def test_one_name_is_one_set_of_documents_until_its_last_user_has_gone() -> None:
    first, second = snnet.open_registry("memory:shared"), snnet.open_registry("memory:shared")
    first.commit([Put("k", {"n": 1})])
    first.close()
    assert second.read("").entries["k"].document == {"n": 1}
    second.close()
    with snnet.open_registry("memory:shared") as third:
        assert third.read("").entries == {}


def test_documents_that_outlive_their_last_user_are_not_the_next_ones() -> None:
    with snnet.open_registry("memory:kept") as first:
        assert isinstance(first, MemoryRegistry)
        first.commit([Put("k", {"n": 1})])
        kept = first.documents()  # as the thread does that ends sessions
    with snnet.open_registry("memory:kept") as second:
        assert second.read("").entries == {}
    assert kept.users == 0


def test_without_a_name_nothing_is_shared() -> None:
    with snnet.open_registry("memory:") as first, snnet.open_registry("memory:") as second:
        first.commit([Put("k", {"n": 1})])
        assert second.read("").entries == {}


def test_a_forked_child_is_refused() -> None:
    with snnet.open_registry("memory:") as registry:
        child = os.fork()
        if child == 0:
            try:
                registry.read("")
            except InvalidRequest:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("url", ["", "nothing", "/var/lib/snnet/registry.db", ":x", None, 3])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"write NAME:.*sqlite:///.*installed: .*memory"):
        snnet.open_registry(url)


def test_unknown_registries_are_refused_with_the_installed_ones() -> None:
    with pytest.raises(DriverNotFound, match=r"no registry 'zookeeper' is installed; .*memory"):
        snnet.open_registry("zookeeper:secret@host")
