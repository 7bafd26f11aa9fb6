"""A real cover, asked for over HTTP."""

import asyncio
import io
import json
import time
from pathlib import Path

import aiohttp
import halves
import pytest
import soundfile
from assets import home_with
from dial import serving

from timbral import open_jobs

MOST_SECONDS = 240.0


@pytest.mark.slow
def test_a_song_sent_over_http_comes_back_as_a_cover(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra `offline` is not installed")
    (tmp_path / "models").mkdir()
    separator = home_with("spleeter-2stems") / "models" / "spleeter-2stems"
    (tmp_path / "models" / separator.name).symlink_to(separator)
    song = halves.write_song(tmp_path / "song.flac")

    async def main() -> tuple[list[str], bytes]:
        async with (
            serving(open_jobs=open_jobs, home=tmp_path, device="cpu") as server,
            aiohttp.ClientSession() as http,
        ):
            data = aiohttp.FormData({"settings": json.dumps({"key": 0, "format": "wav"})})
            data.add_field("song", song.read_bytes(), filename="A song.flac")
            async with http.post(f"{server.url}/v1/jobs", data=data) as answer:
                assert answer.status == 201, await answer.text()
                url = f"{server.url}{answer.headers['Location']}"
            end = time.monotonic() + MOST_SECONDS
            while True:
                async with http.get(url) as answer:
                    told = await answer.json()
                if told["ended"]:
                    break
                assert time.monotonic() < end, told
                await asyncio.sleep(0.2)
            assert (told["state"], told["why"]) == ("done", "")
            assert told["seconds"] == pytest.approx(1.5)
            async with http.get(url + "/result") as answer:
                return list(told["steps"]), await answer.read()

    steps, sound = asyncio.run(main())
    assert {"read", "separate", "f0", "convert", "mix"} <= set(steps)
    cover, rate = soundfile.read(io.BytesIO(sound))
    before, _ = soundfile.read(song)
    assert (cover.shape, rate) == (before.shape, halves.RATE)
    assert 0.01 < abs(cover - before).max() <= 2.0
