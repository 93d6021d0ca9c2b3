"""Rate limits: how many bits a second a link sends.

The host's end of a guest's link sends the traffic to the guest: a ``Shaper`` on it limits that.
The same end receives the traffic from the guest, and Linux has no queue for received traffic.  A
``Redirect`` passes it to an ``Ifb``, whose ``Shaper`` limits it.  The ``Ifb`` then returns it to
the link, as if it had just arrived.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import ClassVar

from .errors import InvalidRequest, shown
from .frozen import frozen
from .links import link_key
from .noun import Key, Noun

RATE_MIN = 8_000
"""The lowest rate, in bits a second: a frame of 1500 bytes takes 1.5 seconds."""
RATE_MAX = 100_000_000_000
"""The highest rate, in bits a second."""

QDISC_HANDLE = 0x736E
"""The major number of the queueing disciplines of snnet ("sn" in ASCII; tc(8), HANDLES)."""
FILTER_PRIORITY = 0x736E
"""The priority of the filters of snnet.  Those of others usually have lower numbers; the kernel
tries them first."""

_BURST_TIME = Fraction(1, 100)
_BURST_MIN = 72 * 1024
_WAIT = Fraction(1, 20)

_UNITS = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_RATE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([a-z]*)", re.IGNORECASE | re.ASCII)


def check_rate(value: object, field: str) -> int | None:
    """Check a rate: bits a second, or text with a unit of tc(8) like "100mbit"; return bits.

    None stays None.  Units are bit, kbit, mbit and gbit, powers of 1000, in any case.  The
    kernel counts whole bytes, so the result is rounded down to a multiple of 8.  InvalidRequest
    names ``field``.
    """
    if value is None:
        return None
    bits = _bits(value)
    if bits is None:
        raise InvalidRequest(
            f"{shown(value)} is not a rate: give bits a second, or text like '100mbit' (bit, "
            "kbit, mbit, gbit)",
            field=field,
        )
    if not RATE_MIN <= bits <= RATE_MAX:
        raise InvalidRequest(
            f"{shown(value)} is not from {show_rate(RATE_MIN)} to {show_rate(RATE_MAX)}",
            field=field,
        )
    return bits - bits % 8


def _bits(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    parts = _RATE.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(parts[2].lower()) if parts else None
    return int(Fraction(parts[1]) * unit) if parts and unit else None


def show_rate(bits: int) -> str:
    """Return a rate with the largest unit that leaves a whole number: "1500kbit"."""
    for unit in ("gbit", "mbit", "kbit"):
        if bits and bits % _UNITS[unit] == 0:
            return f"{bits // _UNITS[unit]}{unit}"
    return f"{bits}bit"


@frozen()
class Shaper(Noun):
    """A token bucket filter at the root of a link: it sends at most ``rate`` bits a second.

    ``rate`` is a multiple of 8.  The handle is ``QDISC_HANDLE``.  ``Add`` replaces a discipline
    that somebody else put at the root of the link.  ``Change`` keeps the queued packets.
    """

    rank: ClassVar[int] = 32
    changeable: ClassVar[frozenset[str]] = frozenset({"rate"})

    link: str
    rate: int

    def make_key(self) -> Key:
        return ("shaper", self.link)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    @property
    def burst(self) -> int:
        """Bytes that the link may send at once after a pause.

        This is what the rate sends in 10 ms, the longest tick of a kernel (HZ 100), so that a
        late timer costs no throughput.  It is at least one GSO segment of 64 KiB with the headers
        of its packets: the kernel splits larger segments in software (``max_size``, sch_tbf.c).
        """
        return max(int(self.rate // 8 * _BURST_TIME), _BURST_MIN)

    @property
    def limit(self) -> int:
        """Bytes that may wait in the queue: 50 ms at the rate, and one burst.

        The kernel drops what does not fit.
        """
        return int(self.rate // 8 * _WAIT) + self.burst

    def __str__(self) -> str:
        return f"shaper {self.link} rate {show_rate(self.rate)}"


@frozen()
class Redirect(Noun):
    """A filter that passes everything that ``link`` receives to ``to``, an ``Ifb`` that is up.

    ``to`` is empty only in a redirect that was found, if its target no longer exists: the kernel
    then drops what the link receives.  To ``Add`` such a redirect, as a rollback may, has no
    effect.
    """

    rank: ClassVar[int] = 34

    link: str
    to: str

    def make_key(self) -> Key:
        return ("redirect", self.link)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"redirect {self.link} to {self.to or 'a link that is gone'}"
