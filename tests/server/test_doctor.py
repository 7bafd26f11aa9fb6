import socket
from pathlib import Path

import pytest

from server import doctor
from server.doctor import Finding, examine, free_port, package, processors, python, runtime

VERSIONS = {"onnxruntime": "1.20.0", "onnxruntime-gpu": "1.21.0"}


def test_a_machine_on_which_the_tests_run_is_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRAL_HOME", str(tmp_path / "not" / "there" / "yet"))
    findings = list(examine(port=0))
    assert [finding for finding in findings if not finding.healthy] == []
    assert str(tmp_path) in next(f.found for f in findings if f.about == "store")
    assert any(finding.about == "starter" for finding in findings)


def test_what_is_wrong_says_what_to_do() -> None:
    wrong = [
        python((3, 9, 18)),
        processors(1),
        package("no-such-package", "nothing", needed=True),
        package("no-such-package", "little", needed=False),
        *runtime(lambda name: None),
    ]
    assert all(finding.advice for finding in wrong)
    assert [finding.verdict for finding in wrong] == ["FIX", "note", "FIX", "note", "FIX"]
    assert all(finding.advice in str(finding) for finding in wrong)


def test_two_builds_of_onnx_runtime_are_one_too_many() -> None:
    first = next(runtime(VERSIONS.get))
    assert not first.healthy
    assert first.advice.endswith("pip install onnxruntime-gpu")


def test_a_gpu_that_is_not_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    _, devices = runtime({"onnxruntime": "1.20.0"}.get)
    assert devices.verdict == "note"
    assert "timbral[gpu]" in devices.advice


def test_a_port_that_is_taken_is_told_and_another_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        taken = free_port(port)
    assert taken.verdict == "note"
    assert f"--port {port + 1}" in taken.advice
    assert free_port(port).verdict == "ok"


def test_a_store_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "writable", lambda folder: False)
    assert "TIMBRAL_HOME" in doctor.store().advice


def test_a_starter_that_was_altered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.errors import BadBundle
    from stream.models.store import Store

    def fail(self: Store, name: str) -> None:
        raise BadBundle(Path("starter"), "synth.onnx was altered")

    monkeypatch.setattr(Store, "load", fail)
    found = doctor.starter()
    assert not found.healthy
    assert "synth.onnx was altered" in found.found


def test_a_finding_without_advice_is_one_line() -> None:
    assert str(Finding("ok", "Python", "3.12.1")) == "ok    Python       3.12.1"
