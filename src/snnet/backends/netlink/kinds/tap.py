"""Reading taps; ``taps.py`` creates them through /dev/net/tun."""

from __future__ import annotations

from snnet.contract import Tap, Unsupported

from ..codec import Codec, Common, Data, IndexOf, LinkMessage, NameOf, Values, small

_OWNER, _TYPE, _MULTI_QUEUE, _NUM_QUEUES = 1, 3, 7, 8  # IFLA_TUN_
_IFF_TAP = 2  # linux/if_tun.h


def is_tap(data: Data) -> bool:
    """Whether a tun device carries frames."""
    return data.get(_TYPE) == bytes([_IFF_TAP])


def _encode(link: Tap, index_of: IndexOf) -> Values:
    raise Unsupported(
        f"{link.name}: rtnetlink cannot create taps (tun_validate, drivers/net/tun.c)"
    )


def _decode(link: LinkMessage, common: Common, data: Data, name_of: NameOf) -> Tap | None:
    if not is_tap(data):
        return None
    queues = max(small(data, _NUM_QUEUES), 1)  # the queues that are open now
    return Tap(
        multi_queue=bool(small(data, _MULTI_QUEUE)),
        user=small(data, _OWNER) if _OWNER in data else None,
        queues=queues,
        **common,
    )


KINDS = (Codec(Tap, _encode, _decode),)
