"""Texts to speak, out of files: plain, Markdown, subtitles, EPUB, Word and PDF.

What comes from outside is bounded: no part of a book unpacks to more than `MOST_BYTES`, nothing is
read that is not in it, and no entity is ever expanded.
"""

import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from stream.errors import AudioError, ConfigError

MOST_BYTES = 20_000_000  # of a file, and of each part of a book once unpacked
MOST_LETTERS = 5_000_000  # of a text: some 80 hours of speech
BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "br", "tr", "blockquote", "title"}
UNSAID = {"script", "style", "head", "nav", "svg", "math"}
STAMP = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
TIMES = re.compile(rf"\s*{STAMP}\s*-->\s*{STAMP}")
MARKUP = (  # of Markdown: what is dropped, and what stays of it
    (re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S), ""),
    (re.compile(r"<!--.{0,9999}?-->", re.S), ""),
    (re.compile(r"!\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),
    (re.compile(r"\[([^\]\n]*)\](\([^)\n]*\)|\[[^\]\n]*\])"), r"\1"),
    (re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t#]*$", re.M), r"\1\n"),
    (re.compile(r"^[ \t]*([-*_][ \t]*){3,}$", re.M), ""),
    (re.compile(r"^[ \t]*(>[ \t]?)+", re.M), ""),
    (re.compile(r"^[ \t]*([-*+]|\d{1,9}[.)])[ \t]+", re.M), "\n"),
    (re.compile(r"^[ \t|:]*-{3}[ \t:|-]*$", re.M), ""),
    (re.compile(r"(\*\*|__|~~|`+)(.{1,999}?)\1", re.S), r"\2"),
    (re.compile(r"(?<!\w)([*_])(\S|\S[^\n]{0,998}?\S)\1(?!\w)"), r"\2"),
    (re.compile(r"</?[A-Za-z][^>\n]{0,999}>"), ""),
    (re.compile(r"^[ \t]*\|[ \t]*|[ \t]*\|[ \t]*$", re.M), ""),
    (re.compile(r"[ \t]*\|[ \t]*"), ", "),
)


@dataclass(frozen=True)
class Line:
    """Something to say; in seconds from where it starts, None: after the line before."""

    text: str
    start: float | None = None


def read_text(path: Path) -> tuple[Line, ...]:
    """The lines of a file, by its suffix. Raises `AudioError` and `ConfigError`."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is no text that can be read: {', '.join(READERS)}.")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise AudioError(f"{path} is longer than {MOST_BYTES // 10**6} MB. Cut it into parts.")
        lines = tuple(reader(path))
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror or error}.") from error
    return checked(lines, str(path))


def checked(lines: tuple[Line, ...], name: str = "The text") -> tuple[Line, ...]:
    """`lines`, unless there is nothing to say or too much: then raises `AudioError`."""
    if not any(any(map(str.isalnum, line.text)) for line in lines):
        raise AudioError(f"{name} holds no words.")
    if sum(len(line.text) for line in lines) > MOST_LETTERS:
        raise AudioError(f"{name} has more than {MOST_LETTERS:,} letters. Cut it into parts.")
    return lines


def paragraphs(text: str) -> Iterator[Line]:
    """What blank lines part, each as one line of single spaces."""
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\f", "\n\n")):
        if said := " ".join(part.split()):
            yield Line(said)


def plain(path: Path) -> Iterator[Line]:
    """A text file."""
    return paragraphs(_decoded(path))


def markdown(path: Path) -> Iterator[Line]:
    """Markdown without its marks; code is not said."""
    text = _decoded(path)
    for pattern, kept in MARKUP:
        text = pattern.sub(kept, text)
    return paragraphs(text)


def subtitles(path: Path) -> Iterator[Line]:
    """SubRip: each subtitle at its time, without marks for its looks."""
    blocks = re.split(r"\n\s*\n", _decoded(path).replace("\r\n", "\n"))
    for block in blocks:
        lines = block.strip().split("\n")
        at = next((i for i, line in enumerate(lines[:2]) if TIMES.match(line)), None)
        if at is None:
            if block.strip():
                raise AudioError(f"{path} has a subtitle without times: {lines[0][:60]!r}.")
            continue
        hours, minutes, seconds, rest = TIMES.match(lines[at]).groups()[:4]  # type: ignore[union-attr]
        start = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")
        said = re.sub(r"<[^>]*>|\{\\[^}]*\}", "", " ".join(lines[at + 1 :]))
        if said := " ".join(said.split()):
            yield Line(said, start)


def epub(path: Path) -> Iterator[Line]:
    """A book's chapters, in the order in which they are read."""
    with _book(path) as book:
        root = _xml(path, _member(path, book, "META-INF/container.xml"))
        package = next((attrs["full-path"] for tag, attrs in root if tag == "rootfile"), "")
        parts = _xml(path, _member(path, book, package))
        files = {attrs.get("id"): attrs.get("href", "") for tag, attrs in parts if tag == "item"}
        for tag, attrs in parts:
            if tag != "itemref" or attrs.get("idref") not in files:
                continue
            href = unquote(files[attrs["idref"]]).partition("#")[0]
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), href))
            page = _Page()
            page.feed(_member(path, book, name).decode("utf-8", "replace"))
            page.close()
            yield from paragraphs(page.text)


