"""Each verb of one client between the reading and a commit of each verb of another one."""

from __future__ import annotations

import pytest

from tests.cluster.between import VERBS, check_pair


@pytest.mark.parametrize("first", list(VERBS))
def test_nothing_dangles(first: str) -> None:
    for second in VERBS:
        check_pair(first, second)
