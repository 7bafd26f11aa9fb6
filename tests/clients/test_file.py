from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_server import LATENCY, Handler, begin, mirror, refuse, running, say, stats
from websockets.sync.server import ServerConnection

from clients.file import Listener, Report, SendSettings, send_file
from server.protocol import AudioFrame, Failure, Flag, Pong, Ready, Stopped
from stream.audio import Audio
from stream.errors import AudioError, ConfigError, LinkError
from stream.files import SoundFile

RATE = 16_000
SOUND = (0.3 * np.random.default_rng(2).standard_normal(RATE // 2)).clip(-1, 1).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, SOUND, RATE, subtype="PCM_16")
    return path


def send(
    handler: Handler, source: Path, *, realtime: bool = False, target: str = "out.wav"
) -> tuple[Audio, Report]:
    with running(handler) as url:
        settings = SendSettings(server=url, realtime=realtime)
        report = send_file(source, source.with_name(target), settings)
    file = SoundFile(source.with_name(target))
    assert file.source_rate == RATE
    return file.read(), report


def test_the_output_is_as_long_and_each_sample_is_in_its_place(source: Path) -> None:
    heard, report = send(mirror(), source)
    np.testing.assert_allclose(heard, -SOUND, atol=1e-4)
    assert report.missing == report.concealed == 0
    assert report.algorithmic == 1000 * LATENCY / RATE == 40.0


def test_in_real_time_the_pace_is_that_of_speech_and_delays_are_measured(source: Path) -> None:
    _, report = send(mirror(), source, realtime=True)
    seconds = len(SOUND) / RATE
    assert seconds <= report.took < seconds + 2.0
    assert len(report.round_trips) == 1
    # a frame comes when the sample LATENCY after its last has been captured; its first is older
    assert 40.0 <= np.percentile(report.ends, 50) < 40.0 + 20.0 + 100.0
    table = report.table()
    for line in ["algorithmic", "4.0 / 5.0 / 6.0", "RTF 0.25", "network", "end to end p50 / p95"]:
        assert line in table
    assert "deadline misses 2" in report.summary()


def test_what_a_busy_server_gave_up_meanwhile_is_told_at_the_end(source: Path) -> None:
    def handler(socket: ServerConnection) -> None:
        begin(socket)
        for eased, more in (("longer hops", RATE // 50), ("", 0)):
            update = {"eased": eased, "latency_samples": LATENCY + more}
            say(socket, stats().model_copy(update=update))
        say(socket, Stopped(samples_in=0, samples_out=0))

    _, report = send(handler, source)
    assert "longer pieces are converted at once, latency is 20 ms more" in report.summary()
    assert "busy" not in send(mirror(), source)[1].summary()


def test_who_is_refused_is_told_when_to_come_again(source: Path) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.recv()
        say(socket, Failure(code="overloaded", message="Full.", fatal=True, retry_s=5))

    with pytest.raises(LinkError, match=r"^Full. Try again in 5 s.$"):
        send(handler, source)


def test_faster_than_real_time_there_is_no_end_to_end_figure(source: Path) -> None:
    _, report = send(mirror(), source)
    assert "end to end" not in report.table()


def test_faster_than_real_time_no_more_is_sent_than_can_be_answered(source: Path) -> None:
    unasked: list[int] = []

    def handler(socket: ServerConnection) -> None:
        begin(socket)
        with suppress(TimeoutError):
            while True:
                data = socket.recv(timeout=0.3)
                if isinstance(data, bytes):
                    unasked.append(len(AudioFrame.unpack(data).pcm) // 4)
        say(socket, Stopped(samples_in=0, samples_out=0))

    send(handler, source)
    assert 0 < sum(unasked) <= LATENCY + RATE // 10 < len(SOUND)


def test_delays_are_counted_from_the_time_that_a_frames_first_sample_was_captured() -> None:
    ready = Ready(
        session="s",
        voice="v",
        sample_rate=16_000,
        encoding="f32le",
        hop_samples=320,
        latency_samples=LATENCY,
        provider="none",
        profile="low",
        why="",
    )
    listener = Listener(ready, 1600, zero=100.0, progress=None)
    listener.hear(AudioFrame(0, 320, bytes(4 * 320)), now=100.090)
    listener.hear(Pong(t=100.0), now=100.003)
    report = listener.report(1.0, realtime=True)
    np.testing.assert_allclose(report.ends, [70.0], atol=1e-3)
    np.testing.assert_allclose(report.round_trips, [3.0], atol=1e-3)
    assert report.missing == 1600 - 320


def test_a_file_of_one_sample_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "one.wav"
    soundfile.write(source, SOUND[:1], RATE, subtype="PCM_16")
    heard, _ = send(mirror(), source)
    np.testing.assert_allclose(heard, -SOUND[:1], atol=1e-4)


def test_frames_that_are_lost_leave_silence_in_their_place(source: Path) -> None:
    lost = range(1000, 3000)

    def lose(frame: AudioFrame) -> list[AudioFrame]:
        return [] if frame.position in lost else [frame]

    heard, report = send(mirror(lose), source, realtime=True)
    gone = heard == 0.0
    assert report.missing == np.count_nonzero(gone & (SOUND != 0.0)) > 0
    np.testing.assert_allclose(heard[~gone], -SOUND[~gone], atol=1e-4)
    assert "lost 0.1" in report.summary()


def test_frames_out_of_order_are_put_in_order(source: Path) -> None:
    held: list[AudioFrame] = []

    def swap(frame: AudioFrame) -> list[AudioFrame]:
        held.append(frame)
        if len(held) < 2 and frame.position + len(frame.pcm) // 4 < len(SOUND):
            return []
        frames = held[::-1]
        held.clear()
        return frames

    heard, report = send(mirror(swap), source, realtime=True)
    np.testing.assert_allclose(heard, -SOUND, atol=1e-4)
    assert report.missing == 0


def test_what_the_server_silenced_is_counted(source: Path) -> None:
    def conceal(frame: AudioFrame) -> list[AudioFrame]:
        return [frame._replace(flags=Flag.CONCEALED)] if frame.position == 320 else [frame]

    _, report = send(mirror(conceal), source, realtime=True)
    assert report.concealed == 320


def test_what_was_refused_but_not_fatal_is_reported(source: Path) -> None:
    def handler(socket: ServerConnection) -> None:
        begin(socket)
        say(socket, Failure(code="bad_message", message="odd", fatal=False))
        say(socket, Stopped(samples_in=0, samples_out=0))

    _, report = send(handler, source)
    assert report.refused == ("odd",)
    assert report.missing == len(SOUND)


def test_the_progress_reaches_the_end(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with running(mirror()) as url:
        settings = SendSettings(server=url, realtime=False)
        send_file(source, tmp_path / "out.flac", settings, lambda *done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == (len(SOUND), len(SOUND))


def hang_up(socket: ServerConnection) -> None:
    begin(socket)
    socket.recv()
    socket.close(1011, "broken")


def send_beyond(socket: ServerConnection) -> None:
    begin(socket)
    socket.send(AudioFrame(0, len(SOUND) - 1, bytes(8)).pack())


@pytest.mark.parametrize(
    ("handler", "message"),
    [(refuse, "No voice"), (hang_up, "broken"), (send_beyond, "sent sample")],
)
def test_when_the_server_fails_the_error_says_so_and_nothing_is_written(
    handler: Handler, message: str, source: Path
) -> None:
    with pytest.raises(LinkError, match=message):
        send(handler, source)
    assert [path.name for path in source.parent.iterdir()] == ["in.wav"]


def test_bad_places_and_files_are_found_before_the_server_is_asked(source: Path) -> None:
    nobody = SendSettings(server="ws://127.0.0.1:1")
    with pytest.raises(ConfigError, match="must end in"):
        send_file(source, source.with_name("out.xyz"), nobody)
    with pytest.raises(AudioError, match="No file"):
        send_file(source.with_name("none.wav"), source.with_name("out.wav"), nobody)
