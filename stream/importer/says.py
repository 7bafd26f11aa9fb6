"""What a checkpoint says of itself, in any of the ways that programs write it."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

SETTINGS: Final = (  # of the published list; some programs put the features' size before the rate
    *("spec_channels", "segment_size", "inter_channels", "hidden_channels", "filter_channels"),
    *("n_heads", "n_layers", "kernel_size", "p_dropout", "resblock", "resblock_kernel_sizes"),
    *("resblock_dilation_sizes", "upsample_rates", "upsample_initial_channel"),
    *("upsample_kernel_sizes", "spk_embed_dim", "gin_channels"),
)
ABOUT: Final = {  # under what the card shows it: under what files have it
    "name": ("model_name",),
    "author": ("author",),
    "epochs": ("epoch", "info"),
    "steps": ("step",),
    "made": ("creation_date",),
    "dataset": ("dataset_length",),
    "encoder": ("embedder_model", "embedder_name"),
}
CONTENTVEC = frozenset({"", "none", "hubert", "hubert_base", "contentvec", "content-vec"})
OTHER_NAMES = {
    "hubert_jp": "japanese-hubert-base",
    "rinna_hubert": "japanese-hubert-base",
    "hubert-base-japanese": "japanese-hubert-base",
    "hubert-base-korean": "korean-hubert-base",
}
USUAL_LAYER = {256: 9, 768: 12}
LONGEST = 200  # letters of one thing said


class Says:
    """Reads the entries of a checkpoint besides its weights. Nothing said is trusted: a thing of
    the wrong type counts as not said.
    """

    def __init__(self, extra: Mapping[Any, Any]) -> None:
        self._extra = {str(key): _parsed(value) for key, value in extra.items()}
        self._settings = _settings(self._extra)

    @property
    def configured_rate(self) -> int | None:
        """Hz, from the settings that the network was built with."""
        return rate(self._settings.get("sr"))

    @property
    def sample_rate(self) -> int | None:
        """Hz, from the settings or, where they are missing, from the file's own entry."""
        return self.configured_rate or rate(self._extra.get("sr"))

    @property
    def f0_median_hz(self) -> float | None:
        """The voice's own pitch, if it is one that people have."""
        value = self._extra.get("f0_median")
        if not isinstance(value, (int, float)) or not 20.0 <= value <= 2_000.0:
            return None
        return float(value)

    @property
    def about(self) -> dict[str, str]:
        """Who made it, how and when."""
        found: dict[str, str] = {}
        for label, keys in ABOUT.items():
            said = [text(self._extra.get(key)) for key in keys]
            shown = next((each for each in said if each), "")
            if shown:
                found[label] = shown
        return found

    def rates(self, count: int) -> tuple[int, ...] | None:
        """The decoder's upsampling rates, if there are `count`."""
        said = self._settings.get("upsample_rates")
        if not isinstance(said, (list, tuple)) or len(said) != count or not count:
            return None
        if not all(_is_count(step) and 1 <= step <= 480 for step in said):
            return None
        return tuple(said)

    def dilations(self, count: int) -> tuple[tuple[int, ...], ...]:
        """Of each of `count` residual blocks; RVC's own (1, 3, 5) where nothing is said."""
        said = self._settings.get("resblock_dilation_sizes")
        usual = ((1, 3, 5),) * count
        if not isinstance(said, (list, tuple)) or len(said) != count:
            return usual
        rows = [tuple(row) if isinstance(row, (list, tuple)) else () for row in said]
        right = all(row and all(_is_count(d) and 1 <= d <= 64 for d in row) for row in rows)
        return tuple(rows) if right else usual

    def speakers(self, count: int) -> tuple[str, ...]:
        """A name for each of `count` speakers."""
        said = self._extra.get("speaker_info")
        named = {str(k): text(v) for k, v in said.items()} if isinstance(said, dict) else {}
        return tuple(named.get(str(i)) or f"speaker {i}" for i in range(count))

    def embedder(self, dim: int) -> str:
        """The id of the content encoder, such as "contentvec-768"."""
        said = text(self._extra.get("embedder_model")) or text(self._extra.get("embedder_name"))
        name = said.lower().removesuffix("768").removesuffix("256").rstrip("-_ ")
        if name in CONTENTVEC:
            name = "contentvec"
        name = OTHER_NAMES.get(name, name)
        name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:40] or "contentvec"
        layer = self._extra.get("embedder_output_layer")
        if not _is_count(layer) or not 0 < layer < 100 or layer == USUAL_LAYER.get(dim):
            return f"{name}-{dim}"
        return f"{name}-{dim}-layer{layer}"


def rate(value: object) -> int | None:
    """Hz of 40000, "40000" or "40k"; None for anything else.

    >>> rate("40k"), rate(48000), rate("32000"), rate("fast")
    (40000, 48000, 32000, None)
    """
    if _is_count(value):
        return value if value > 1000 else 1000 * value
    found = (
        re.fullmatch(r"(\d{1,6})\s*(k?)(hz)?", value.strip().lower()) if _is_text(value) else None
    )
    if not found:
        return None
    number = int(found[1])
    return 1000 * number if found[2] or number < 1000 else number


def text(value: object) -> str:
    """What can be shown on one line, no longer than 200 letters; "" for what is no text."""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return ""
    return "".join(c if c.isprintable() else " " for c in str(value)[:LONGEST]).strip()


def _settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The network's settings by name: from `params`, else from the list `config`."""
    params, config = extra.get("params"), extra.get("config")
    if isinstance(params, dict) and "upsample_rates" in params:
        return {str(key): value for key, value in params.items()}
    if isinstance(config, dict):
        return {str(key): value for key, value in config.items()}
    if isinstance(config, (list, tuple)) and len(config) > len(SETTINGS):
        return {**dict(zip(SETTINGS, config, strict=False)), "sr": config[-1]}
    return {}


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _parsed(value: object) -> object:
    """safetensors keeps every entry as text: lists, mappings and numbers are read back."""
    if isinstance(value, str) and re.match(r"[\[{]|-?\d+(\.\d+)?$", value):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
