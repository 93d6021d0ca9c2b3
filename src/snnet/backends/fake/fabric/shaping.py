"""Rate limits on the way of a frame: they say how fast, and there is no clock.

A frame that is redirected does not pass the ingress hook of its link (skb_skip_tc_classify,
net/core/dev.c).
"""

from __future__ import annotations

from typing import Protocol

from snnet.contract import Link, Redirect, Shaper
from snnet.contract.shaping import show_rate

from .frames import Frame
from .netfilter import Netfilter
from .walk import LINK_DOWN, Station, Step


class Receiver(Protocol):
    """What is needed of the links of a station."""

    station: Station
    netfilter: Netfilter


def sent(station: Station, link: str, step: Step) -> Step:
    """Return the step of a frame that a link sends, by way of its shaper if it has one."""
    shaper = station.state.nouns.get(("shaper", link))
    if not isinstance(shaper, Shaper):
        return step
    return step.then(station.name, link, "sends at most {}", show_rate(shaper.rate))


def received(links: Receiver, link: Link, frame: Frame, step: Step) -> Step | None:
    """Return the step of a frame that a link received; None where it is dropped."""
    found = links.station.state.nouns.get(("redirect", link.name))
    if isinstance(found, Redirect):
        return _redirected(links.station, found, step)
    passes = links.netfilter.chains.device("ingress", link.name, frame, step)
    return step if passes else None


def _redirected(station: Station, redirect: Redirect, step: Step) -> Step | None:
    """Return the step of a frame that comes back from a redirect."""
    block = station.state.link(redirect.to)
    if block is None:
        station.drop(step, redirect.link, "redirected to a link that is gone")
        return None
    if not block.up:
        station.drop(step, block.name, LINK_DOWN)
        return None
    return sent(station, block.name, step.then(station.name, redirect.link, "to {}", block.name))
