"""Bridges."""

from __future__ import annotations

from snnet.contract import Bridge

from ..codec import Codec, Row, link_local


def _words(link: Bridge) -> list[str]:
    return ["forward_delay", "0", "stp_state", "0"]


def _read(row: Row, common: Row, data: Row) -> Bridge:
    return Bridge(link_local=link_local(row), **common)


KINDS = (Codec(Bridge, _words, _read),)
