"""Epochs of nf_tables, by the numbers that the kernel would give its ruleset."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from snnet.firewall.epochs import Epochs


@pytest.fixture
def epochs() -> Iterator[Epochs]:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    found = Epochs(fd)
    yield found
    found.close()
    os.close(fd)


def own(epochs: Epochs) -> None:
    epochs.within(lambda: True)


def test_transactions_of_the_driver_begin_no_epoch_and_those_of_others_do(
    epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([5, 5, 7, 8, 10, 10, None, 10])
    monkeypatch.setattr(epochs, "_read", lambda: next(numbers))
    first = epochs.observe()
    assert epochs.observe() == first
    own(epochs)
    own(epochs)
    assert epochs.observe() == first  # 7: both are the driver's
    epoch = [first, epochs.observe()]  # 8: it is somebody else's
    own(epochs)
    epoch.append(epochs.observe())  # 10: one of them is
    own(epochs)
    epoch.append(epochs.observe())  # 10: others flushed it meanwhile
    epoch.append(epochs.observe())  # the kernel does not say
    epoch.append(epochs.observe())
    assert len(set(epoch)) == len(epoch)


def test_a_transaction_that_fails_does_not_count(
    epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "_read", lambda: 5)
    first = epochs.observe()

    def fail() -> bool:
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        epochs.within(fail)
    assert epochs.observe() == first


def test_a_transaction_without_effect_may_be_that_of_another(
    epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "_read", lambda: 5)
    first = epochs.observe()
    epochs.within(lambda: False)
    assert epochs.observe() != first
