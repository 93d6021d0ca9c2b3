"""Rate limits beside what others have set on the same link by ``tc``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from snnet.backends.iproute_shell import IprouteShellBackend, shell
from snnet.backends.netlink import NetlinkBackend, shaping
from snnet.backends.netlink.kernel import RTM_GETTFILTER, RTM_NEWTFILTER
from snnet.contract import (
    Add,
    Change,
    Driver,
    Ifb,
    Operation,
    Redirect,
    Remove,
    Shaper,
    Unsupported,
    Veth,
)
from snnet.system.host import RealHost
from snnet.system.process import Completed, run

pytestmark = pytest.mark.kernel

SHAPER = Shaper(link="v", rate=50_000_000)
REDIRECT = Redirect(link="v", to="block")


class Place:
    """A veth and an ifb, a backend, and ``tc`` beside it."""

    def __init__(self, backend: type[Driver], host: RealHost) -> None:
        self.fd = host.netns.fd
        self.backend = backend(host)  # type: ignore[call-arg]
        self.do(Add(Veth(name="v", peer="w")), Add(Ifb(name="block")))

    def do(self, *operations: Operation) -> None:
        outcome = self.backend.apply(operations)
        assert outcome.error is None, outcome.error

    def tc(self, command: str) -> str:
        return run(["tc", *command.split()], netns=self.fd).stdout

    def disciplines(self) -> list[tuple[str, str]]:
        """The kinds and handles on the veth."""
        rows: list[dict[str, Any]] = json.loads(self.tc("-json qdisc show dev v"))
        return [(row["kind"], row["handle"]) for row in rows]

    def before_filters(
        self, verb: str, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Have something happen before filters are listed ("show") or one is added ("add")."""
        if isinstance(self.backend, NetlinkBackend):
            kernel = self.backend._kernel
            wanted = {"show": RTM_GETTFILTER, "add": RTM_NEWTFILTER}[verb]
            message = kernel.message

            def built(kind: int, values: Any, flags: int = 0) -> bytearray:
                if kind == wanted:
                    action()
                return message(kind, values, flags)

            monkeypatch.setattr(kernel, "message", built)
            return
        real = vars(shell)["run"]

        def ran(argv: list[str], **options: Any) -> Completed:
            if argv[:3] == ["tc", "filter", verb]:
                action()
            done: Completed = real(argv, **options)
            return done

        monkeypatch.setattr(shell, "run", ran)

    def delete(self, link: str) -> None:
        """Delete a link, if it is there."""
        run(["ip", "link", "delete", "dev", link], netns=self.fd, check=False)


@pytest.fixture(params=[NetlinkBackend, IprouteShellBackend], ids=["netlink", "iproute_shell"])
def place(request: pytest.FixtureRequest, netns: str) -> Iterator[Place]:
    host = RealHost(netns, owner="cn:tester")
    made = Place(request.param, host)
    yield made
    made.backend.close()
    host.close()


def test_both_write_the_same(place: Place) -> None:
    """What the kernel says afterwards does not show which backend it was."""
    place.do(Add(SHAPER), Add(REDIRECT))
    (root, clsact) = json.loads(place.tc("-json qdisc show dev v"))
    assert root["kind"] == "tbf"
    assert root["handle"] == "736e:"
    assert root["options"]["rate"] == SHAPER.rate // 8
    assert abs(root["options"]["burst"] - SHAPER.burst) < 16  # the kernel counts in ticks
    assert abs(root["options"]["lat"] - 50_000) < 50  # microseconds beside the burst
    assert clsact["kind"] == "clsact"
    said = place.tc("filter show dev v ingress")
    assert "protocol all pref 29550 u32" in said
    assert "match 00000000/00000000 at 0" in said
    assert "mirred (Egress Redirect to device block) stolen" in said


def test_a_change_keeps_what_waits_in_the_queue(place: Place) -> None:
    """The discipline is the same one, and not one that was made anew."""
    place.do(Add(SHAPER))
    place.tc("class show dev v")
    before = place.disciplines()
    changed = Shaper(link="v", rate=8_000)
    place.do(Change(changed, SHAPER))
    assert place.disciplines() == before
    assert place.backend.find(SHAPER) == changed


def test_the_root_is_taken_over(place: Place) -> None:
    """A discipline of others is not found as a limit, and gives way to one."""
    place.tc("qdisc add dev v root handle 7: pfifo limit 9")
    assert place.backend.find(SHAPER) is None
    assert not place.backend.snapshot([Shaper])
    place.do(Add(SHAPER))
    assert place.disciplines() == [("tbf", "736e:")]
    place.tc("qdisc replace dev v root handle 7: pfifo limit 9")
    assert place.backend.find(SHAPER) is None
    outcome = place.backend.apply([Remove(SHAPER)])
    assert outcome.error is not None
    assert place.disciplines() == [("pfifo", "7:")]


