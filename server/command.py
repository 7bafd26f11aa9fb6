"""The verbs of the command `timbral` that serve.

What a verb does is imported when it is called.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.device import KINDS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)
tokens = typer.Typer(help="Who may use a server, and how much.", no_args_is_help=True)
app.add_typer(tokens, name="tokens", rich_help_panel=None)

Host = Annotated[str | None, typer.Option(help="The address to listen on.  [default: 127.0.0.1]")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="0 takes any free one.  [default: 8765]")
]
FirstVoice = Annotated[
    str | None,
    typer.Option(
        "--voice", help="Loaded at start: one of `timbral voices list`.  [default: starter]"
    ),
]
OnDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICES",
        help=f"What the models run on: {', '.join(KINDS)}; cuda,cuda:1 are two GPUs.  "
        "[default: auto]",
    ),
]
Token = Annotated[
    str | None, typer.Option(help="What all clients must send; TIMBRAL_TOKEN is safer.")
]
Tokens = Annotated[Path | None, typer.Option(help="A token for each client: see `timbral tokens`.")]
Cert = Annotated[Path | None, typer.Option(help="TLS: certificate and chain, PEM.")]
Key = Annotated[Path | None, typer.Option(help="TLS: its private key, PEM.")]
MaxStreams = Annotated[
    int | None,
    typer.Option(min=1, help="At once; fewer when there is no room for more.  [default: 64]"),
]
DrainS = Annotated[
    float | None,
    typer.Option(min=0.0, help="For streams to end by themselves at SIGTERM.  [default: 5]"),
]
Log = Annotated[Literal["text", "json"] | None, typer.Option(help="How it logs.  [default: text]")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="All settings, as TOML; TIMBRAL_CONFIG names it, too."),
]
TokensFile = Annotated[
    Path | None,
    typer.Option("--file", help="Where they are kept.  [default: tokens.json beside the voices]"),
]
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")]


@app.command()
def serve(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    voice: FirstVoice = None,
    device: OnDevice = None,
    token: Token = None,
    tokens: Tokens = None,
    cert: Cert = None,
    key: Key = None,
    max_streams: MaxStreams = None,
    drain_s: DrainS = None,
    log: Log = None,
    config: ConfigFile = None,
) -> None:
    """Serve live conversion over WebSocket.

    Listens until Ctrl-C; a page at its address talks to it. What is not given here comes from the
    environment, then from the file: docs/configuration.md lists all settings.

    \b
    Examples:
      timbral serve
      timbral serve --port 9000 --voice starter
      timbral serve --host 0.0.0.0 --token a-long-secret
      timbral serve --config timbral.toml --log json
    """
    import os

    from server.service import greeting
    from server.service import serve as run
    from server.settings import load_config

    flags = {
        "host": host,
        "port": port,
        "voice": voice,
        "device": device,
        "token": token,
        "tokens": tokens,
        "cert": cert,
        "key": key,
        "max_streams": max_streams,
        "drain_s": drain_s,
        "log": log,
    }
    settings = load_config(config, os.environ, flags)
    run(settings, lambda running: typer.echo(greeting(running, settings)), context.obj)


@tokens.command("add")
def add_token(
    name: TokenName,
    voice: Annotated[
        list[str] | None,
        typer.Option(help="A voice that it is for; again for several.  [default: all]"),
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="Streams at once.  [default: the server's]")
    ] = None,
    minutes_per_day: Annotated[
        float | None, typer.Option(min=0.01, help="Of open streams, UTC.  [default: no limit]")
    ] = None,
    upload_mib: Annotated[
        int, typer.Option(min=0, help="The largest voice that it may add; 0 is none.")
    ] = 0,
    max_jobs: Annotated[
        int | None,
        typer.Option(min=0, help="Covers waiting or being made.  [default: the server's]"),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=0, help="For how long it is good.  [default: for ever]")
    ] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="It may read /metrics and delete voices.")
    ] = False,
    file: TokensFile = None,
) -> None:
    """Make a token, and print it: once, it is not kept.

    The file holds a hash of it. A server that runs with this file sees the change within a second.

    \b
    Examples:
      timbral tokens add ada
      timbral tokens add studio --voice starter --max-streams 2 --minutes-per-day 120
      timbral tokens add prometheus --operator --max-streams 1
    """
    from server.tokens import add_token as add
    from server.tokens import make_token, new_secret

    secret = new_secret()
    token = make_token(
        name,
        secret,
        days=days,
        voices=tuple(voice) if voice else None,
        max_streams=max_streams,
        minutes_per_day=minutes_per_day,
        upload_bytes=upload_mib << 20,
        max_jobs=max_jobs,
        operator=operator,
    )
    path = _tokens_file(file)
    add(path, token)
    typer.echo(secret)
    typer.echo(f"Added '{name}' to {path}; serve with --tokens {path}", err=True)


@tokens.command("list")
def list_tokens(file: TokensFile = None) -> None:
    """Show whom there are tokens for, one a line.

    \b
    Example:
      timbral tokens list
    """
    from server.auth import utc_day
    from server.tokens import read_tokens

    for token in read_tokens(_tokens_file(file)):
        facts = [
            "" if token.good(utc_day()) else "EXPIRED",
            f"until {token.expires}" if token.expires else "",
            f"voices {', '.join(token.voices)}" if token.voices is not None else "",
            f"{token.max_streams} streams" if token.max_streams is not None else "",
            f"{token.minutes_per_day:g} min a day" if token.minutes_per_day is not None else "",
            f"adds {token.upload_bytes >> 20} MiB" if token.upload_bytes else "",
            f"{token.max_jobs} jobs" if token.max_jobs is not None else "",
            "operator" if token.operator else "",
        ]
        shown = "; ".join(fact for fact in facts if fact)
        typer.echo(f"{token.name:20} since {token.made}  {shown}".rstrip())


@tokens.command("remove")
def remove_token(name: TokenName, file: TokensFile = None) -> None:
    """Withdraw a token; its streams end within a second.

    \b
    Example:
      timbral tokens remove ada
    """
    from server.tokens import remove_token as remove

    path = _tokens_file(file)
    remove(path, name)
    typer.echo(f"Removed '{name}' from {path}")


def _tokens_file(chosen: Path | None) -> Path:
    from stream.home import default_home

    return chosen if chosen is not None else default_home() / "tokens.json"
