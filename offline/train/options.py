"""The options of `timbral train`, by the settings that they set. Light: loads typer, no model."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal

import typer

# setting: (option, type, what it does)
TRAINING: Mapping[str, tuple[str, Any, str]] = {
    "sample_rate": ("--rate", int, "Hz of an rvc voice: 32000, 40000 or 48000."),
    "steps": ("--steps", int, "Updates of the weights."),
    "minutes": ("--minutes", float, "Or: about how long to train."),
    "batch": ("--batch", int, "Stretches of speech at once."),
    "accumulate": ("--accumulate", int, "Batches an update."),
    "frames": ("--frames", int, "10 ms frames of a stretch."),
    "segment": ("--segment", int, "Of them, spoken aloud."),
    "precision": ("--precision", Literal["fp32", "bf16", "fp16"], "Of the computation."),
    "rate": ("--lr", float, "Learning rate."),
    "critics_rate": ("--critics-lr", float, "Of the critics."),
    "average": ("--average", float, "Of the averaged weights, kept each step."),
    "clip": ("--clip", float, "Longest gradient."),
    "every": ("--every", int, "Steps between examinations."),
    "save_every": ("--save-every", int, "Steps between checkpoints."),
    "patience": ("--patience", int, "Examinations without a gain until it ends; 0: never."),
    "base": ("--base", str, "auto, none, a narrow voice, or a folder with G and D."),
    "narrower": ("--narrower", int, "Divides rvc's widths; 1 fits the published base."),
}
DATA: Mapping[str, tuple[str, Any, str]] = {
    "f0": ("--f0", str, "Pitch detector.  [default: swift]"),
    "high_pass_hz": ("--high-pass", float, "Hz; 0 is off.  [default: 48]"),
    "denoise": ("--denoise", float, "0 off .. 1.  [default: 0]"),
    "loudness": (
        "--loudness",
        Literal["recording", "off"],
        "Bring recordings to one level.  [default: recording]",
    ),
    "held_out": ("--held-out", float, "Share of the speech to judge by.  [default: 0.05]"),
    "telephone": ("--telephone/--no-telephone", bool, "Take 8 kHz sound."),
}


def trainable(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb all these options; those that were given arrive as `training` and `data`."""
    own = [p for p in signature(verb).parameters.values() if p.name not in ("training", "data")]
    added = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, typer.Option(option, help=text)],
        )
        for name, (option, kind, text) in {**TRAINING, **DATA}.items()
    ]

    @wraps(verb)
    def with_options(**options: Any) -> None:
        given = {
            name: value for name in (*TRAINING, *DATA) if (value := options.pop(name)) is not None
        }
        verb(
            **options,
            training={name: given[name] for name in TRAINING if name in given},
            data={name: given[name] for name in DATA if name in given},
        )

    with_options.__signature__ = Signature([*own, *added])  # pyright: ignore[reportAttributeAccessIssue]
    return with_options