def test_filters_of_others_stay(place: Place) -> None:
    """What hangs on a clsact belongs to several; it goes with the last."""
    match = "protocol all u32 match u32 0 0 classid 1:1"
    place.tc("qdisc add dev v clsact")
    place.tc(f"filter add dev v ingress pref 7 {match}")
    assert place.backend.find(REDIRECT) is None
    place.do(Add(REDIRECT))
    assert place.backend.find(REDIRECT) == REDIRECT
    place.do(Remove(REDIRECT))
    assert "pref 7 u32" in place.tc("filter show dev v ingress")
    place.do(Add(REDIRECT))
    place.tc("filter delete dev v ingress pref 7")
    place.tc(f"filter add dev v egress pref 7 {match}")
    place.do(Remove(REDIRECT))
    assert ("clsact", "ffff:") in place.disciplines()
    place.tc("filter delete dev v egress pref 7")
    place.do(Add(REDIRECT), Remove(REDIRECT))
    assert ("clsact", "ffff:") not in place.disciplines()


def test_the_ingress_of_others_stays(place: Place) -> None:
    """libvirt and older scripts put ``ingress`` in the place of clsact: filters hang on it, too."""
    place.tc("qdisc add dev v ingress")
    place.do(Add(REDIRECT))
    assert place.backend.find(REDIRECT) == REDIRECT
    assert list(place.backend.snapshot([Redirect]).values()) == [REDIRECT]
    assert "device block" in place.tc("filter show dev v ingress")
    place.do(Remove(REDIRECT))
    assert place.tc("filter show dev v ingress") == ""
    assert ("ingress", "ffff:") in place.disciplines()


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
def test_a_redirect_that_fails_leaves_what_others_had(
    place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its target goes just before it is set."""
    place.tc(f"qdisc add dev v {kind}")
    before = place.disciplines()
    place.before_filters("add", lambda: place.delete("block"), monkeypatch)
    assert place.backend.apply([Add(REDIRECT)]).error is not None
    assert place.disciplines() == before


def test_a_redirect_that_fails_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.disciplines()
    place.before_filters("add", lambda: place.delete("block"), monkeypatch)
    assert place.backend.apply([Add(REDIRECT)]).error is not None
    assert place.disciplines() == before


def test_a_link_that_goes_during_a_listing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are listed."""
    other = Redirect(link="w", to="block")
    place.do(Add(Veth(name="x", peer="y")), Add(Redirect(link="x", to="block")), Add(other))
    assert len(place.backend.snapshot([Redirect])) == 2
    place.before_filters("show", lambda: place.delete("x"), monkeypatch)
    assert list(place.backend.snapshot([Redirect]).values()) == [other]


def test_a_kernel_without_traffic_control_has_no_limits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing it is no error."""
    place.do(Add(SHAPER), Add(REDIRECT))
    have_no_traffic_control(place, monkeypatch)
    assert not place.backend.snapshot([Shaper, Redirect])
    assert [place.backend.find(noun) for noun in (SHAPER, REDIRECT)] == [None, None]


def test_a_kernel_without_traffic_control_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_no_traffic_control(place, monkeypatch)
    for noun in (SHAPER, REDIRECT):
        assert "this kernel" in (place.backend.missing(noun) or "")
        error = place.backend.apply([Add(noun)]).error
        assert isinstance(error, Unsupported)
        assert "this kernel" in str(error)


def have_no_traffic_control(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built without CONFIG_NET_SCHED it knows none of these messages (rtnetlink_rcv_msg)."""
    if isinstance(place.backend, NetlinkBackend):
        unknown = 39  # no kernel knows this one
        for name in ("RTM_GETQDISC", "RTM_NEWQDISC", "RTM_GETTFILTER"):
            monkeypatch.setattr(shaping, name, unknown)
        return
    said = "RTNETLINK answers: Operation not supported\nDump terminated\n"
    real = vars(shell)["run"]

    def ran(argv: list[str], **options: Any) -> Completed:
        done: Completed = real(argv, **options)
        return Completed(1, "", said) if argv[0] == "tc" else done

    monkeypatch.setattr(shell, "run", ran)


def test_a_filter_that_somebody_led_elsewhere(place: Place) -> None:
    place.do(Add(REDIRECT))
    place.tc("filter delete dev v ingress pref 29550")
    action = "action mirred egress redirect dev w"
    place.tc(f"filter add dev v ingress protocol all pref 29550 u32 match u32 0 0 {action}")
    found = place.backend.find(REDIRECT)
    assert found == Redirect(link="v", to="w")
    place.do(Remove(found), Add(REDIRECT))
    assert place.backend.find(REDIRECT) == REDIRECT


def test_what_the_kernel_lacks_is_found_without_a_trace(place: Place) -> None:
    """It is tried in another namespace."""
    before = place.tc("qdisc show"), place.tc("filter show dev lo ingress")
    assert place.backend.missing(SHAPER) is None
    assert place.backend.missing(REDIRECT) is None
    assert (place.tc("qdisc show"), place.tc("filter show dev lo ingress")) == before
