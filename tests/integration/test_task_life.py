"""Parents, tags, uniqueness and expiry, with real workers on the embedded store."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buquet import ConflictError, TaskExpiredError
from tests.support.processes import ROOT, clean_environment

if TYPE_CHECKING:
    from types import ModuleType


def test_a_handler_knows_what_its_task_was_submitted_with_and_is_the_parent_of_what_it_submits(
    life: ModuleType,
) -> None:
    with life.app.worker():
        mother = life.mother.submit()
        child = life.app.handle(mother.result(timeout=60))
        assert child.result(timeout=60) == [["night"], {"customer": "42"}, mother.id]
    assert child.refresh().parent == mother.id
    assert life.child.submit(8).refresh().parent is None


def test_a_unique_task_is_stored_once_by_any_process(life: ModuleType) -> None:
    first = life.once.submit(1)
    again = life.once.submit(1)
    assert (first.created, again.created, again) == (True, False, first)
    script = "from tests.support.life_tasks import once; print(once.submit(1).id)"
    environment = clean_environment(BUQUET_URL=os.environ["BUQUET_URL"])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == first.id
    assert life.once.submit(2) != first


def test_a_key_with_another_input_names_both(life: ModuleType) -> None:
    keyed = life.child.options(idempotency_key="order-7")
    keyed.submit(1)
    with pytest.raises(ConflictError, match=r'order-7.*"number":1.*"number":2'):
        keyed.submit(2)


def test_a_task_that_nobody_starts_in_its_time_expires(life: ModuleType) -> None:
    handle = life.child.options(ttl=0.05).submit(1)
    with pytest.raises(TaskExpiredError):
        handle.result(timeout=60)