def docx(path: Path) -> Iterator[Line]:
    """The paragraphs of a Word document."""
    with _book(path) as book:
        found = _Paragraphs()
        _parse(path, _member(path, book, "word/document.xml"), found.start, found.end, found.data)
    for text in found.done:
        yield from paragraphs(text)


def pdf(path: Path) -> Iterator[Line]:
    """The text of a PDF's pages, as far as it is text."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise ConfigError(
            f"{path} needs the package pypdf: pip install 'timbral[say]'. Or save it as text."
        ) from error
    try:
        reader = PdfReader(path)
        if reader.is_encrypted:
            raise AudioError(f"{path} is locked by a password. Save it without.")
        text, letters = [], 0
        for page in reader.pages:
            text.append(page.extract_text())
            letters += len(text[-1])
            if letters > MOST_LETTERS:
                break
    except (PyPdfError, ValueError, KeyError, RecursionError) as error:
        raise AudioError(f"{path} is damaged: {error}. Save it as text.") from error
    joined = re.sub(r"(\w)-\n(\w)", r"\1\2", "\n\n".join(text))
    return paragraphs(joined)


READERS: Mapping[str, Callable[[Path], Iterator[Line]]] = MappingProxyType(
    {
        ".txt": plain,
        ".md": markdown,
        ".srt": subtitles,
        ".epub": epub,
        ".docx": docx,
        ".pdf": pdf,
    }
)


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _book(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise AudioError(f"{path} is damaged: {error}. Export it again.") from error


def _member(path: Path, book: zipfile.ZipFile, name: str) -> bytes:
    """A part of a book; it is never unpacked further than it may be long."""
    try:
        with book.open(name) as file:
            data = file.read(MOST_BYTES + 1)
    except (KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise AudioError(f"{path} is damaged or locked: {name or 'a part'} is missing.") from error
    if len(data) > MOST_BYTES:
        raise AudioError(f"{path} unpacks to more than {MOST_BYTES // 10**6} MB. It is no book.")
    return data


def _xml(path: Path, data: bytes) -> list[tuple[str, dict[str, str]]]:
    """All elements, in order: local name, attributes."""
    found: list[tuple[str, dict[str, str]]] = []
    _parse(path, data, lambda tag, attrs: found.append((tag, attrs)))
    return found


def _parse(
    path: Path,
    data: bytes,
    start: Callable[[str, dict[str, str]], Any],
    end: Callable[[str], Any] = lambda _: None,
    text: Callable[[str], Any] = lambda _: None,
) -> None:
    """Parse XML; a document that declares entities is refused, for they can grow without end."""

    def declared(*_: object) -> None:
        raise AudioError(f"{path} declares entities, which no book needs. It is not read.")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = declared
    parser.StartElementHandler = lambda tag, attrs: start(_local(tag), attrs)
    parser.EndElementHandler = lambda tag: end(_local(tag))
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise AudioError(f"{path} is damaged: {error}. Export it again.") from error


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


class _Paragraphs:
    """Gathers the text of Word's paragraphs."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._said: list[str] = []
        self._inside = False

    def start(self, tag: str, _attrs: dict[str, str]) -> None:
        self._inside = tag == "t"
        if tag in ("tab", "br"):
            self._said.append(" ")

    def end(self, tag: str) -> None:
        self._inside = False
        if tag == "p":
            self.done.append("".join(self._said))
            self._said = []

    def data(self, text: str) -> None:
        if self._inside:
            self._said.append(text)


class _Page(HTMLParser):
    """What a page of a book says, with a blank line after each block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._said: list[str] = []
        self._unsaid: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._said)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSAID:
            self._unsaid.append(tag)
        if tag in BLOCKS:
            self._said.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCKS:
            self._said.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if self._unsaid and tag == self._unsaid[-1]:
            self._unsaid.pop()
        if tag in BLOCKS:
            self._said.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._unsaid:
            self._said.append(" ".join(data.split("\n")))
