"""A laboratory: a small data centre to look at, on fakes or on the real kernel.

``choose()`` says what this machine can do and ``open_lab()`` opens the place.  ``run()``
builds the data centre there, lets every guest ping every other, and removes it again
unless it is to be kept (:mod:`.kept`).  The command line shows the results.
"""

from __future__ import annotations

from .choice import AUTO, Choice, choose, open_lab
from .demo import Watcher, run
from .lab import Answer
from .report import Placement, Report, is_as_expected
from .scenario import VERSIONS, WEB, Connection, Guest, Matrix, Scenario
from .site import demo_scenario

__all__ = [
    "AUTO",
    "VERSIONS",
    "WEB",
    "Answer",
    "Choice",
    "Connection",
    "Guest",
    "Matrix",
    "Placement",
    "Report",
    "Scenario",
    "Watcher",
    "choose",
    "demo_scenario",
    "is_as_expected",
    "open_lab",
    "run",
]
