"""A laboratory: a small data centre to look at, on fakes or on the real kernel.

``choose()`` says what this machine can do, ``open_lab()`` opens the place, and
``run()`` builds the data centre in it, lets every guest ping every other and
removes all of it again.  How that is shown is the command line's business.
"""

from __future__ import annotations

from .choice import AUTO, BACKENDS, FIREWALLS, TUNNELS, Choice, choose, open_lab
from .demo import Watcher, run
from .lab import Welcome
from .report import Place, Report, is_as_expected
from .scenario import Guest, Matrix, Scenario, Visit, demo_scenario

__all__ = [
    "AUTO",
    "BACKENDS",
    "FIREWALLS",
    "TUNNELS",
    "Choice",
    "Guest",
    "Matrix",
    "Place",
    "Report",
    "Scenario",
    "Visit",
    "Watcher",
    "Welcome",
    "choose",
    "demo_scenario",
    "is_as_expected",
    "open_lab",
    "run",
]
