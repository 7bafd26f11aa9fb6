"""Does orders on the machines of a Ray cluster: https://docs.ray.io. The extra `cluster` brings it.

The machines share the home folder, so that each finds the songs and what was made of them before,
and has `timbral` installed. SQLite stays with the one process that has the queue.
"""

from typing import Any

from offline.jobs.job import End, News, Order, Running, Work
from offline.jobs.local import CORES_A_JOB, outcome
from stream.errors import ConfigError


class RayExecutor:
    """Runs `work` for each order as a task of Ray.

    address  of a cluster: `auto` finds the one here; None starts one on this machine
    cores    that a task asks for

    Raises `ConfigError` when Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self, work: Work, address: str | None = "auto", cores: int = CORES_A_JOB, **options: Any
    ) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
            from ray.util.queue import Queue  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ConfigError("Ray is not here: pip install 'timbral[cluster]'") from None
        self._ray: Any = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            try:
                ray.init(address, log_to_driver=False, **options)
            except (ConnectionError, RuntimeError) as error:
                raise ConfigError(
                    f"No Ray cluster at {address}: {error}. Start one: ray start --head"
                ) from error
        self._queue_of: Any = Queue
        self._cores = min(cores, int(ray.cluster_resources().get("CPU", 1)))
        self._task: Any = ray.remote(num_cpus=self._cores, max_retries=0)(_task)
        self._work = work

    @property
    def places(self) -> int:
        """As many as the cluster has cores for at present."""
        total = self._ray.cluster_resources().get("CPU", 1)
        return max(1, int(total) // self._cores)

    def begin(self, order: Order) -> Running:
        """Hand it to the cluster."""
        said = self._queue_of(actor_options={"num_cpus": 0})
        return _Task(self._ray, self._task.remote(self._work, order, said), said)

    def close(self) -> None:
        """Leave the cluster."""
        if self._mine:
            self._ray.shutdown()


class _Task:
    """See `Running`."""

    def __init__(self, ray: Any, result: Any, said: Any) -> None:
        self._ray = ray
        self._result = result
        self._said = said

    def news(self) -> News:
        errors = self._ray.exceptions
        ready, _ = self._ray.wait([self._result], timeout=0)
        steps: dict[str, tuple[int, int]] = {}
        try:
            for name, done, total in self._said.get_nowait_batch(self._said.qsize()):
                steps[name] = (done, total)
        except errors.RayError:
            pass  # the machine that it was on is gone; Ray tells of the task, too
        if not ready:
            return News(steps)
        try:
            end: End = self._ray.get(self._result)
        except errors.TaskCancelledError:
            end = End("cancelled")
        except errors.RayError:
            end = End("died")
        self._said.shutdown(force=True)
        return News(steps, end)

    def cancel(self) -> None:
        self._ray.cancel(self._result, force=False)

    def kill(self) -> None:
        self._ray.cancel(self._result, force=True)


def _task(work: Work, order: Order, said: Any) -> End:
    """What a worker of the cluster does; Ray cancels it by an interrupt."""
    try:
        return outcome(work, order, lambda *now: said.put(now))
    except KeyboardInterrupt:
        return End("cancelled")
