"""`/v1/jobs`: long work on songs, which goes on after the request that asked for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from server.answers import JobsTold, JobTold, answer
from server.auth import client_address, holder
from server.config import ServerConfig
from server.failures import Refused
from server.inbox import Inbox
from server.logs import Audit
from server.openapi import BYTES, Answer, Operation, file, said, text, told
from server.places import Pass, Places
from server.session import attempt
from server.song import take_song
from stream.errors import JobNotFound, TimbralError, VoiceNotFound

LOOK_S, ALIVE_S = 0.5, 15.0  # between two looks at a job, and two signs of life to who listens
EVENTS = "text/event-stream"
MOST_LISTENERS = 4  # to events, of one client
NONE = "This server takes no jobs: it needs timbral[offline], and max_jobs above 0.\n"
ENDINGS = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
}


class Job(Protocol):
    """One job, as it is at one moment."""

    @property
    def id(self) -> str:
        """Names it, and cannot be guessed."""
        ...

    @property
    def owner(self) -> str:
        """The client's name."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        ...

    @property
    def seconds(self) -> float:
        """Of sound that were made."""
        ...

    def told(self) -> dict[str, Any]:
        """All that a client may know, as JSON."""
        ...


class Jobs(Protocol):
    """Who does the jobs, and keeps them over restarts. Methods may block, but for disk work only.

    Methods with an id raise `JobNotFound`.
    """

    def voices(self, settings: Mapping[str, Any], /) -> tuple[str, ...]:
        """The voices that they name; raises `ConfigError`."""
        ...

    def submit(self, owner: str, song: Path, name: str, settings: Mapping[str, Any], /) -> Job:
        """A new job; the file is moved away. Raises `ConfigError` and `VoiceNotFound`."""
        ...

    def jobs(self, owner: str | None, /) -> Sequence[Job]:
        """All of a client, or of all."""
        ...

    def job(self, identity: str, /) -> Job:
        """By its id."""
        ...

    def cancel(self, identity: str, /) -> Job:
        """End it, if it has not ended yet."""
        ...

    def forget(self, identity: str, /) -> None:
        """Drop one that has ended, and its files."""
        ...

    def result(self, identity: str, /) -> Path | None:
        """The file that came out."""
        ...

    def uncharged(self) -> Sequence[Job]:
        """Those that were done since this was last asked; each is given once."""
        ...

    def tidy(self) -> None:
        """Drop what ended long ago."""
        ...

    def close(self) -> None:
        """Stop; what is not done goes on after the next start."""
        ...


OpenJobs = Callable[[ServerConfig], Jobs | None]


