"""Tests of reading texts out of files."""

import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.say import text as reading
from offline.say.speak import parts
from offline.say.text import Line, read_text
from stream.errors import AudioError, ConfigError, TimbralError

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="O/book.opf"/></rootfiles></container>'
)
PACKAGE = (
    '<opf:package xmlns:opf="http://www.idpf.org/2007/opf"><opf:manifest>'
    '<opf:item id="b" href="two%20b.xhtml"/><opf:item id="a" href="one.xhtml"/></opf:manifest>'
    '<opf:spine><opf:itemref idref="a"/><opf:itemref idref="b"/></opf:spine></opf:package>'
)
ONE = (
    "<!DOCTYPE html><html><head><title>Not said</title><style>p{}</style></head><body><h1>One</h1>"
    "<p>It &amp; <i>they</i>,&nbsp;\nhere.</p><script>no</script></body></html>"
)
WORD = (
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    "<w:p><w:r><w:t>Split </w:t></w:r><w:r><w:t>words</w:t></w:r></w:p>"
    "<w:p><w:r><w:instrText>PAGE</w:instrText><w:t>Next.</w:t></w:r></w:p></w:body></w:document>"
)


def packed(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return path


def book(path: Path, first: str = ONE) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("META-INF/container.xml", CONTAINER)
        file.writestr("O/book.opf", PACKAGE)
        file.writestr("O/two b.xhtml", "<html><body><p>Two.</p></body></html>")
        file.writestr("O/one.xhtml", first)
    return path


def said(path: Path) -> list[str]:
    return [line.text for line in read_text(path)]


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_plain_text_is_cut_at_blank_lines(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "a.txt", "Grüße\r\nan alle.\r\n\r\n \r\nEnde", encoding)
    assert said(path) == ["Grüße an alle.", "Ende"]


def test_markdown_loses_its_marks(tmp_path: Path) -> None:
    text = (
        "# Title #\nText with **bold**, *slanted* and `code`, a [link](http://x/y) and a_b_c.\n\n"
        "```python\nnot said\n```\n\n> quoted\n\n- one\n- two\n\n| a | b |\n|---|:-:|\n| c | d |\n"
        "\n***\n<!-- not said -->\n2 * 3 * 4 <b>x</b>\n"
    )
    lines = said(written(tmp_path / "a.md", text))
    assert lines == [
        "Title",
        "Text with bold, slanted and code, a link and a_b_c.",
        *("quoted", "one", "two", "a, b", "c, d", "2 * 3 * 4 x"),
    ]


def test_subtitles_keep_their_times(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,500 --> 00:00:02,000\n<i>Hello,</i>\n{\\an8}you.\n\n\n"
        "2\n01:02:03.04 --> 01:02:04,000 X1:1\nBye\n\n3\n00:00:09,000 --> 00:00:10,000\n\n"
    )
    lines = read_text(written(tmp_path / "a.srt", text))
    assert lines == (Line("Hello, you.", 1.5), Line("Bye", 3723.04))
    with pytest.raises(AudioError, match="without times"):
        read_text(written(tmp_path / "b.srt", "1\nHello\n"))


def test_a_book_is_read_in_its_order(tmp_path: Path) -> None:
    assert said(book(tmp_path / "a.epub")) == ["One", "It & they, here.", "Two."]


def test_a_word_document_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.docx", word__document_dot_xml=WORD)
    assert said(path) == ["Split words", "Next."]


def test_a_pdf_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    assert said(_pdf(tmp_path / "a.pdf")) == ["Hello from a page."]
    with pytest.raises(AudioError, match="damaged"):
        read_text(written(tmp_path / "b.pdf", "%PDF-1.4 nothing"))


def test_a_pdf_needs_a_package_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _pdf(tmp_path / "a.pdf")
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(ConfigError, match=r"pip install 'timbral\[say\]'"):
        read_text(path)


def test_a_bomb_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 1_000_000)
    path = book(tmp_path / "bomb.epub", "a" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="unpacks to more than 1 MB"):
            read_text(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    for text in (bomb, outside):
        with pytest.raises(AudioError, match="declares entities"):
            read_text(packed(tmp_path / "a.docx", word__document_dot_xml=text))


def test_a_book_reads_nothing_outside_itself(tmp_path: Path) -> None:
    (tmp_path / "secret.xhtml").write_text("secret")
    path = tmp_path / "a.epub"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("META-INF/container.xml", CONTAINER)
        file.writestr("O/book.opf", PACKAGE.replace("one.xhtml", "../../secret.xhtml"))
    with pytest.raises(AudioError, match="missing"):
        read_text(path)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", " \n", "holds no words"),
        ("a.txt", "?!", "holds no words"),
        ("a.epub", "nothing", "damaged"),
        ("a.doc", "text", "no text that can be read"),
    ],
)
def test_what_cannot_be_said_is_told(tmp_path: Path, name: str, data: str, why: str) -> None:
    with pytest.raises(TimbralError, match=why):
        read_text(written(tmp_path / name, data))


@given(st.text(alphabet="ab .!?;", max_size=80), st.integers(4, 30))
@settings(max_examples=50, deadline=None)
def test_parts_are_the_text(text: str, most: int) -> None:
    found = list(parts(" ".join(text.split()), most))
    assert all(0 < len(part) <= most for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def _pdf(path: Path) -> Path:
    """One page with one line, written by hand."""
    stream = b"BT /F1 12 Tf 72 700 Td (Hello from a page.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    begin = len(data)
    data += b"xref\n0 6\n0000000000 65535 f \n" + rows
    data += b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % begin
    path.write_bytes(data)
    return path
