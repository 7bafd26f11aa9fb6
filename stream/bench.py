"""`timbral bench`: what a voice costs on this machine, as a Markdown report."""

import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from stream.controls import Controls
from stream.device import Device
from stream.models.session import reason, runtime_version
from stream.models.voice import Voice
from stream.profiles import Profile
from stream.timing import Report, Spread, measure
from stream.tune import first_with_room


def bench(
    voice: Voice, device: Device, profiles: list[Profile], seconds: float, controls: Controls
) -> Iterator[tuple[str, bool]]:
    """Pieces of the report, as they are measured, each with whether it kept up with the audio."""
    yield header(voice, device), True
    reports: list[Report] = []
    for profile in profiles:
        report = measure(voice, profile, seconds, controls=controls)
        reports.append(report)
        yield table(report), report.in_time
    if len(reports) > 1:
        choice = first_with_room(reports)
        yield f"\n`auto` takes {choice.profile.name} here: {choice.why}.", True


def header(voice: Voice, device: Device) -> str:
    """The machine, the software, and the voice that the figures belong to, asked for `device`."""
    rows = {
        "voice": f"{voice.card.name}, {voice.card.sample_rate} Hz, encoder {voice.card.encoder}",
        "provider": f"{voice.provider}, 1 thread ({reason(device, voice.provider)})",
        "machine": f"{cpu_name()}, {platform.system()} {platform.machine()}",
        "software": f"timbral {commit()}, onnxruntime {runtime_version()}, numpy {np.__version__}, "
        f"Python {platform.python_version()}",
    }
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def table(report: Report) -> str:
    """One profile as a Markdown table."""
    profile = report.profile
    rows = [
        f"\n### {profile.name}: {profile.hop_ms} ms hop, algorithmic latency "
        f"{report.latency_ms:.1f} ms, RTF {report.rtf:.3f}\n",
        "| stage | p50 ms | p95 ms | p99 ms | budget ms |",
        "|---|---:|---:|---:|---:|",
        *(row(stage, spread, "") for stage, spread in report.stages.items()),
        row("**whole hop**", report.whole, str(profile.hop_ms)),
    ]
    if not report.in_time:
        rows.append("\np99 exceeds the hop: this profile is too fast for this machine.")
    return "\n".join(rows)


def row(name: str, spread: Spread, budget: str) -> str:
    """One line of the table."""
    return f"| {name} | {spread.p50:.2f} | {spread.p95:.2f} | {spread.p99:.2f} | {budget} |"


def cpu_name() -> str:
    """What the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def commit() -> str:
    """The version, with the commit when run from a checkout."""
    try:
        release = version("timbral")
    except PackageNotFoundError:
        release = "from source"
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return release
    return f"{release} at {found.stdout.strip()}"
