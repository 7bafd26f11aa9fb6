"""A server of a cluster, without the cluster."""

import asyncio
import urllib.request
from urllib.error import URLError

import pytest
from calls import FakeVoices
from dial import HOP, frame, talking

from server.cluster.member import Member
from server.config import ServerConfig
from server.protocol import Stop
from stream.errors import ConfigError

CONFIG = ServerConfig(port=0, voice="ada", max_streams=4, easing=False, drain_s=20.0)


def test_a_member_tells_of_itself_drains_and_ends() -> None:
    async def main() -> None:
        member = Member(CONFIG, "b-2", "192.0.2.7", lambda _config: FakeVoices())
        await member.start()
        beat = await member.beat()
        assert (beat.replica, beat.scheme, beat.streams, beat.most) == ("b-2", "http", 0, 4)
        assert (beat.comes, beat.takes, beat.fullness) == (True, True, 0.0)
        assert beat.address.startswith("127.0.0.1:")
        url = f"http://{beat.address}"
        with await asyncio.to_thread(urllib.request.urlopen, f"{url}/readyz") as answer:
            assert answer.status == 200
        async with talking(url) as link:
            beat = await member.beat()
            assert (beat.streams, beat.fullness >= 0.25) == (1, True)
            draining = asyncio.create_task(member.drain())
            await asyncio.sleep(0.1)
            beat = await member.beat()
            assert (beat.comes, beat.takes, draining.done()) == (False, False, False)
            await link.send(frame(0, 5 * HOP))
            await link.send(Stop().model_dump_json())
            await asyncio.wait_for(draining, 10)
        await member.stop()
        with pytest.raises(URLError):
            await asyncio.to_thread(urllib.request.urlopen, f"{url}/readyz")

    asyncio.run(main())


def test_a_member_on_all_addresses_is_told_by_that_of_its_machine() -> None:
    async def main() -> None:
        config = ServerConfig(port=0, voice="ada", host="0.0.0.0", token="a-long-secret")
        member = Member(config, "b", "192.0.2.7", lambda _config: FakeVoices())
        await member.start()
        assert (await member.beat()).address.startswith("192.0.2.7:")
        await member.drain()
        await member.stop()

    asyncio.run(main())


def test_a_member_that_cannot_start_says_why() -> None:
    async def main() -> None:
        taken = Member(CONFIG, "a", "", lambda _config: FakeVoices())
        await taken.start()
        port = int((await taken.beat()).address.rsplit(":", 1)[1])
        config = ServerConfig(port=port, voice="ada")
        other = Member(config, "b", "", lambda _config: FakeVoices())
        with pytest.raises(ConfigError, match="Cannot listen"):
            await other.start()
        await taken.stop()

    asyncio.run(main())
