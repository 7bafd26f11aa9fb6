"""All targets, and how many cases each gets: more than a million in a whole run."""

from fuzz.engine import Target
from fuzz.files import files
from fuzz.http import requests
from fuzz.live import sockets
from fuzz.talks import talks
from fuzz.wire import frames, told_by

from server.protocol import ClientMessage, ServerMessage, client_message, server_message

TARGETS = (
    Target("frames", 500_000, 5_000, frames),
    Target("messages", 320_000, 2_000, told_by(ClientMessage, client_message)),
    Target("answers", 130_000, 1_000, told_by(ServerMessage, server_message)),
    Target("files", 40_000, 300, files),
    Target("talks", 12_000, 60, talks),
    Target("http", 50_000, 240, requests),
    Target("live", 6_000, 120, sockets),
)
