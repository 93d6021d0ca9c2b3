"""Bridged frames that are none of the host's business."""

from __future__ import annotations

from snnet.conformance.endpoints import A1, A2, EXT0, HUB, IN_A, OUT
from snnet.conformance.rig import Answer, Rig
from snnet.contract import HostIsolation, Masquerade, Untracked

from .base import FirewallTests, add, answer, exit_by, passes, remove, stopped, tenants


def _ports(rig: Rig, router: str | None = None) -> list[Untracked]:
    return [Untracked(owner=rig.owner, link=place.link, router=router) for place in (A1, A2)]


class UntrackedTests(FirewallTests):
    def test_bridged_frames_are_not_tracked(self, rig: Rig) -> None:
        """However br_netfilter is set, a frame between ports makes no connection."""
        add(rig, *_ports(rig), *tenants(rig), *exit_by(rig))
        assert passes(rig.ping, A1, A2.ip)
        assert not rig.tracks(A1, A2)
        assert not rig.tracks(A2, A1)

    def test_bridged_frames_are_not_translated(self, rig: Rig) -> None:
        """A masquerade that fits the bridge leaves them as they are."""
        add(rig, *_ports(rig), Masquerade(owner=rig.owner, device="in-a"))
        assert answer(rig, A1, A2.ip) == Answer(A2, A1.ip)
        assert answer(rig, A1, A2.ip, "udp") == Answer(A2, A1.ip)

    def test_what_the_host_routes_is_tracked(self, rig: Rig) -> None:
        """Frames to the router's MAC are translated as usual."""
        ports = _ports(rig, IN_A.mac)
        add(rig, *ports, *tenants(rig), *exit_by(rig))
        assert answer(rig, A1, OUT.ip) == Answer(OUT, EXT0.address.ip)
        assert rig.tracks(A1, OUT)
        assert passes(rig.ping, A1, A2.ip)
        assert not rig.tracks(A1, A2)
        assert passes(rig.ping, A1, A1.gateway)

    def test_without_a_router_the_host_tracks_nothing(self, rig: Rig) -> None:
        """Nobody gets past the host's isolation as an answer."""
        add(rig, *_ports(rig), HostIsolation(owner=rig.owner, link="in-a"), *exit_by(rig))
        assert stopped(rig.ping, A1, EXT0.address.ip)
        assert not rig.tracks(A1, OUT)

    def test_no_frame_evades_the_bridge(self, rig: Rig) -> None:
        """What a port receives for bridges themselves does not reach the host, as other frames."""
        for last in "23ef":
            assert passes(rig.forge, A1, HUB, to=f"01:80:c2:00:00:0{last}")
            assert passes(rig.forge, A1, HUB, address=A1.ip6, to=f"01:80:c2:00:00:0{last}")
        add(rig, *_ports(rig), HostIsolation(owner=rig.owner, link="in-a"))
        for last in "123456789abcdef":
            for address in (A1.ip, A2.ip, A1.ip6):
                to = f"01:80:c2:00:00:0{last}"
                assert stopped(rig.forge, A1, HUB, address=address, to=to)
        assert passes(rig.ping, A1, A2.ip)

    def test_other_ports_are_not_concerned(self, rig: Rig) -> None:
        """The rule is about one port, for as long as it is there."""
        one, other = _ports(rig, IN_A.mac)
        add(rig, one, *tenants(rig), *exit_by(rig), Masquerade(owner=rig.owner, device="in-b"))
        assert not rig.tracks(A1, A2)
        assert rig.tracks(A2, A1) == rig.shows_bridged
        add(rig, other)
        assert not rig.tracks(A2, A1)
        remove(rig, one)
        assert rig.tracks(A1, A2) == rig.shows_bridged
