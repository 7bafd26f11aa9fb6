"""The one place where an error becomes what the client is told."""

import logging

from pydantic import ValidationError

from server.protocol import BadFrame, ErrorCode, Failure
from stream.errors import ConfigError, ModelError, TimbralError, VoiceError

log = logging.getLogger("timbral.server")

OK = 1000
GOING_AWAY = 1001
POLICY = 1008
TOO_BIG = 1009
INTERNAL = 1011
TRY_LATER = 1013
RETRY_S = 5  # what a client that is refused for want of room is told to wait


class Refused(TimbralError):
    """Raised when a rule of the conversation was broken; knows its code, and closing code."""

    def __init__(self, code: ErrorCode, text: str, close: int | None = None) -> None:
        self.code: ErrorCode = code
        self.close = close
        self.retry_s = RETRY_S if code == "overloaded" else 0
        super().__init__(text)


def failure(error: Exception, *, fatal: bool) -> Failure:
    """What the client is told about `error`. What is no error of ours is logged, not told."""
    match error:
        case Refused():
            text, wait = str(error), error.retry_s
            return Failure(code=error.code, message=text, fatal=fatal, retry_s=wait)
        case ValidationError():
            return _invalid(error, fatal)
        case BadFrame():
            return Failure(code="bad_message", message=f"{error}.", fatal=fatal)
        case VoiceError():
            return Failure(code="voice_not_found", message=str(error), fatal=fatal)
        case ConfigError():
            return Failure(code="unsupported", message=str(error), fatal=fatal)
        case ModelError():
            log.error("%s", error)
            return Failure(code="internal", message=str(error), fatal=fatal)
        case _:
            log.error("a stream failed", exc_info=error)
            text = "The server failed at this; its log tells more."
            return Failure(code="internal", message=text, fatal=fatal)


def close_code(error: Exception, told: Failure) -> int:
    """The WebSocket closing code that follows a fatal `told`."""
    if isinstance(error, Refused) and error.close is not None:
        return error.close
    return {"internal": INTERNAL, "overloaded": TRY_LATER}.get(told.code, POLICY)


def _invalid(error: ValidationError, fatal: bool) -> Failure:
    """`unsupported` when a choice is not on offer, otherwise `bad_message`."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    choices = [p for p in problems if p["type"] == "literal_error"]
    first = (choices or problems)[0]
    where = ".".join(map(str, first["loc"]))
    text = f"{where}: {first['msg']}." if where else f"{first['msg']}."
    code: ErrorCode = "unsupported" if choices else "bad_message"
    return Failure(code=code, message=text[:500], fatal=fatal)
