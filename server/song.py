"""The form that a song comes in, with the settings of its cover."""

import json
from contextlib import aclosing
from typing import Any

from aiohttp import BodyPartReader, web

from server.inbox import CHUNK, Inbox, Sent, form_errors

MOST_SETTINGS = 16 * 1024  # bytes


async def take_song(request: web.Request, sent: Sent, inbox: Inbox) -> dict[str, Any]:
    """Store the song that a form holds; what is in its `settings`. Raises 400 and 415."""
    settings: dict[str, Any] = {}
    if not request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType(text="Send a form with the field `song`.\n")
    async with aclosing(inbox.parts(request, sent)) as parts:
        async for part in parts:
            with form_errors():
                if part.name == "song" and not sent.files:
                    path = inbox.place(part.filename or "song", sent)
                    await inbox.store(lambda p=part: p.read_chunk(CHUNK), path, sent)
                elif part.name == "settings":
                    settings = await _settings(part, inbox)
                else:
                    raise web.HTTPBadRequest(
                        text="The form has one `song`, a file, and `settings`, JSON.\n"
                    )
    if not sent.files:
        raise web.HTTPBadRequest(text="There is no `song` in the form.\n")
    return settings


async def _settings(part: BodyPartReader, inbox: Inbox) -> dict[str, Any]:
    text = bytearray()
    while (data := await inbox.soon(part.read_chunk())) and len(text) <= MOST_SETTINGS:
        text += data
    if len(text) > MOST_SETTINGS:
        raise web.HTTPBadRequest(text=f"`settings` has more than {MOST_SETTINGS} bytes.\n")
    try:
        found: Any = json.loads(text.decode("utf-8"), parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # no half of a letter in it
    except RecursionError:
        raise ValueError("`settings` is nested too deep") from None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(text="`settings` is no JSON object.\n")
    return {str(name): value for name, value in found.items()}


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
