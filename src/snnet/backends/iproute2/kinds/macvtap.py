"""Macvtaps."""

from __future__ import annotations

from snnet.contract import Macvtap

from ..codec import Codec, Row, link_local


def _words(link: Macvtap) -> list[str]:
    return ["mode", link.mode]


def _read(row: Row, common: Row, data: Row) -> Macvtap:
    # A link in another namespace is written as ip-link(8) does it.
    elsewhere = f"if{row.get('link_index', 0)}"
    return Macvtap(
        lower=row.get("link") or elsewhere,
        mode=data.get("mode", "0"),
        all_multicast="ALLMULTI" in row["flags"],
        link_local=link_local(row),
        **common,
    )


KINDS = (Codec(Macvtap, _words, _read),)
