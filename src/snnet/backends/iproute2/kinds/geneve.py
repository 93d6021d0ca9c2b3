"""Geneve, point to point."""

from __future__ import annotations

from snnet.contract import Geneve

from ..codec import Codec, Row, address, ttl


def _words(link: Geneve) -> list[str]:
    return [
        "id", str(link.vni), "remote", str(link.remote),
        "dstport", str(link.port), "ttl", str(link.ttl),
    ]  # fmt: skip


def _read(row: Row, common: Row, data: Row) -> Geneve | None:
    remote = address(data, "remote", "remote6")
    if remote is None:
        return None
    return Geneve(
        remote=remote, vni=data.get("id", 0), port=data.get("port", 0), ttl=ttl(data), **common
    )


KINDS = (Codec(Geneve, _words, _read),)
