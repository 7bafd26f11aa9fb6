"""Files that come in over HTTP: how much of them, how fast, where to, and for how long."""

import asyncio
import errno
import logging
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from server.config import ServerConfig
from stream.home import default_home

log = logging.getLogger("timbral.server")

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a disk without room says
CHUNK = 1 << 20  # bytes written at a time
MOST_FILES, MOST_PARTS = 8, 16  # of one form
T = TypeVar("T")


@dataclass
class Sent:
    """What a client has sent so far."""

    folder: Path
    most: int  # bytes in all
    left: int  # of them, that it may still send
    began: float  # s, of the loop's clock
    files: list[Path] = field(default_factory=list)
    index: Path | None = None
    name: str | None = None


class Inbox:
    """Takes files in, each into a folder of its own that is gone when the request is over.

    thread  where disk work is done

    Laws: never more bytes are written than were allowed, nothing outside the folder, and nothing
    stays; a full disk is an answer (507), and nothing but that.
    """

    def __init__(self, config: ServerConfig, thread: Executor) -> None:
        self._config = config
        self._thread = thread

    @asynccontextmanager
    async def open(self, request: web.Request, most: int) -> AsyncGenerator[Sent, None]:
        """A hidden folder on the disk where voices are, for at most so many bytes.

        Raises 413 and 415 for a request that is too large, or packed, 507 when the disk is full.
        """
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise web.HTTPUnsupportedMediaType(text="Send it without a Content-Encoding.\n")
        if (request.content_length or 0) > most:
            raise too_large(most)
        voices = (self._config.home or default_home()) / "voices"
        with _disk():
            voices.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".import-", dir=voices))
        try:
            with _disk():
                yield Sent(folder, most, most, asyncio.get_running_loop().time())
        finally:  # to free a gigabyte takes a while: not on the loop, where streams wait for it
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def place(self, filename: str | None, sent: Sent) -> Path:
        """Where to put the next file: alone in a folder, under a harmless name."""
        if len(sent.files) >= MOST_FILES:
            raise web.HTTPBadRequest(text=f"{MOST_FILES} files at most.\n")
        stem, dot, suffix = (filename or "voice").replace("\\", "/").split("/")[-1].rpartition(".")
        name = re.sub(r"[^\w ()+-]", "_", stem or suffix)[:100].strip() or "voice"
        ending = re.sub(r"[^A-Za-z0-9]", "", suffix)[:12] if stem and dot else ""
        folder = Path(tempfile.mkdtemp(dir=sent.folder))
        sent.files.append(folder / (f"{name}.{ending}" if ending else name))
        return sent.files[-1]

    async def store(self, read: Callable[[], Awaitable[bytes]], path: Path, sent: Sent) -> None:
        """Write what `read` gives until it gives nothing."""
        loop = asyncio.get_running_loop()
        waiting, ended = bytearray(), False
        with path.open("wb") as file:
            while not ended:
                data = await self.soon(read())
                self._check_pace(sent, loop.time())
                ended = not data
                sent.left -= len(data)
                if sent.left < 0:
                    raise too_large(sent.most)
                waiting += data
                if len(waiting) >= CHUNK or ended:
                    await loop.run_in_executor(self._thread, file.write, bytes(waiting))
                    waiting.clear()

    async def parts(self, request: web.Request, sent: Sent) -> AsyncGenerator[BodyPartReader, None]:
        """The parts of a form, one after the other. Raises 400 for what is no form."""
        with form_errors():
            form = await request.multipart()
        for _ in range(MOST_PARTS):
            with form_errors():
                part = await self.soon(form.next())
            self._check_pace(sent, asyncio.get_running_loop().time())
            if part is None:
                return
            if not isinstance(part, BodyPartReader):
                raise web.HTTPBadRequest(text="A form inside a form is not understood.\n")
            yield part
        raise web.HTTPBadRequest(text=f"{MOST_PARTS} parts at most.\n")

    async def soon(self, read: Awaitable[T]) -> T:
        """What `read` gives; raises 408 when it takes too long, and 400 when the client is gone."""
        try:
            return await asyncio.wait_for(read, self._config.limits.upload_pause_s)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text="The upload came to a halt.\n") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise web.HTTPBadRequest(text="The upload broke off.\n") from error

    def _check_pace(self, sent: Sent, now: float) -> None:
        """One upload is taken at a time: it must not be held up by a trickle of bytes."""
        limits = self._config.limits
        lasted, came = now - sent.began, sent.most - sent.left
        if lasted > limits.upload_pause_s and came < lasted * limits.upload_bytes_per_s:
            text = f"Fewer than {limits.upload_bytes_per_s} bytes a second came.\n"
            raise web.HTTPRequestTimeout(text=text)


@contextmanager
def form_errors() -> Generator[None, None, None]:
    """Answer 400 to a form that cannot be read."""
    try:
        yield
    except (ValueError, HttpProcessingError) as error:
        text = f"The form cannot be read: {error}"[:200].encode("utf-8", "replace").decode()
        raise web.HTTPBadRequest(text=f"{text}.\n") from error


def too_large(most: int) -> web.HTTPException:
    """The answer to more than `most` bytes."""
    shown = f"{most >> 20} MiB" if most >> 20 else f"{most} bytes"
    return web.HTTPRequestEntityTooLarge(
        max_size=most, actual_size=most + 1, text=f"More than {shown} are not taken.\n"
    )


@contextmanager
def _disk() -> Generator[None, None, None]:
    """Answer 507 where there is no room left for what is sent."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.error("What a client sent could not be kept: %s.", error.strerror)
        text = "This server has no room left for that; tell who runs it.\n"
        raise web.HTTPInsufficientStorage(text=text) from error
