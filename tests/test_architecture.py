"""The folders depend on each other in one direction only, and stay readable."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from stream.models.store import STARTERS

ROOT = Path(__file__).parent.parent
AREAS = ("stream", "server", "offline", "clients")
MAY_IMPORT = {
    "stream": set[str](),
    "server": {"stream"},
    "offline": {"stream"},
    "clients": {
        "server.protocol",
        "stream.errors",
        "stream.files",
        "stream.audio",
        "stream.controls",
        "stream.device",
        "stream.home",
        "stream.options",
    },
}
MAY_IMPORT_TOO = {  # one place only: `timbral mic --local` has the converter inside
    "clients/local.py": {"stream.engine", "stream.ladder", "stream.models.store", "stream.tune"},
}
KEPT_IN = {  # packages that only these places may import
    "torch": ("offline/train/", "offline/importer.py", "offline/separate/pymss.py"),
    "pymss_core": ("offline/separate/pymss.py",),
    "audio_separator": ("offline/separate/audio_separator.py",),
    "onnx": (
        "stream/importer/",
        "stream/models/slotted.py",  # loaded on GPUs only
        "offline/train/",
        "offline/separate/mdx.py",  # its tensors' names
    ),
    "onnxruntime": ("stream/models/session.py", "stream/models/slots.py", "offline/train/"),
    "faiss": ("stream/models/index.py", "offline/"),
    "aiohttp": ("server/",),
    "websockets": ("clients/",),
    "sounddevice": ("clients/portaudio.py",),
    "pulsectl": ("clients/pulse.py",),
    "soundfile": ("stream/files.py", "offline/"),
    "parselmouth": ("stream/models/f0/recordings.py", "offline/"),
    "pedalboard": ("offline/effects/board.py",),  # GPL-3
    "piper": ("offline/say/piper.py",),  # GPL-3
    "python_stretch": ("offline/keyshift.py",),
    "ray": ("offline/jobs/cluster.py", "server/cluster/app.py"),
    "pyworld": ("stream/models/f0/recordings.py", "offline/"),
}
UNLISTED = {"parselmouth": ["praat-parselmouth"]}  # what a wheel does not tell of itself
NOT_IN_STREAM = {"asyncio", "socket", "aiohttp", "websockets", "torch", "logging"}
LIGHT = ("server.protocol", "stream.errors", "clients.link", "timbral")
HEAVY = {"numpy", "onnxruntime", "faiss", "soundfile", "aiohttp", "torch"}
LONGEST_FUNCTION, LONGEST_MODULE = 60, 400  # lines


def sources(*areas: str) -> list[Path]:
    return sorted(path for area in areas or AREAS for path in (ROOT / area).rglob("*.py"))


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in [*sources(), ROOT / "timbral.py"]:
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def imports(tree: ast.AST) -> set[str]:
    """The dotted names of all modules, and names from modules, that a piece of source imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, allowed: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in allowed)


def forbidden(area: str, names: set[str]) -> set[str]:
    """Those of `names` that lie in another of our areas than `area` may import."""
    ours = {name for name in names if name.split(".")[0] in {*AREAS, "timbral"} - {area}}
    return {name for name in ours if not within(name, MAY_IMPORT[area])}


def test_an_import_in_the_wrong_direction_would_be_found() -> None:
    wrong = ast.parse("def f():\n    from server.protocol import Start\n    import timbral")
    assert forbidden("stream", imports(wrong)) == {"server.protocol.Start", "timbral"}
    assert forbidden("clients", imports(wrong)) == {"timbral"}
    assert forbidden("clients", imports(ast.parse("from server import call"))) == {"server.call"}


@pytest.mark.parametrize("area", AREAS)
def test_an_area_imports_only_what_it_may(area: str) -> None:
    for path in sources(area):
        found = forbidden(area, imports(ast.parse(path.read_text("utf-8"))))
        more = MAY_IMPORT_TOO.get(path.relative_to(ROOT).as_posix(), set[str]())
        found = {name for name in found if not within(name, more)}
        assert not found, f"{path.relative_to(ROOT)} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize("package", KEPT_IN)
