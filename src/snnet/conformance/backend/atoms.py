"""One operation takes effect completely or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnet.contract import (
    Add,
    Bridge,
    Exists,
    InvalidRequest,
    Link,
    Missing,
    Noun,
    Rejected,
    Unsupported,
)

from .base import BackendTests
from .mistakes import GROUND, MISTAKES
from .nouns import BRIDGE, LINKS, MACVTAP, MESH, NON_LINKS, TAP, VETH, VXLAN, described
from .place import UPLINK, Place
from .steps import add, need, refused

_BAD_VALUE = (Rejected, InvalidRequest)
_MULTICAST = "01:00:00:00:00:01"

_VALID = {noun.kind: noun for noun in LINKS} | {type(noun): noun for noun in NON_LINKS}
"""For each kind of noun, one that every driver which carries the kind accepts."""


def _kind(noun: Noun) -> str | type[Noun]:
    return noun.kind if isinstance(noun, Link) else type(noun)


class AtomTests(BackendTests):
    @pytest.mark.parametrize("kind", _VALID, ids=lambda kind: getattr(kind, "__name__", kind))
    def test_what_is_refused_changes_nothing(self, place: Place, kind: str | type[Noun]) -> None:
        """A mistake has the same class of error with every driver, and changes nothing.

        A driver that looks at values itself may say ``InvalidRequest`` for ``Rejected``.
        """
        need(place, _VALID[kind])
        add(place, *GROUND)
        before = place.names(), place.driver.snapshot()
        wrong = {}
        for operation, wanted in MISTAKES:
            if _kind(operation.noun) != kind:
                continue
            cls = refused(place, operation)
            declared = cls is Unsupported and place.driver.missing(operation.noun)
            invalid = cls is InvalidRequest and wanted is Rejected
            if cls is not wanted and not declared and not invalid:
                wrong[str(operation)] = cls
            assert (place.names(), place.driver.snapshot()) == before, operation
        assert wrong == {}

    @pytest.mark.parametrize("noun", [BRIDGE, TAP, VETH, MESH], ids=described)
    def test_a_multicast_mac(self, place: Place, noun: Link) -> None:
        """A multicast MAC is refused, and no link is left (EADDRNOTAVAIL: ``Missing``)."""
        need(place, noun)
        before = place.names()
        cls = refused(place, Add(replace(noun, mac=_MULTICAST)))
        assert issubclass(cls, (Missing, *_BAD_VALUE))
        assert place.names() == before

    def test_a_name_that_is_taken(self, place: Place) -> None:
        """A name is taken whatever kind of link has it; that link stays as it is."""
        add(place, BRIDGE)
        queues = replace(TAP, queues=2, multi_queue=True)
        for noun in (Bridge(name="b"), TAP, queues, VETH, MACVTAP, VXLAN):
            for name in ("br", UPLINK, "lo"):
                if place.driver.missing(noun) is None:
                    assert refused(place, Add(replace(noun, name=name))) is Exists
