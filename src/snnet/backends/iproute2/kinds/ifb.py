"""Intermediate functional blocks."""

from __future__ import annotations

from snnet.contract import Ifb

from ..codec import Codec, Row


def _words(link: Ifb) -> list[str]:
    return []


def _read(row: Row, common: Row, data: Row) -> Ifb:
    return Ifb(**common)


KINDS = (Codec(Ifb, _words, _read),)
