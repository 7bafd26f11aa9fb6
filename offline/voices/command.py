"""The verbs of `timbral voices` that mix, compare and look into voices.

What a verb does is imported when it is called.
"""

from typing import Annotated

import typer

from stream.options import progress


def add_verbs(voices: typer.Typer) -> None:
    """Give the group `timbral voices` these verbs."""
    voices.command("info")(info)
    voices.command("blend")(blend)
    voices.command("compare")(compare)


def info(name: Annotated[str, typer.Argument(help="One of `timbral voices list`.")]) -> None:
    """Show what a voice says of itself, and what it consists of.

    That is its licence, consent, source, pitch and needs, how it was trained or mixed, how many
    weights it has and how large its retrieval index is.

    \b
    Example:
      timbral voices info starter
    """
    from offline.voices.analysis import analyse
    from stream.models.store import Store

    found = analyse(name, Store()).told
    width = max(14, *(len(key) for key, _ in found))
    for key, value in found:
        typer.echo(f"{key:{width}} {value}")


def blend(
    voices: Annotated[list[str], typer.Argument(metavar="VOICE...", help="Two or more.")],
    name: Annotated[
        str, typer.Option(help="What to call the new voice.  [default: all their names]")
    ] = "",
    weights: Annotated[
        str | None,
        typer.Option(help="How much of each, as 0.7 0.3.  [default: equal]"),
    ] = None,
    difference: Annotated[
        bool, typer.Option(help="The first, and what makes the second differ from the third.")
    ] = False,
    amount: Annotated[float, typer.Option(help="Of the difference.")] = 1.0,
) -> None:
    """Mix voices into a new one.

    They must be of one kind, rate and encoder. The card of the new voice names its parents, whose
    licences and consents it inherits.

    \b
    Examples:
      timbral voices blend ada bob --weights 0.7 0.3 --name adab
      timbral voices blend ada bright dull --difference --amount 0.5 --name ada-bright
    """
    from offline.voices.blend import added, formula, weighted
    from offline.voices.blend import blend as run
    from stream.errors import ConfigError
    from stream.models.store import Store

    names, numbers = _shares(voices, weights)
    if difference:
        if len(names) != 3 or numbers is not None:
            raise ConfigError("--difference takes three voices, A B C, and no --weights.")
        parts = added(*names, amount=amount)
    else:
        parts = weighted(names, numbers)
    with progress(f"Mixing {', '.join(names)}") as show:
        card = run(parts, name or "-".join(names)[:64], Store(), progress=show)
    typer.echo(f"Added {card.name}: {formula(parts)}.")
    typer.echo(f"Hear it: timbral convert speech.wav out.wav --voice {card.name}")


def compare(
    one: Annotated[str, typer.Argument(help="A voice.")],
    other: Annotated[str, typer.Argument(help="Another.")],
) -> None:
    """Tell how alike two voices are.

    Their weights, where their networks are of one shape; the speakers of their previews, where
    the speaker model is installed (timbral models pull speaker-ge2e); their pitch.

    \b
    Example:
      timbral voices compare ada bob
    """
    from offline.voices.compare import compare as run
    from stream.models.store import Store

    for line in run(one, other, Store()).told:
        typer.echo(line)


def _shares(voices: list[str], weights: str | None) -> tuple[list[str], list[float] | None]:
    """The voices' names, and a number for each.

    The command line gives the numbers of `--weights 0.7 0.3` after the first as if they were more
    voices; they are the last ones.
    """
    from stream.errors import ConfigError

    if weights is None:
        return voices, None
    said, names, more = weights.replace(",", " ").split(), list(voices), list[str]()
    while len(names) > len(said) + len(more) and _number(names[-1]) is not None:
        more.insert(0, names.pop())
    numbers = [_number(word) for word in (*said, *more)]
    if any(number is None for number in numbers):
        raise ConfigError(f"--weights are numbers such as 0.7 0.3, not {weights!r}.")
    return names, [number for number in numbers if number is not None]


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
