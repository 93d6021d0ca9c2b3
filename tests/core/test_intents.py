"""The lines of the record of intents."""

from __future__ import annotations

import pytest

from snnet import Rule
from snnet.contract import GroupRules
from snnet.core.intents import read_entry, write_entry

ENTRY = (
    ("group", "acme", "web"),
    (GroupRules(owner="cn:a", tenant="acme", group="web", rules=(Rule("in", "tcp", 80),)),),
)


@pytest.mark.parametrize(
    ("word", "other"),
    [('"tcp"', '"tcpp"'), ('"in"', '"up"'), ('"80"', '"80-"'), ('"ports"', '"port"')],
)
def test_a_line_with_a_bad_rule_is_a_value_error(word: str, other: str) -> None:
    """So that it is damage that is reported, and the other lines are read."""
    line = write_entry(*ENTRY)
    assert read_entry(line) == ENTRY
    assert word in line
    with pytest.raises(ValueError, match=r"\S"):
        read_entry(line.replace(word, other))
