"""Every error raised on purpose.

TimbralError
├── ConfigError           a setting is wrong; the message names it and what is allowed
├── AudioError            audio cannot be used: a file that is no audio, samples that are no numbers
├── ModelError            a model file cannot be used
│   ├── ModelNotFound         no such file
│   ├── ModelMismatch         the file is not the model that is expected there
│   ├── BadCheckpoint         a file cannot be imported: it is damaged, or of another kind
│   ├── HostileFile           a file would do more than hold data; nothing in it was run
│   ├── AssetMissing          a model that voices share is not installed
│   ├── DownloadFailed        it could not be fetched
│   └── DeviceUnavailable     the device asked for cannot run it
├── VoiceError            a voice cannot be used
│   ├── VoiceNotFound         no voice of that name
│   └── BadBundle             its folder is incomplete, altered or of another format
├── TrainingError         a voice cannot be trained, or its training broke down
│   ├── CheckpointError       what training goes on from cannot be written or read
│   └── BadExport             the voice that came out is not the one that was trained
├── JobNotFound           there is no job of that id
├── Cancelled             somebody wanted the work to end; raised out of a progress callback
├── DeviceError           a microphone, a loudspeaker or the virtual microphone cannot be used
└── LinkError             the server cannot be reached, or ended the conversation

`ValueError` stays what it is: a programmer's wrong argument. The message of every class here is
fit to show to a user: what is wrong, and what to do.
"""

from collections.abc import Iterable
from pathlib import Path


class TimbralError(Exception):
    """Base class."""


class ConfigError(TimbralError):
    """Raised when a setting is wrong."""


class AudioError(TimbralError):
    """Raised when audio cannot be read or holds something other than sound."""


class ModelError(TimbralError):
    """Raised when a model file cannot be used."""


class ModelNotFound(ModelError):
    """Raised when a model file is missing."""

    def __init__(self, path: Path, advice: str) -> None:
        self.path = path
        super().__init__(f"No model at {path}. {advice}")


class ModelMismatch(ModelError):
    """Raised when a file loads but is another model than the one that belongs there."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path.name}: {why}.")


class BadCheckpoint(ModelError):
    """Raised when a file of weights is damaged, or is not what can be imported."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path.name} was not imported: {why}")


class HostileFile(ModelError):
    """Raised when a file asks for more than to be read: code to run, a place to write, memory."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path.name} was refused: {why}. Nothing in it was run, nothing was kept. "
            "Get the file from a source that you trust."
        )


class AssetMissing(ModelError):
    """Raised when a model that voices share is not installed; the text says how to get it."""

    def __init__(self, identity: str, text: str) -> None:
        self.identity = identity
        super().__init__(text)


class DownloadFailed(ModelError):
    """Raised when a file cannot be fetched from anywhere, or there is no room for it."""


class DeviceUnavailable(ModelError):
    """Raised when ONNX Runtime cannot run on the device that was asked for."""

    def __init__(
        self, device: str, available: Iterable[str], advice: str = "", why: str = ""
    ) -> None:
        self.device = device
        super().__init__(
            f"ONNX Runtime cannot use {device} here{f' ({why})' if why else ''}; "
            f"it offers {', '.join(available)}. {f'{advice}. ' if advice else ''}"
            "Choose `--device cpu`, or see `timbral doctor` for what is missing."
        )


class VoiceError(TimbralError):
    """Raised when a voice cannot be used."""


class VoiceNotFound(VoiceError):
    """Raised when there is no voice of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"No voice '{name}'. There are: {', '.join(sorted(known)) or 'none'}.")


class BadBundle(VoiceError):
    """Raised when a voice's folder is incomplete, altered, or of another format."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(
            f"The voice in {path} was refused: {why}. Remove it or add the voice again."
        )


class TrainingError(TimbralError):
    """Raised when a voice cannot be trained: too little speech, no base, a collapse."""


class CheckpointError(TrainingError):
    """Raised when a training run's state cannot be written or read."""


class BadExport(TrainingError):
    """Raised when a voice's graphs say something else than the network that was trained."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The voice was not installed: {why}. Export another step (timbral train export), and "
            "tell us of it: this is a fault of timbral's or of this machine's ONNX Runtime."
        )


class JobNotFound(TimbralError):
    """Raised when there is no job of that id, or it is somebody else's."""

    def __init__(self, identity: str) -> None:
        super().__init__(f"No job '{identity}'. See `timbral jobs list`.")


class Cancelled(TimbralError):
    """Raised from a progress callback to end the work at once; nothing unfinished stays."""


class DeviceError(TimbralError):
    """Raised when sound cannot be recorded or played here."""


class LinkError(TimbralError):
    """Raised on the client's side when the server is away or ends the conversation.

    code     the protocol's, or ""
    retry_s  seconds after which the server says that another try may succeed, or 0
    """

    def __init__(self, text: str, code: str = "", retry_s: float = 0.0) -> None:
        self.code = code
        self.retry_s = retry_s
        super().__init__(text)
