"""The cluster's application for Ray Serve: https://docs.ray.io. The extra `cluster` brings it.

    serve run server.cluster.app:app config=/etc/timbral/timbral.toml replicas=2 cpus=2

Ray starts the servers, each on a machine with room for it, starts new ones for those that die, and
more or fewer as they fill; `server.cluster.placement` tells clients which one to talk to.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.cluster.board import Beat, Board, calm, wanted
from server.cluster.member import Member, own_voices
from server.cluster.placement import Placement
from server.config import ServerConfig
from server.settings import load_config
from stream.errors import ConfigError

log = logging.getLogger("timbral.cluster")

BEAT_S = 0.5
HEARS_S = 2.0  # Ray itself would wait for an entrance until there is one
STARTS_S = 2.0  # longer than `drain_s` and `grace_s` together: then Ray kills
LOOK_S = 2.0  # between two of what decides how many servers there are
FULLNESS, ENTRANCE = "fullness", "entrance"


class Options(BaseModel):
    """What `serve run` is told after the application's name.

    config    of every server: TOML, as for `timbral serve --config`; the files that it names must
              be there on every machine
    replicas  servers at least
    most      servers at most; they come and go as they fill. None: always `replicas`
    cpus      processors of each, and its threads that convert
    gpus      of each: 1, or a part where several servers share one
    port      that they listen on; 0: any free one
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    config: Path | None = None
    replicas: int = Field(default=2, ge=1)
    most: int | None = Field(default=None, ge=1)
    cpus: int = Field(default=2, ge=1)
    gpus: float = Field(default=0.0, ge=0)
    port: int = Field(default=0, ge=0, le=65535)

    @model_validator(mode="after")
    def _in_order(self) -> "Options":
        if self.most is not None and self.most < self.replicas:
            raise ValueError("most must be replicas or more")
        return self


class Converter:
    """Ray's replica: runs one `Member`, and tells the `Entrance` of it."""

    async def __init__(self, config: ServerConfig, open_voices: Callable[..., Any]) -> None:
        import ray  # pyright: ignore[reportMissingImports]
        from ray import serve  # pyright: ignore[reportMissingImports]

        context: Any = serve.get_replica_context()
        name: str = context.replica_id.unique_id
        node: str = ray.util.get_node_ip_address()
        self._entrance: Any = serve.get_deployment_handle(ENTRANCE, context.app_name)
        self._member = Member(config, name, node, open_voices)
        await self._member.start()
        self._telling = asyncio.create_task(self._keep_telling())

    def check_health(self) -> None:
        """Ray starts another one when this raises."""
        if self._telling.done():
            raise RuntimeError("the server has ended")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """By which Ray starts and ends servers: see `replicas_wanted`."""
        return {FULLNESS: (await self._member.beat()).fullness}

    async def __del__(self) -> None:
        """Ray wants it gone, but waits for this."""
        self._telling.cancel()
        draining = asyncio.ensure_future(self._member.drain())
        await asyncio.sleep(0)  # it is told that it drains
        await self._tell()
        await draining
        await self._member.stop()

    async def _keep_telling(self) -> None:
        while True:
            await self._tell()
            await asyncio.sleep(BEAT_S)

    async def _tell(self) -> None:
        beat = await self._member.beat()
        try:
            await asyncio.wait_for(self._hears(beat), HEARS_S)
        except Exception as error:  # the entrance is being started, anew perhaps, or ended
            log.info("the entrance does not hear: %s", error)

    async def _hears(self, beat: Beat) -> None:
        await self._entrance.hear.remote(beat)


class Entrance:
    """Ray's ingress: what clients ask, and servers tell, first. Its `app` is a `Placement`."""

    app: Placement

    def __init__(self, _converters: object) -> None:
        pass

    def hear(self, beat: Beat) -> None:
        """A server tells of itself."""
        self.app.board.hear(beat, time.monotonic())


def replicas_wanted(context: Any) -> tuple[int, dict[str, Any]]:
    """Ray's autoscaling policy: see `server.cluster.board.wanted`."""
    told: Mapping[str, Mapping[Any, float]] = context.aggregated_metrics or {}
    running = int(context.target_num_replicas)
    fullness = list(told.get(FULLNESS, {}).values())
    state: dict[str, Any] = dict(context.policy_state or {})
    if len(fullness) < running:  # some are starting: nothing is known of those
        return running, {}
    count, since = wanted(fullness, running, calm(state), float(context.current_time))
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return min(max(count, int(least)), int(most)), {} if since is None else {"since": since}


def app(args: Mapping[str, Any]) -> Any:
    """The application as `serve run` and Ray's YAML build it; `args` are those of `Options`.

    Raises `ConfigError` for settings that cannot be, and without Ray Serve.
    """
    try:
        options = Options.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "options"
        raise ConfigError(f"{where}: {first['msg']}.") from error
    flags = {"port": options.port, "workers": options.cpus, "max_jobs": 0}
    return build(options, load_config(options.config, os.environ, flags), own_voices)


def build(options: Options, config: ServerConfig, open_voices: Callable[..., Any]) -> Any:
    """The application around any conversion.

    open_voices  is given the settings, on the machine of the server; Ray must be able to pickle it
    """
    try:
        from ray import serve  # pyright: ignore[reportMissingImports]
        from ray.serve.config import (  # pyright: ignore[reportMissingImports]
            AutoscalingConfig,
            AutoscalingPolicy,
        )
    except ImportError:
        raise ConfigError("Ray Serve is not here: pip install 'timbral[cluster]'") from None
    count: dict[str, Any] = {"num_replicas": options.replicas}
    if options.most is not None:
        policy = AutoscalingPolicy(policy_function=f"{__name__}:{replicas_wanted.__name__}")
        scale = AutoscalingConfig(
            min_replicas=options.replicas,
            max_replicas=options.most,
            policy=policy,  # which has its own patience
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            metrics_interval_s=LOOK_S,
            look_back_period_s=2 * LOOK_S,
        )
        count = {"autoscaling_config": scale}
    converters: Any = serve.deployment(
        Converter,
        name="converter",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        graceful_shutdown_timeout_s=config.drain_s + config.grace_s + STARTS_S,
        health_check_period_s=2.0,
        **count,
    )
    entered = serve.ingress(lambda: Placement(Board(), time.monotonic))(Entrance)
    entrance: Any = serve.deployment(
        entered, name=ENTRANCE, num_replicas=1, ray_actor_options={"num_cpus": 0}
    )
    return entrance.bind(converters.bind(config, open_voices))
