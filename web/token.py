"""The command `agent-comms token`: a token for somebody, and what AGENT_COMMS_READERS_FILE has to say of them."""

import json
import secrets

import click

RIGHTS = ("read", "speak", "operate")
# By which a token is known wherever it turns up.
PREFIX = "agc_"
BYTES = 32


def _printable(_context: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...]) -> object:
    for text in [value] if isinstance(value, str) else value:
        if not text.strip() or not text.isprintable():
            message = f"it takes printable text, but got {text!r}"
            raise click.BadParameter(message)
    return value


@click.command(short_help="Make a token for somebody who reads.")
@click.argument("name", callback=_printable)
@click.option(
    "--namespace",
    "namespaces",
    metavar="NS…",
    multiple=True,
    required=True,
    callback=_printable,
    help="A namespace that they read, or * for all; may be given several times.",
)
@click.argument("more", nargs=-1, metavar="", callback=_printable)
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(RIGHTS),
    default=("read",),
    show_default=True,
    help="What they may do; may be given several times.",
)
def token(name: str, namespaces: tuple[str, ...], more: tuple[str, ...], rights: tuple[str, ...]) -> None:
    """Print a new token for NAME, and the block that AGENT_COMMS_READERS_FILE needs to know it.

    The file gets the digest alone: the token is shown this once. To take another one's place, add the new block
    beside the old one, and take that away once the new token is in use.
    """
    from web.roster import digest_of

    made = PREFIX + secrets.token_urlsafe(BYTES)
    lines = {
        "name": json.dumps(name, ensure_ascii=False),
        "token_sha256": f'"{digest_of(made).hex()}"',
        "namespaces": _array(dict.fromkeys(namespaces + more)),
        "rights": _array(dict.fromkeys(rights)),
    }
    click.echo(f"The token, shown once, is for {name}:", err=True)
    click.echo(f"{made}\n")
    click.echo("AGENT_COMMS_READERS_FILE gets this:", err=True)
    click.echo("[[reader]]")
    for key, value in lines.items():
        click.echo(f"{key} = {value}")


def _array(words: dict[str, None]) -> str:
    # Of printable text TOML and JSON have one spelling.
    return f"[{', '.join(json.dumps(word, ensure_ascii=False) for word in words)}]"
