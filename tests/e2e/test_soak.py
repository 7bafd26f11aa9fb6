"""`make soak` in small: two of its hours, and that it would notice."""

import asyncio
import sys
import threading
import time
from typing import Any

import pytest
import soak
from simulated import Wrong
from virtual_time import Condition, Loop, Time

from server.resume import Ticket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of a quarter."""
    times = {"HOUR_S": 900.0, "TALK_S": 400.0, "PRESSED_S": (100.0, 200.0), "RUSH_S": 220.0}
    for name, seconds in times.items():
        monkeypatch.setattr(soak, name, seconds)


def test_hours_of_joins_stalls_losses_and_pressure_break_no_law() -> None:
    lines: list[str] = []
    met = soak.accelerated(1, 3, lines.append)
    assert len(lines) == 2
    for what in ("began", "resumed", "refused", "lost", "samples concealed"):
        assert met[what] > 0, what
    assert met["ladder"] >= 3, "there was no pressure"
    assert met["samples concealed"] < 0.02 * met["samples heard"]


def test_what_is_left_behind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault planted: the secrets of streams that are over are kept."""

    def keeps(_ticket: Ticket[Any]) -> None:
        pass

    monkeypatch.setattr(Ticket, "tear", keeps)
    with pytest.raises(Wrong, match=r"tickets|something is left"):
        soak.accelerated(1, 3, lambda _line: None)


def test_no_time_passes_while_anybody_works() -> None:
    """A thread that waits, sleeps and works, and a task that sleeps, by one clock."""
    moment, told = Time(), list[float]()
    condition = Condition(moment)

    def work() -> None:
        with condition:
            condition.wait(5.0)
        told.append(moment.now)
        time.sleep(0.05)
        moment.sleep(2.0)
        told.append(moment.now)
        with condition:
            condition.wait()
        told.append(moment.now)
        moment.sleep(1000.0)

    async def main() -> None:
        await asyncio.sleep(86_400.0)
        with condition:
            condition.notify()
        await asyncio.sleep(1.0)

    moment.begin(1)
    begun = moment.now
    threading.Thread(target=work, daemon=True).start()
    loop = Loop(moment)
    loop.run_until_complete(main())
    loop.close()
    assert [now - begun for now in told] == [5.0, 7.0, 86_400.0]
