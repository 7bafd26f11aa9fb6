"""Who comes, who gets a stream, and who must go: one `Visit` for each conversation."""

import secrets
from collections.abc import Callable, Iterator

from server.auth import WRONG, Gate
from server.call import Call
from server.failures import POLICY, TRY_LATER, Refused
from server.figures import Figures, Live
from server.logs import Audit
from server.places import Pass, Places
from server.protocol import Start
from stream.errors import ConfigError


class Visit:
    """What is known of one conversation's client. Made by `Reception.arrive`.

    session  names it in the log
    """

    def __init__(self, reception: "Reception", session: str, address: str) -> None:
        self._reception = reception
        self._asked: Start | None = None
        self.session = session
        self.address = address
        self.holder: Pass | None = None
        self.call: Call | None = None
        self.since = 0.0
        self.counted = False  # among the streams that were taken

    def admit(self, start: Start) -> None:
        """Give it a place. Raises `Refused` for a wrong token or voice, or when there is none."""
        self._reception.admit(self, start)
        self._asked = start

    def permit(self, voice: str) -> None:
        """Raise `Refused` for a voice that is not for it."""
        if self.holder is not None:
            self.holder.check_voice(voice)

    @property
    def live(self) -> Live | None:
        """Its stream, once that is open."""
        if self.call is None or self.call.line is None or self._asked is None:
            return None
        return Live(self._asked.voice, self._asked.sample_rate, self.call.line, self.call.outbox)


class Reception:
    """Keeps the visits, and tells the figures and the audit log of them.

    clock  seconds that only grow

    Law: every visit that took a place gives it back when it is over, and every stream that was
    told to the audit log as begun is told as over, once. A stream whose client was lost keeps its
    place for nobody that comes.
    """

    def __init__(
        self,
        gate: Gate,
        places: Places,
        figures: Figures,
        audit: Audit,
        clock: Callable[[], float],
    ) -> None:
        self._gate = gate
        self._places = places
        self._figures = figures
        self._audit = audit
        self._clock = clock
        self._visits: dict[str, Visit] = {}
        figures.registry.before(self._show)

    def arrive(self, address: str) -> Visit:
        """Somebody connected."""
        visit = Visit(self, secrets.token_hex(8), address)
        self._visits[visit.session] = visit
        return visit

    def admit(self, visit: Visit, start: Start) -> None:
        """What `Visit.admit` does."""
        now = self._clock()
        try:
            holder = self._gate.check(start.token, visit.address, now)
            holder.check_voice(start.voice)
            self._make_way(holder, now)
            self._places.enter(visit.session, holder, now)
        except Refused as error:
            self._figures.refused.add(reason=error.code)
            self._audit.say("stream refused", address=visit.address, why=str(error))
            raise
        visit.holder, visit.since = holder, now
        self._audit.say(
            "stream began",
            session=visit.session,
            client=holder.name,
            address=visit.address,
            voice=start.voice,
        )

    def leave(self, visit: Visit, code: int) -> None:
        """A conversation is over, with this closing code."""
        now = self._clock()
        self._visits.pop(visit.session, None)
        self._places.leave(visit.session, now)
        live, holder, visit.holder = visit.live, visit.holder, None
        if live is not None:
            self._count(visit)
            self._figures.keep(live)
        elif holder is not None and code == TRY_LATER:  # the device had no room
            self._figures.refused.add(reason="overloaded")
        if holder is not None:
            self._figures.ended.add(code=str(code))
            self._audit.say(
                "stream over",
                session=visit.session,
                client=holder.name,
                address=visit.address,
                code=code,
                seconds=round(now - visit.since, 1),
                samples_in=live.line.intake.accepted if live else None,
                samples_out=live.line.outlet.samples if live else None,
            )

    def look(self) -> None:
        """Once a second: end what may not go on. Raises `ConfigError` for unreadable tokens."""
        now = self._clock()
        over = dict(self._places.overdrawn(now))
        failed: ConfigError | None = None
        try:
            gone = self._gate.refresh()
        except ConfigError as error:
            gone, failed = frozenset[str](), error
        for session in self._places.held_by(gone):
            over[session] = Refused("unauthorized", WRONG, close=POLICY)
        for session, why in over.items():
            visit = self._visits.get(session)
            if visit is not None and visit.call is not None:
                visit.call.fail(why, now)
        if failed is not None:
            raise failed

    def _make_way(self, holder: Pass, now: float) -> None:
        """A client that is away gives its place to one that is here: the longest away first."""
        parked: dict[str, tuple[float, Call]] = {}
        for session in self._places.in_the_way(holder):
            visit = self._visits.get(session)
            if visit is not None and visit.call is not None and visit.call.parked is not None:
                parked[session] = visit.call.parked, visit.call
        if parked:
            session, (_since, call) = min(parked.items(), key=lambda item: item[1][0])
            call.give_up()
            self._places.leave(session, now)

    def settle(self) -> None:
        """Once a minute and at the end: write down how long everybody talked."""
        self._places.settle(self._clock())

    def _show(self) -> None:
        self._figures.show(self._live())
        self._figures.clients.clear()
        for client, count in self._places.by_client().items():
            self._figures.clients.set(count, client=client)

    def _live(self) -> Iterator[Live]:
        for visit in self._visits.values():
            live = visit.live
            if live is not None:
                self._count(visit)
                yield live

    def _count(self, visit: Visit) -> None:
        if not visit.counted:
            visit.counted = True
            self._figures.admitted.add()
