"""How full a server is."""

from datetime import date

import pytest

from server.figures import Figures
from server.places import Ledger, Pass, Places
from server.room import GENTLE_LEVEL, ROOM, Room
from server.vacancy import fullness, is_full
from stream.ladder import STEPS


@pytest.mark.parametrize(
    ("streams", "load", "step", "full", "part"),
    [
        (0, 0.0, 0, False, 0.0),
        (1, 0.0, 0, False, 0.25),
        (4, 0.0, 0, True, 1.0),
        (1, ROOM / 2, 0, False, 0.5),
        (1, 1.1 * ROOM, 0, False, 1.1),
        (1, 1.1 * ROOM, GENTLE_LEVEL - 1, False, 1.1),
        (1, 1.1 * ROOM, GENTLE_LEVEL, True, 1.1),
    ],
)
def test_a_server_is_full_when_its_places_are_taken_or_nothing_more_can_be_eased(
    streams: int, load: float, step: int, full: bool, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(4, Ledger(None, lambda: date(2026, 1, 1)))
    for k in range(streams):
        places.enter(str(k), Pass("ada"), 0.0)
    room = Room("cpu", 1, Figures())
    monkeypatch.setattr(Room, "load", load)
    monkeypatch.setattr(Room, "step", STEPS[step])
    try:
        assert is_full(places, room, easing=True) == full
        assert is_full(places, room, easing=False) == (full or load > ROOM)
        assert fullness(places, room) == pytest.approx(part)
    finally:
        room.close()
