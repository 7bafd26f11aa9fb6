"""What docs/deploy holds is fit to be used: linters pass it, and it names what there is."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.config import ServerConfig
from server.figures import Figures
from server.metrics import Histogram, Summary
from server.settings import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
NAME = re.compile(r"\b(?:timbral|process)_[a-z_]+\b")


def known() -> set[str]:
    """Every name that a query may use."""
    figures = Figures()
    names = set(figures.registry.names())
    for name, (instrument, _) in figures.registry._instruments.items():  # pyright: ignore[reportPrivateUsage]
        if isinstance(instrument, Histogram | Summary):
            names |= {f"{name}_sum", f"{name}_count"}
        if isinstance(instrument, Histogram):
            names.add(f"{name}_bucket")
    return names


def queries() -> list[str]:
    """Of the dashboard and of the alerts."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    alerts = re.findall(r"expr: (.+)", (DEPLOY / "alerts.yml").read_text("utf-8"))
    return [*shown, *asked, *alerts]


def test_queries_name_only_metrics_that_there_are() -> None:
    names = known()
    for query in queries():
        found = set(NAME.findall(query))
        assert found, f"no metric in {query}"
        assert found <= names, f"{found - names} in {query}"
        assert query.count("(") == query.count(")")


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = set(NAME.findall(" ".join(queries())))
    for name in Figures().registry.names():
        if not name.startswith("process_start"):
            assert {name, f"{name}_bucket"} & shown, f"{name} is shown nowhere"


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        covered = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not covered & cells
        assert at["x"] + at["w"] <= 24
        cells |= covered
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_their_linter_and_what_matters_to_us(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "it comes with the extra `dev`"
    run = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    text = path.read_text("utf-8")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line[:1].isalpha()]
    last = {word: rest for word, rest in steps}
    assert re.fullmatch(r"[1-9]\d*", last["USER"]), "it must not be root"
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["ENTRYPOINT"].startswith("["), "a shell would swallow the signal"
    assert "HEALTHCHECK" in last
    assert not re.search(r"TIMBRAL_TOKEN=(?!a-long-secret)", text), "a token belongs in no image"
    for word, rest in steps:
        if word == "FROM" and not rest.startswith("base"):
            assert re.search(r":[\w.-]*\d", rest), f"{rest} is no fixed version"
        for source in rest.split()[:-1] if word == "COPY" and "--from" not in rest else ():
            assert (ROOT / source).exists(), source


def test_what_an_image_sets_are_settings() -> None:
    for path in DOCKERFILES:
        found = dict(
            re.findall(r"\b(TIMBRAL_\w+)=(\S+)", path.read_text("utf-8").split("\nENV PATH")[1])
        )
        config = load_config(None, {**found, "TIMBRAL_TOKEN": "a-long-secret"}, {})
        assert config.host == "0.0.0.0"
        port = re.search(r"EXPOSE (\d+)", path.read_text("utf-8"))
        assert port is not None
        assert int(port[1]) == ServerConfig().port


def test_the_settings_of_the_service_are_understood_and_bear_its_times() -> None:
    config = load_config(DEPLOY / "timbral.toml", {}, {})
    assert config.reachable_by_all
    assert config.asks_for_token
    unit = (DEPLOY / "timbral.service").read_text("utf-8")
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert config.drain_s + config.grace_s + 5 < int(stop[1])
    assert "serve --config /etc/timbral/timbral.toml" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_the_unit_is_what_systemd_understands_and_is_shut_off(tmp_path: Path) -> None:
    unit = (DEPLOY / "timbral.service").read_text("utf-8")
    unit = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit)
    unit = re.sub(r"(User|Group)=timbral", r"\1=root", unit)
    (tmp_path / "timbral.service").write_text(unit)
    verify = ["systemd-analyze", "verify", "--man=no", tmp_path / "timbral.service"]
    run = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "timbral.service" not in run.stderr, run.stderr
    assert run.returncode == 0, run.stderr


def test_the_page_on_security_names_every_attack_and_only_tests_that_there_are() -> None:
    told = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text("utf-8")))

    def tests_of(*path: str) -> set[str]:
        text = ROOT.joinpath("tests", *path).read_text("utf-8")
        return set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))

    attacks = tests_of("e2e", "test_attacks.py")
    others = tests_of("e2e", "test_resume.py") | tests_of("server", "test_resume.py")
    assert attacks <= told <= attacks | others


def test_figures_and_events_that_operators_read_of_are_there() -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert set(NAME.findall(page)) <= known()
    said = set[str]()
    for path in (ROOT / "server").glob("*.py"):
        for call in re.findall(
            r"(?:_tell|\.say)\((.*?)[,)]\n?", path.read_text("utf-8"), re.DOTALL
        ):
            said |= set(re.findall(r"\"([^\"]+)\"", call))
    listed = page.split("who did what:")[1].split(".")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == said
