"""Reading taps; ``ip tuntap`` creates them (``commands.py``)."""

from __future__ import annotations

from snnet.contract import Tap
from snnet.system.users import uid_of

from ..codec import Codec, Row


def _words(link: Tap) -> list[str]:
    return []


def _read(row: Row, common: Row, data: Row) -> Tap | None:
    if data.get("type") != "tap":
        return None
    queues = data.get("numqueues", 0)  # the queues that are open now
    user = data.get("user")  # a name if the host has one for the uid
    return Tap(
        multi_queue=bool(data.get("multi_queue")),
        user=uid_of(user) if isinstance(user, str) else user,
        queues=max(queues, 1),
        **common,
    )


KINDS = (Codec(Tap, _words, _read),)