class Desk:
    """Answers everything under `/v1/jobs`.

    open_jobs  makes who does them; None, or giving None, when there is nobody

    Laws: a job is there for its owner and for operators only; of no client more than its `max_jobs`
    wait or run; what it may convert in a day counts here, too; a song that was refused stays
    nowhere.
    """

    def __init__(
        self, config: ServerConfig, places: Places, audit: Audit, open_jobs: OpenJobs | None
    ) -> None:
        self._config = config
        self._places = places
        self._audit = audit
        self._open = open_jobs if config.max_jobs else None
        self._jobs: Jobs | None = None
        self._expected = self._open is not None  # that there are any, now or soon
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._inbox = Inbox(config, self._thread)
        self._stopping = asyncio.Event()
        self._busy = False
        self._listeners: dict[str, int] = {}

    def route(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/v1/jobs", self._list)
        app.router.add_post("/v1/jobs", self._add)
        app.router.add_get("/v1/jobs/{id}", self._show)
        app.router.add_delete("/v1/jobs/{id}", self._cancel)
        app.router.add_get("/v1/jobs/{id}/events", self._events)
        app.router.add_get("/v1/jobs/{id}/result", self._result)

    async def start(self) -> None:
        """Go on with the jobs that are left from before. Raises `ConfigError`."""
        if self._open is not None:
            opened = self._open
            self._jobs = await self._run(lambda: opened(self._config))
            self._expected = self._jobs is not None

    async def stop(self) -> None:
        """End what is running; it goes on after the next start."""
        self._stopping.set()
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            await self._run(jobs.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self, *, tidy: bool = False) -> None:
        """Charge what was done since the last look. Raises `ConfigError`."""
        jobs = self._jobs
        if jobs is not None:
            for job in await self._run(jobs.uncharged):
                self._places.charge(Pass(job.owner), job.seconds)
                self._audit.say("job done", client=job.owner, job=job.id, seconds=job.seconds)
            if tidy:
                await self._run(jobs.tidy)

    @told(Operation("A client's jobs", {200: said(JobsTold, "them"), **text(404, 422, 501, 503)}))
    async def _list(self, request: web.Request) -> web.Response:
        jobs, by = self._working(), holder(request)
        found = await self._do(lambda: jobs.jobs(None if by.operator else by.name))
        return answer(JobsTold(jobs=tuple(_told(job) for job in found)))

    @told(Operation("A job", {200: said(JobTold, "it"), **text(404, 422, 501, 503)}))
    async def _show(self, request: web.Request) -> web.Response:
        return answer(_told(await self._own(request)))

    @told(
        Operation(
            "Have a cover made of a song",
            {
                201: said(JobTold, "the new job"),
                **text(400, 403, 404, 408, 413, 415, 422, 429, 501, 503, 507),
            },
            takes={
                "multipart/form-data": {
                    "type": "object",
                    "required": ["song"],
                    "properties": {
                        "song": {"type": "string", "contentMediaType": BYTES},
                        "settings": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            },
            most="song_bytes",
        )
    )
    async def _add(self, request: web.Request) -> web.Response:
        jobs, by = self._working(), holder(request)
        if self._busy:
            raise web.HTTPServiceUnavailable(
                text="Another song is being sent; try again when it is here.\n",
                headers={"Retry-After": "10"},
            )
        self._busy = True
        try:
            await self._check_share(jobs, by)
            async with self._inbox.open(request, self._config.limits.song_bytes) as sent:
                settings = await take_song(request, sent, self._inbox)
                voices = await self._do(lambda: jobs.voices(settings))
                try:
                    for voice in voices:
                        by.check_voice(voice)
                except Refused as error:
                    raise web.HTTPNotFound(text=f"{error}\n") from error
                (song,) = sent.files
                job = await self._do(lambda: jobs.submit(by.name, song, song.name, settings))
        finally:
            self._busy = False
        self._tell("job taken", request, job)
        where = {"Location": f"/v1/jobs/{job.id}"}
        return answer(_told(job), 201, where)

    @told(
        Operation(
            "Cancel a job, or remove one that is over",
            {
                202: said(JobTold, "it will end"),
                204: Answer("it is gone", ()),
                **text(404, 422, 501, 503),
            },
        )
    )
    async def _cancel(self, request: web.Request) -> web.Response:
        jobs, job = self._working(), await self._own(request)
        if job.over:
            await self._do(lambda: jobs.forget(job.id))
            self._tell("job removed", request, job)
            return web.Response(status=204)
        ended = await self._do(lambda: jobs.cancel(job.id))
        self._tell("job cancelled", request, job)
        return answer(_told(ended), 202)

    @told(
        Operation("The cover", {**file("it", *ENDINGS.values()), **text(404, 409, 422, 501, 503)})
    )
    async def _result(self, request: web.Request) -> web.StreamResponse:
        jobs, job = self._working(), await self._own(request)
        path = await self._do(lambda: jobs.result(job.id))
        if path is None:
            raise web.HTTPConflict(text="There is no result: see the job's state.\n")
        headers = {"Content-Type": ENDINGS.get(path.suffix, "application/octet-stream")}
        return web.FileResponse(path, headers=headers)

    @told(
        Operation(
            "A job whenever it changes, until it is over",
            {200: Answer("server-sent events", (EVENTS,)), **text(404, 422, 501, 503)},
        )
    )
    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The job whenever it changed, as server-sent events, until it is over."""
        job, by = await self._own(request), holder(request).name
        if self._listeners.get(by, 0) >= MOST_LISTENERS:
            raise web.HTTPServiceUnavailable(
                text=f"{MOST_LISTENERS} listen to this client's jobs already.\n",
                headers={"Retry-After": "10"},
            )
        headers = {"Content-Type": EVENTS, "Cache-Control": "no-store"}
        answer = web.StreamResponse(headers=headers)
        self._listeners[by] = self._listeners.get(by, 0) + 1
        try:
            await answer.prepare(request)
            await self._follow(job, answer.write)
            await answer.write_eof()
        except (ConnectionResetError, asyncio.TimeoutError):  # nobody listens any more
            return answer
        finally:
            self._listeners[by] -= 1
            if not self._listeners[by]:
                del self._listeners[by]
        return answer

    async def _follow(self, job: Job, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the job down whenever it changes, and a sign of life when it does not."""
        pause, loop = self._config.limits.upload_pause_s, asyncio.get_running_loop()
        last, wrote = "", loop.time()
        while True:
            news = _told(job).model_dump_json()
            line = f"event: job\ndata: {news}\n\n" if news != last else ":\n\n"
            if news != last or loop.time() - wrote > ALIVE_S:
                await asyncio.wait_for(write(line.encode()), pause)
                last, wrote = news, loop.time()
            jobs = self._jobs
            if job.over or jobs is None or await self._stopped_within(LOOK_S):
                return
            identity = job.id
            try:
                job = await self._do(lambda jobs=jobs, identity=identity: jobs.job(identity))
            except web.HTTPNotFound:
                return

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def _working(self) -> Jobs:
        if self._jobs is not None:
            return self._jobs
        if self._expected:
            raise web.HTTPServiceUnavailable(text="Not now; try again later.\n")
        raise web.HTTPNotImplemented(text=NONE)

    async def _own(self, request: web.Request) -> Job:
        """The job that is asked for; 404 when it is somebody else's."""
        jobs, by, identity = self._working(), holder(request), request.match_info["id"]
        job: Job = await self._do(lambda: jobs.job(identity))
        if not by.operator and job.owner != by.name:
            raise web.HTTPNotFound(text=f"{JobNotFound(identity)}\n")
        return job

    async def _check_share(self, jobs: Jobs, by: Pass) -> None:
        """Raise 403 or 429 when the client has had, or has, as much as it may."""
        most = self._config.max_jobs if by.max_jobs is None else by.max_jobs
        if not most:
            raise web.HTTPForbidden(text="This token may have no jobs.\n")
        try:
            self._places.check_minutes(by, asyncio.get_running_loop().time())
        except Refused as error:
            raise web.HTTPForbidden(text=f"{error}\n") from error
        own = await self._do(lambda: jobs.jobs(by.name))
        if sum(not job.over for job in own) >= most:
            raise web.HTTPTooManyRequests(
                text=f"{most} jobs of yours wait or run already; cancel one, or try again later.\n",
                headers={"Retry-After": "60"},
            )

    def _tell(self, event: str, request: web.Request, job: Job) -> None:
        address = client_address(request, frozenset(self._config.proxies))
        self._audit.say(event, client=holder(request).name, address=address, job=job.id)

    async def _do(self, work: Callable[[], Any]) -> Any:
        """Do it in the thread of the jobs; an error of ours becomes its answer."""
        try:
            return await self._run(work)
        except (JobNotFound, VoiceNotFound) as error:
            raise web.HTTPNotFound(text=f"{error}\n") from error
        except TimbralError as error:
            raise web.HTTPUnprocessableEntity(text=f"{error}\n") from error

    async def _run(self, work: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._thread, attempt, work)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value


def _told(job: Job) -> JobTold:
    return JobTold.model_validate(job.told())
