"""Places: never more than there are, given back once, and minutes that add up."""

import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.config import ServerConfig
from server.failures import Refused
from server.places import Ledger, Pass, Places, usage_path

TODAY = date(2026, 3, 1)


def places(most: int = 10, path: Path | None = None) -> Places:
    return Places(most, Ledger(path, lambda: TODAY))


def refused(places: Places, session: str, holder: Pass, now: float = 0.0) -> Refused:
    with pytest.raises(Refused) as error:
        places.enter(session, holder, now)
    return error.value


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from("abc")), max_size=60))
@settings(max_examples=30)
def test_never_more_than_there_are_in_all_and_of_one_client(
    acts: list[tuple[bool, int, str]],
) -> None:
    own = {"a": 1, "b": 3, "c": None}
    room = places(most=4)
    inside: dict[str, str] = {}
    for enters, number, name in acts:
        session = f"{name}{number}"
        if not enters:
            room.leave(session, 0.0)
            room.leave(session, 0.0)
            inside.pop(session, None)
        elif session not in inside:
            mine = sum(held == name for held in inside.values())
            most = own[name]
            may = len(inside) < 4 and (most is None or mine < most)
            holder = Pass(name, max_streams=most)
            if may:
                room.enter(session, holder, 0.0)
                inside[session] = name
            else:
                error = refused(room, session, holder)
                assert (error.code, error.close) == ("overloaded", 1013)
        assert len(room) == len(inside)
        assert room.by_client() == {n: list(inside.values()).count(n) for n in inside.values()}


def test_a_server_that_is_shut_down_takes_no_one() -> None:
    room = places()
    room.enter("s1", Pass("ada"), 0.0)
    room.closed = True
    assert "shut down" in str(refused(room, "s2", Pass("ada")))
    assert len(room) == 1


def test_minutes_are_those_of_all_streams_of_a_client_together() -> None:
    room, ada = places(), Pass("ada", minutes_per_day=1.0)
    room.enter("s1", ada, 0.0)
    room.enter("s2", ada, 10.0)
    room.enter("s3", Pass("ben"), 0.0)
    assert room.overdrawn(34.9) == {}
    assert set(room.overdrawn(35.0)) == {"s1", "s2"}
    assert "minutes a day" in str(room.overdrawn(35.0)["s1"])
    room.leave("s1", 35.0)
    room.leave("s2", 35.0)
    error = refused(room, "s4", ada, 36.0)
    assert (error.code, error.close) == ("unauthorized", 1008)
    room.enter("s5", Pass("ben"), 36.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0.0, 100.0, allow_subnormal=False)), max_size=30
    ),
    st.sets(st.integers(0, 30)),
)
@settings(max_examples=30)
def test_a_day_adds_up_whenever_it_was_written_and_read(
    told: list[tuple[str, float]], restarts: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "usage.json"
        ledger = Ledger(path, lambda: TODAY)
        for k, (name, seconds) in enumerate(told):
            if k in restarts:
                ledger.save()
                ledger = Ledger(path, lambda: TODAY)
            ledger.add(name, seconds)
        for name in "ab":
            whole = sum(seconds for other, seconds in told if other == name)
            assert ledger.seconds(name) == pytest.approx(whole)


def test_settling_counts_running_streams_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.usage.json"
    room, ada = places(path=path), Pass("ada", minutes_per_day=1.0)
    room.enter("s1", ada, 0.0)
    for now in (10.0, 20.0, 30.0):
        room.settle(now)
    assert json.loads(path.read_text())["seconds"] == {"ada": 30.0}
    room.leave("s1", 45.0)
    room.settle(50.0)
    assert json.loads(path.read_text())["seconds"] == {"ada": 45.0}
    again = places(path=path)
    again.enter("s1", ada, 0.0)
    assert set(again.overdrawn(15.0)) == {"s1"}


def test_a_new_day_begins_with_nothing_used(tmp_path: Path) -> None:
    day = [TODAY]
    ledger = Ledger(tmp_path / "u.json", lambda: day[0])
    ledger.add("ada", 100.0)
    ledger.save()
    day[0] = date(2026, 3, 2)
    assert ledger.seconds("ada") == 0.0
    assert Ledger(tmp_path / "u.json", lambda: day[0]).seconds("ada") == 0.0
    assert Ledger(tmp_path / "u.json", lambda: TODAY).seconds("ada") == 100.0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"day": 3, "seconds": {}}', '{"day": "2026-03-01", "seconds": [1]}']
)
def test_a_damaged_file_of_minutes_counts_as_nothing_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "u.json").write_text(text)
    assert Ledger(tmp_path / "u.json", lambda: TODAY).seconds("ada") == 0.0


def test_each_replica_keeps_minutes_of_its_own_beside_the_tokens(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    kept = [usage_path(ServerConfig(tokens=tokens, replica=name)) for name in ("", "a", "b-2")]
    names = ["tokens.usage.json", "tokens.a.usage.json", "tokens.b-2.usage.json"]
    assert kept == [tmp_path / name for name in names]
    assert usage_path(ServerConfig(replica="a")) is None
