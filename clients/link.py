"""The client's side of the protocol: one conversation with a server.

Needs `websockets` and `server.protocol`; neither numpy nor a model runtime.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from socket import SO_SNDBUF, SOL_SOCKET
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from server.protocol import (
    MAX_AUDIO,
    PATH,
    SUBPROTOCOL,
    AudioFrame,
    BadFrame,
    Bypass,
    ClientMessage,
    ControlsNow,
    Failure,
    Ping,
    Pong,
    Ready,
    ServerMessage,
    SetControls,
    SetVoice,
    Start,
    Stats,
    Stop,
    Stopped,
    VoiceNow,
    server_message,
)
from stream.errors import LinkError

Event = AudioFrame | ControlsNow | VoiceNow | Stats | Pong | Failure | Stopped

PATIENCE = 10.0  # s to connect
LOADING = 60.0  # s until `ready`: the server may have a voice to load
QUEUE = 256  # messages waiting for `events`; then the server is held back
SEND_BUFFER = 64 * 1024  # bytes the kernel may hold for a server that is held up; then `send` waits


def stream_url(text: str, resume: str | None = None) -> str:
    """The address of the stream, from what people type.

    resume  the secret of the stream to come back to: what stands before its dot names the server
            among several that has it, and goes into the address

    >>> stream_url("127.0.0.1:8765"), stream_url("https://voice.example.org")
    ('ws://127.0.0.1:8765/v1/stream', 'wss://voice.example.org/v1/stream')
    >>> stream_url("voice.example.org", "b.c2VjcmV0"), stream_url("voice.example.org", "c2VjcmV0")
    ('ws://voice.example.org/v1/stream?replica=b', 'ws://voice.example.org/v1/stream')
    """
    url = urlsplit(text if "://" in text else f"ws://{text}")
    scheme = {"http": "ws", "https": "wss"}.get(url.scheme, url.scheme)
    if scheme not in {"ws", "wss"} or not url.hostname:
        raise LinkError(f"'{text}' is no server address. One looks like ws://127.0.0.1:8765.")
    path = url.path if url.path.strip("/") else PATH
    replica, dot, _ = (resume or "").partition(".")
    query = "&".join(filter(None, [url.query, f"replica={quote(replica)}" if dot else ""]))
    return urlunsplit((scheme, url.netloc, path, query, ""))


def is_here(url: str) -> bool:
    """Whether a server's address is this machine's own."""
    return urlsplit(stream_url(url)).hostname in _HERE


class VoiceLink:
    """An open stream: audio and messages out, `events` in. Get one from `open_link`.

    `send` numbers the frames and keeps the position, in samples at the client's rate; a stream that
    was resumed (`ready.resumed`) goes on at `ready.position`, or later. It waits
    while the server is held up, and never drops. Methods raise `LinkError` once the conversation
    is over. One task may send while another goes through `events`.
    """

    def __init__(self, socket: ClientConnection, ready: Ready) -> None:
        self._socket = socket
        self.ready = ready
        self._seq = 0
        self._position = ready.position

    @property
    def position(self) -> int:
        """Where the next sample goes."""
        return self._position

    async def send(self, pcm: bytes | memoryview, position: int | None = None) -> None:
        """Send mono samples in the encoding agreed; `position` leaves out what lies before it."""
        start = self._position if position is None else position
        frame = AudioFrame(self._seq, start, pcm)
        self._position = start + frame.samples(self.ready.encoding)
        self._seq = (self._seq + 1) % 2**32
        await self._put(frame.pack())

    async def tell(self, message: ClientMessage) -> None:
        """Send any message of the protocol."""
        await self._put(message.model_dump_json(exclude_none=True))

    async def set_controls(self, controls: SetControls) -> None:
        """Change controls; the server answers with `ControlsNow`."""
        await self.tell(controls)

    async def change_voice(self, voice: str) -> None:
        """Go on in another voice; the server answers with `VoiceNow`."""
        await self.tell(SetVoice(voice=voice))

    async def bypass(self, on: bool) -> None:
        """Ask for the raw voice, or for the converted one again."""
        await self.tell(Bypass(on=on))

    async def ping(self) -> None:
        """Ask for a `Pong` that carries this moment's `clock`."""
        await self.tell(Ping(t=clock()))

    async def stop(self) -> None:
        """No more audio. The rest follows among the `events`, which end with `Stopped`."""
        await self.tell(Stop())

    async def events(self) -> AsyncIterator[Event]:
        """All that the server sends, up to `Stopped`.

        A `Failure` among them was not fatal. Raises `LinkError` for a fatal one, and when the
        connection ends before `Stopped`.
        """
        while True:
            event = await _receive(self._socket)
            if isinstance(event, Ready):
                raise LinkError("The server sent `ready` twice.", "bad_message")
            yield event
            if isinstance(event, Stopped):
                return

    async def _put(self, data: str | bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise _ended(error) from error


@asynccontextmanager
async def open_link(url: str, start: Start) -> AsyncGenerator[VoiceLink, None]:
    """Connect, say `start`, wait for `ready`; on leaving, close.

    Raises `LinkError` when there is no server or it refuses; its `code` is the protocol's.
    """
    address = stream_url(url, start.resume)
    socket = await _connect(address)
    sock = socket.transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
    try:
        yield VoiceLink(socket, await _begin(socket, start, address))
    finally:
        await socket.close()


def clock() -> float:
    """Seconds on the clock that `VoiceLink.ping` sends."""
    return asyncio.get_running_loop().time()


async def _begin(socket: ClientConnection, start: Start, address: str) -> Ready:
    try:
        await socket.send(start.model_dump_json(exclude_none=True))
        answer = await asyncio.wait_for(_receive(socket), LOADING)
    except asyncio.TimeoutError:
        raise LinkError(f"{address} was not ready within {LOADING:g} s. Try again.") from None
    except ConnectionClosed as error:
        raise _ended(error) from error
    if not isinstance(answer, Ready):
        raise LinkError("The server did not answer `start` with `ready`.", "bad_message")
    if (answer.encoding, answer.sample_rate) != (start.encoding, start.sample_rate):
        raise LinkError("The server answered `start` with another sample format.", "bad_message")
    return answer


async def _connect(address: str) -> ClientConnection:
    try:
        return await connect(
            address,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # sound does not shrink, and waiting for it costs time
            max_size=2 * MAX_AUDIO,
            max_queue=QUEUE,
            proxy=None if is_here(address) else True,
            open_timeout=PATIENCE,
            close_timeout=2.0,
        )
    except InvalidURI as error:
        raise LinkError(f"'{address}' is no server address: {error}.") from error
    except InvalidStatus as error:
        status, wait = error.response.status_code, _wait(error.response.headers)
        raise LinkError(_refusal(address, status), _CODES.get(status, ""), wait) from error
    except (InvalidHandshake, EOFError) as error:
        raise LinkError(f"What answers at {address} is no timbral server: {error}.") from error
    except (OSError, asyncio.TimeoutError) as error:
        raise LinkError(
            f"No server answers at {address}. Start one with `timbral serve`, or name another "
            "with `--server`."
        ) from error


_HERE = {"localhost", "127.0.0.1", "::1"}
_CODES = {401: "unauthorized", 403: "unauthorized", 503: "overloaded"}
_BUSY = {502, 503, 504}  # of the server itself, or of a proxy whose servers are all gone or full


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds that `Retry-After` asks for; 0 without one, or where it names a date."""
    said = headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0


def _refusal(address: str, status: int) -> str:
    if status in {401, 403}:
        return f"{address} refuses this client (HTTP {status}). Give its token with `--token`."
    if status in _BUSY:
        return f"{address} is busy (HTTP {status}). Try again later."
    return f"What answers at {address} is no timbral server (HTTP {status})."


async def _receive(socket: ClientConnection) -> AudioFrame | ServerMessage:
    """The next message; raises `LinkError` when it says, or means, that this is the end."""
    try:
        data = await socket.recv()
        event = AudioFrame.unpack(data) if isinstance(data, bytes) else _message(data)
    except ConnectionClosed as error:
        raise _ended(error) from error
    except (BadFrame, ValidationError) as error:
        raise LinkError(
            f"The server speaks another protocol than {SUBPROTOCOL}: {error}", "bad_message"
        ) from error
    if isinstance(event, Failure) and event.fatal:
        raise LinkError(event.message, event.code, event.retry_s)
    return event


def _message(text: str) -> ServerMessage:
    return server_message.validate_json(text)


def _ended(error: ConnectionClosed) -> LinkError:
    if error.rcvd is None:
        return LinkError("The connection to the server was lost.")
    reason = error.rcvd.reason or "no reason given"
    return LinkError(f"The server ended the conversation: {reason} ({error.rcvd.code}).")
