"""What is particular to IPDB: its threads, its lag, its strings."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from snnet_ipdb import IpdbBackend

import snnet
from snnet import plugins
from snnet.conformance import RealPlace
from snnet.contract import Add, Change, Link, Remove, Tap


@pytest.fixture
def place() -> Iterator[RealPlace]:
    with RealPlace(IpdbBackend) as place:
        yield place


def test_the_name_opens_it() -> None:
    assert "ipdb" in plugins.installed(plugins.BACKENDS)
    assert plugins.load_driver(plugins.BACKENDS, "ipdb") is IpdbBackend


def test_a_fake_host_is_no_place_for_it() -> None:
    with pytest.raises(snnet.InvalidRequest, match="network namespace"):
        plugins.open_driver(plugins.BACKENDS, "ipdb", snnet.FakeKernel())


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with RealPlace(IpdbBackend) as place:
        assert set(threading.enumerate()) > before
        place.driver.snapshot()
    assert set(threading.enumerate()) == before


def test_its_advice_to_use_something_else_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with RealPlace(IpdbBackend):
        assert caplog.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_ipdb_whose_thread_has_died_is_replaced(
    place: RealPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choke(message: object) -> None:
        raise ValueError("what is this?")

    monkeypatch.setattr("snnet_ipdb.database._PATIENCE", 0.5)
    driver = place.driver
    assert isinstance(driver, IpdbBackend)
    first = driver._database.ipdb
    first._event_map["RTM_NEWLINK"].append(choke)
    place.make_bridge("br")
    assert driver.find(Link(name="br")) is not None
    assert driver._database.ipdb is not first


def test_an_alias_is_bytes(place: RealPlace) -> None:
    """Of a string the library would send only as many bytes as it has characters."""
    tap = Tap(name="täp", alias="ü" * 127)
    assert place.driver.apply([Add(tap)]).error is None
    found = place.driver.find(tap)
    assert isinstance(found, Tap)
    assert not tap.differences(found)
    bare = Tap(name="täp", mtu=1500)
    assert place.driver.apply([Change(bare, tap)]).error is None
    found = place.driver.find(tap)
    assert isinstance(found, Tap)
    assert found.alias == ""
    assert place.driver.apply([Remove(bare)]).error is None
