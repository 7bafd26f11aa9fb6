import base64
import io
import re
import urllib.parse
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import chart
from offline.page import Page, Player
from offline.png import coloured, png

VOID = {"meta", "image", "rect", "path", "circle"}


class Reader(HTMLParser):
    """What a page holds: its elements, whether they nest, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def read(page: Page, folder: Path) -> Reader:
    return Reader(page.write(folder / "report.html").read_text("utf-8"))


def full(text: str = "text") -> Page:
    """A page with one of everything, every text of it the same."""
    page = Page(text)
    page.section(text)
    page.text(text)
    page.advice(text, "bad")
    page.table([text, "n"], [[text, 1.5], [None, 2]], title=text)
    page.lines(text, text, text, {text: ([1, 2, 3], [1, 2, 3]), "b": ([1], [5])}, note=text)
    page.bars(text, text, [text, "b"], {text: [1.0, -2.0]})
    page.histogram(text, text, text, [0.0, 1.0, 2.0], {text: [1.0, 4.0]})
    page.picture(text, np.eye(4, dtype=np.float32), x=(text, 0.0, 3.0), y=(text, 0.0, 1.0))
    page.sound(text, np.zeros(240, np.float32), 24_000, note=text)
    return page


def test_a_page_is_whole_html_with_all_that_was_put_on_it(tmp_path: Path) -> None:
    tags = read(full(), tmp_path).tags()
    assert (tags.count("svg"), tags.count("table"), tags.count("audio")) == (4, 1, 1)
    assert "script" not in tags
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@settings(max_examples=12)
@given(text=st.text(st.sampled_from("<>&\"'/ačé`=\\"), min_size=1, max_size=12))
def test_no_text_becomes_markup(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("page")
    plain, page = read(full("plain"), folder), read(full(text), folder)
    assert page.tags() == plain.tags()
    assert text in page.text
    assert {name for _, had in page.elements for name in had} == {
        name for _, had in plain.elements for name in had
    }


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = read(full(), tmp_path)
    links = [had[name] for _, had in page.elements for name in ("src", "href") if name in had]
    assert links
    assert all(link.startswith("data:") for link in links)
    css = re.findall(r"url\(|@import|https?:", (tmp_path / "report.html").read_text("utf-8"))
    assert css == []


def test_a_sound_in_the_page_is_the_sound(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    page = Page("sounds")
    page.table(["kind", "heard"], [["own", Player(sound, 22_050)]])
    [source] = [had["src"] for tag, had in read(page, tmp_path).elements if tag == "audio"]
    kind, data = source.split(",")
    assert kind == "data:audio/flac;base64"
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 22_050
    assert np.abs(heard - sound).max() < 2 / 32768


def test_a_file_is_linked_from_where_the_page_lies(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "pages").mkdir()
    file = tmp_path / "sounds" / "ä b#1?.wav"
    file.write_bytes(b"")
    page = Page("sounds")
    page.sound("one", file)
    [source] = [had["src"] for t, had in read(page, tmp_path / "pages").elements if t == "audio"]
    linked = tmp_path / "pages" / urllib.parse.unquote(source)
    assert "#" not in source
    assert linked.resolve() == file.resolve()


def test_a_sound_without_a_rate_is_a_mistake(tmp_path: Path) -> None:
    page = Page("sounds")
    page.sound("one", np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="rate"):
        page.write(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="1 cells under 2"):
        Page("t").table(["a", "b"], [["one"]])


def test_numbers_stand_right_and_words_left(tmp_path: Path) -> None:
    page = Page("t")
    page.table(["name", "dB", "mixed"], [["a", -1.25, 3], ["b", None, "x"]])
    cells = [had.get("class", "") for tag, had in read(page, tmp_path).elements if tag == "td"]
    assert cells == ["", "number", "", "", "number", ""]


def test_a_page_can_ask_to_be_read_again(tmp_path: Path) -> None:
    page = read(Page("running", refresh_s=20), tmp_path)
    assert ("meta", {"http-equiv": "refresh", "content": "20"}) in page.elements


@settings(max_examples=40)
@given(low=st.floats(-1e6, 1e6, allow_subnormal=False), size=st.floats(1e-3, 1e6))
def test_ticks_are_few_even_and_inside(low: float, size: float) -> None:
    found = chart.ticks(low, low + size)
    assert 2 <= len(found) <= 12
    assert found[0] >= low - 1e-6 * size
    assert found[-1] <= low + size * 1.000001
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


def test_a_long_line_keeps_its_peaks_and_its_gaps() -> None:
    y = np.sin(np.arange(100_000) / 50)
    y[[777, 54_321]] = 9.0, -7.0
    y[30_000:40_000] = np.nan
    drawn = chart.thinned(np.arange(100_000.0), y)
    assert len(drawn) <= chart.MOST_POINTS
    assert [777.0, 9.0] in drawn.tolist()
    assert [54_321.0, -7.0] in drawn.tolist()
    assert np.isnan(drawn[:, 1]).any()
    assert (np.diff(drawn[:, 0]) > 0).all()


def test_a_gap_breaks_the_line() -> None:
    svg = chart.lines("t", "x", "y", {"a": ([0, 1, 2, 3], [1, np.nan, 3, 4])})
    [path] = re.findall(r'class="curve s0" d="([^"]+)"', svg)
    assert re.sub(r"[\d. ]", "", path) == "MML"


def test_on_a_logarithmic_scale_a_decade_is_a_decade_and_zero_is_a_gap() -> None:
    svg = chart.lines("t", "x", "y", {"a": ([0, 1, 2, 3], [100, 10, 1, 0])}, log_y=True)
    [path] = re.findall(r'class="curve s0" d="([^"]+)"', svg)
    heights = [float(point.split()[1]) for point in re.split("[ML]", path)[1:]]
    assert len(heights) == 3
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)


@pytest.mark.parametrize("values", [[], [5.0], [np.nan], [2.0, 2.0], [0.0]])
def test_a_line_of_nothing_or_of_one_value_is_drawn(values: list[float]) -> None:
    for log_y in (False, True):
        svg = chart.lines("t", "x", "y", {"a": (range(len(values)), values)}, log_y=log_y)
        assert "nan" not in svg
        assert svg.count('class="grid"') >= 1


def test_bars_start_at_zero_and_grow_with_their_values() -> None:
    svg = chart.bars("t", "y", ["a", "b", "c"], {"s": [1.0, 2.0, np.nan]})
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', svg)]
    assert len(heights) == 2
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)


def test_a_picture_is_a_png_of_its_colours() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    file = png(rgb)
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, data = 8, list[bytes](), b""
    while at < len(file):
        size = int.from_bytes(file[at : at + 4], "big")
        body = file[at + 4 : at + 8 + size]
        assert zlib.crc32(body) == int.from_bytes(file[at + 8 + size : at + 12 + size], "big")
        kinds.append(body[:4])
        data += body[4:] if body[:4] == b"IDAT" else b""
        at += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(5, 22)
    np.testing.assert_array_equal(rows[:, 1:].reshape(5, 7, 3), rgb)


def test_brighter_is_more() -> None:
    ramp = np.linspace(-1, 2, 200, dtype=np.float32)[None]
    light = coloured(ramp, 0.0, 1.0)[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) >= -0.5).all()
    assert light[0] == light[66] < light[133] == light[-1]
    with pytest.raises(ValueError, match="below"):
        coloured(ramp, 1.0, 1.0)
