"""A real HTTP server with files on it, for tests: it resumes, and misbehaves as told."""

import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Shelf:
    """What is served, and what was asked.

    files      path: content
    redirects  path: where it went
    cuts       path: how many bytes to send before the connection breaks, one number a request
    statuses   path: the status of the next requests, one a request
    ranges     whether a request for the rest of a file is understood
    lengths    whether the length is told beforehand
    stall      seconds that the server sleeps in the middle of each body
    asked      each request's path and `Range`
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    redirects: dict[str, str] = field(default_factory=dict[str, str])
    cuts: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    statuses: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    ranges: bool = True
    lengths: bool = True
    stall: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(shelf: Shelf) -> Generator[Shelf, None, None]:
    """Serve `shelf` on a free port; `shelf.url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, shelf)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shelf
    finally:
        shelf.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, shelf: Shelf) -> None:
    """Answer one request as the shelf says."""
    path, wanted = handler.path, handler.headers.get("Range", "")
    shelf.asked.append((path, wanted))
    handler.close_connection = True
    if shelf.statuses.get(path):
        return bare(handler, shelf.statuses[path].pop(0))
    if path in shelf.redirects:
        return bare(handler, 302, Location=shelf.redirects[path])
    if path not in shelf.files:
        return bare(handler, 404)
    content, start = shelf.files[path], 0
    if shelf.ranges and (match := re.fullmatch(r"bytes=(\d+)-", wanted)):
        start = int(match[1])
        if start >= len(content):
            return bare(handler, 416)
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    body = content[start:]
    if shelf.lengths:
        handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    cuts = shelf.cuts.get(path)
    body = body[: cuts.pop(0)] if cuts else body
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    shelf.closing.wait(shelf.stall)
    handler.wfile.write(body[len(body) // 2 :])


def bare(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """An answer without a body."""
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": "0", "Connection": "close"}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
