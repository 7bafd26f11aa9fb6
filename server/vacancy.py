"""How much of a server is taken: what those go by who spread streams over several."""

from aiohttp import web

from server.failures import RETRY_S
from server.places import Places
from server.room import GENTLE_LEVEL, ROOM, Room
from stream.ladder import STEPS


def fullness(places: Places, room: Room) -> float:
    """The larger part: of the streams there may be, and of the time that the device `room` may be
    promised. From 1 on a stream is let in only at the cost of the others, or not at all.
    """
    return max(len(places) / places.most, room.load / ROOM)


def is_full(places: Places, room: Room, *, easing: bool) -> bool:
    """Whether any stream would be refused, however light.

    room    the device with the most time left
    easing  whether its streams may be asked to give something up first
    """
    if len(places) >= places.most:
        return True
    spent = not easing or STEPS.index(room.step) >= GENTLE_LEVEL
    return spent and room.load > ROOM


def later(seconds: int = RETRY_S) -> web.HTTPServiceUnavailable:
    """The answer to who asks while there is no room."""
    headers = {"Retry-After": str(seconds)}
    return web.HTTPServiceUnavailable(text="Not now; try again later.\n", headers=headers)
