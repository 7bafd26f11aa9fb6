"""The verbs of the command `timbral` that serve.

What a verb does is imported when it is called.
"""

from typing import Annotated

import typer

from stream.options import DeviceName, VoiceName

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8765,
    voice: VoiceName = "starter",
    device: DeviceName = "auto",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TIMBRAL_TOKEN", help="What clients must send; needed off this machine."
        ),
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="Streams at once.  [default: two a core]")
    ] = None,
) -> None:
    """Serve live conversion over WebSocket.

    Listens until Ctrl-C; a page at its address shows that it is alive.

    \b
    Examples:
      timbral serve
      timbral serve --port 9000 --voice starter
      timbral serve --host 0.0.0.0 --token a-long-secret
    """
    from dataclasses import replace

    from server.app import Running
    from server.config import ServerConfig
    from server.service import serve as run

    config = ServerConfig(host=host, port=port, voice=voice, device=device, token=token)
    if max_streams is not None:
        config = replace(config, max_streams=max_streams)

    def announce(running: Running) -> None:
        delays = ", ".join(f"{name} {ms:.0f} ms" for name, ms in running.latencies.items())
        typer.echo(
            f"timbral listens on {running.url}\n"
            f"  voice     {running.voice} on {running.provider}\n"
            f"  latency   {delays}, before computing and network\n"
            f"  try it    timbral send speech.wav out.wav"
            + ("" if port == 8765 else f" --server {running.url}")
        )

    run(config, announce)
