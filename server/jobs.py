"""`/v1/jobs`: long work on songs, which goes on after the request that asked for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from aiohttp import BodyPartReader, web

from server.auth import client_address, holder
from server.config import ServerConfig
from server.failures import Refused
from server.inbox import CHUNK, Inbox, Sent
from server.logs import Audit
from server.places import Pass, Places
from server.session import attempt
from stream.errors import JobNotFound, TimbralError, VoiceNotFound

MOST_SETTINGS = 16 * 1024  # bytes
LOOK_S, ALIVE_S = 0.5, 15.0  # between two looks at a job, and two signs of life to who listens
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

    async def _list(self, request: web.Request) -> web.Response:
        jobs, by = self._working(), holder(request)
        found = await self._do(lambda: jobs.jobs(None if by.operator else by.name))
        return web.json_response({"jobs": [job.told() for job in found]})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response((await self._own(request)).told())

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
                settings = await self._receive(request, sent)
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
        return web.json_response(job.told(), status=201, headers=where)

    async def _cancel(self, request: web.Request) -> web.Response:
        jobs, job = self._working(), await self._own(request)
        if job.over:
            await self._do(lambda: jobs.forget(job.id))
            self._tell("job removed", request, job)
            return web.Response(status=204)
        ended = await self._do(lambda: jobs.cancel(job.id))
        self._tell("job cancelled", request, job)
        return web.json_response(ended.told(), status=202)

    async def _result(self, request: web.Request) -> web.StreamResponse:
        jobs, job = self._working(), await self._own(request)
        path = await self._do(lambda: jobs.result(job.id))
        if path is None:
            raise web.HTTPConflict(text="There is no result: see the job's state.\n")
        headers = {"Content-Type": ENDINGS.get(path.suffix, "application/octet-stream")}
        return web.FileResponse(path, headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The job whenever it changed, as server-sent events, until it is over."""
        job, by = await self._own(request), holder(request).name
        if self._listeners.get(by, 0) >= MOST_LISTENERS:
            raise web.HTTPServiceUnavailable(
                text=f"{MOST_LISTENERS} listen to this client's jobs already.\n",
                headers={"Retry-After": "10"},
            )
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        answer = web.StreamResponse(headers=headers)
        self._listeners[by] = self._listeners.get(by, 0) + 1
        try:
            await answer.prepare(request)
            await self._follow(job, answer.write)
        except (ConnectionResetError, asyncio.TimeoutError):  # nobody listens any more
            return answer
        finally:
            self._listeners[by] -= 1
            if not self._listeners[by]:
                del self._listeners[by]
        await answer.write_eof()
        return answer

    async def _follow(self, job: Job, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the job down whenever it changes, and a sign of life when it does not."""
        pause, loop = self._config.limits.upload_pause_s, asyncio.get_running_loop()
        last, wrote = "", loop.time()
        while True:
            text = json.dumps(job.told())
            said = f"event: job\ndata: {text}\n\n" if text != last else ":\n\n"
            if text != last or loop.time() - wrote > ALIVE_S:
                await asyncio.wait_for(write(said.encode()), pause)
                last, wrote = text, loop.time()
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

    async def _receive(self, request: web.Request, sent: Sent) -> dict[str, Any]:
        """Store the song; what is in `settings`."""
        settings: dict[str, Any] = {}
        if not request.content_type.startswith("multipart/"):
            raise web.HTTPUnsupportedMediaType(text="Send a form with the field `song`.\n")
        try:
            form = await request.multipart()
            while (part := await form.next()) is not None:
                if isinstance(part, BodyPartReader) and part.name == "song" and not sent.files:
                    path = self._inbox.place(part.filename or "song", sent)
                    await self._inbox.store(lambda p=part: p.read_chunk(CHUNK), path, sent)
                elif isinstance(part, BodyPartReader) and part.name == "settings":
                    settings = await self._settings(part)
                else:
                    raise web.HTTPBadRequest(
                        text="The form has one `song`, a file, and `settings`, JSON.\n"
                    )
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"The form cannot be read: {error}.\n") from error
        if not sent.files:
            raise web.HTTPBadRequest(text="There is no `song` in the form.\n")
        return settings

    async def _settings(self, part: BodyPartReader) -> dict[str, Any]:
        text = bytearray()
        while (data := await self._inbox.soon(part.read_chunk())) and len(text) <= MOST_SETTINGS:
            text += data
        if len(text) > MOST_SETTINGS:
            raise web.HTTPBadRequest(text=f"`settings` has more than {MOST_SETTINGS} bytes.\n")
        try:
            found: Any = json.loads(text.decode("utf-8"), parse_constant=_no_number)
        except RecursionError:
            raise ValueError("`settings` is nested too deep") from None
        if not isinstance(found, dict):
            raise web.HTTPBadRequest(text="`settings` is no JSON object.\n")
        return {str(name): value for name, value in found.items()}

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


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