def test_a_package_is_known_in_one_place_only(package: str) -> None:
    for path, tree in trees():
        if not path.startswith(KEPT_IN[package]):
            assert not {n for n in imports(tree) if n.split(".")[0] == package}, path


def test_the_converter_knows_no_sockets_tasks_logs_or_torch() -> None:
    for path in sources("stream"):
        tops = {name.split(".")[0] for name in imports(ast.parse(path.read_text("utf-8")))}
        assert not tops & NOT_IN_STREAM, path


def test_in_the_converter_only_the_download_reaches_for_the_network() -> None:
    for path in sources("stream"):
        names = imports(ast.parse(path.read_text("utf-8")))
        if any(within(name, {"urllib.request", "http.client"}) for name in names):
            assert path == ROOT / "stream" / "importer" / "download.py"


def test_what_converts_speech_loads_no_importer() -> None:
    code = "import stream.engine, stream.models.store, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(run.stdout.split()) & {"onnx", "stream.importer", "urllib.request", "torch"}


@pytest.mark.parametrize("module", LIGHT)
def test_what_is_to_be_light_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(run.stdout.split()) & HEAVY


@pytest.mark.parametrize("area", AREAS)
def test_verbs_import_what_they_need_when_they_are_called(area: str) -> None:
    for path in sorted((ROOT / area).rglob("command.py")):
        tree = ast.parse(path.read_text("utf-8"))
        top = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
        ours = {name for name in imports(top) if name.split(".")[0] in AREAS}
        modules = {name.rpartition(".")[0] for name in ours}
        modules -= {"stream.options", "stream.command", "stream.device"}
        light = rf"{area}\.\w+\.(command|options)"
        assert all(re.fullmatch(light, module) for module in modules), path


def test_whatever_is_imported_at_run_time_is_declared() -> None:
    declared = {re.split(r"[^\w.-]", text)[0].lower() for text in requires("timbral") or []}
    provided = UNLISTED | dict(packages_distributions())
    for path, tree in trees():
        for top in {name.split(".")[0] for name in imports(tree)}:
            if top in sys.stdlib_module_names or top in {*AREAS, "timbral"}:
                continue
            names = provided.get(top, [top])  # what is not installed here is called as imported
            ours = {name.lower().replace("_", "-") for name in names} & declared
            assert ours, f"{path} imports {top}"


@pytest.mark.parametrize("area", AREAS)
def test_no_dependency_ships_our_folder_names(area: str) -> None:
    assert set(packages_distributions().get(area, [])) <= {"timbral"}


@pytest.mark.slow
def test_the_wheel_holds_the_command_the_models_and_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    folders = (
        *(f"stream/models/{name}" for name in STARTERS),
        "stream/models/assets",
        "clients/web",
        "offline/effects/built_in",
    )
    data = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    code = {path for path in sources() if "__pycache__" not in path.parts}
    wanted = {path.relative_to(ROOT).as_posix() for path in data | code}
    assert not (wanted | {"timbral.py"}) - held
    assert any(name.endswith("synth.onnx") for name in held)
    assert not [name for name in held if name.startswith(("tests/", ".ci/"))]


def test_functions_fit_on_a_screen_and_modules_are_read_in_one_sitting() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= LONGEST_FUNCTION, f"{path}: {node.name} has {lines} lines"
        lines = len((ROOT / path).read_text("utf-8").splitlines())
        assert lines <= LONGEST_MODULE, f"{path} has {lines} lines"


def test_no_module_state_changes_behind_ones_back() -> None:
    for path, tree in trees():
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), path
        assert "sys.path" not in ast.unparse(tree), path


def test_every_public_thing_says_what_it_is() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for path, tree in trees():
        assert ast.get_docstring(tree) or not tree.body, f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, kinds) and not node.name.startswith("_") and node.name != "main":
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"
