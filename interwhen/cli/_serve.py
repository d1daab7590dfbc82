"""``interwhen serve``: the gateway."""

from __future__ import annotations

import functools
import ipaddress
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import msgspec
from cyclopts import Group, Parameter

from interwhen._types.errors import MissingExtraError
from interwhen._types.monitors import Reading
from interwhen.cli import _exits
from interwhen.cli._text import joined

_SUPERVISION = Group("Supervision", sort_key=1)
_ACCESS = Group("Access", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)


def serve(
    *,
    upstream: Annotated[tuple[str, ...], Parameter(alias="-u", negative="")] = (),
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="", group=_SUPERVISION)] = (),
    offer: Annotated[tuple[str, ...], Parameter(negative="", group=_SUPERVISION)] = (),
    strategy: Annotated[str | None, Parameter(group=_SUPERVISION)] = None,
    offer_strategy: Annotated[tuple[str, ...], Parameter(negative="", group=_SUPERVISION)] = (),
    strategy_tokens: Annotated[int | None, Parameter(group=_SUPERVISION)] = None,
    locked: Annotated[bool | None, Parameter(negative="", group=_SUPERVISION)] = None,
    pass_unsupervised: Annotated[bool | None, Parameter(negative="", group=_SUPERVISION)] = None,
    off: Annotated[bool | None, Parameter(negative="", group=_SUPERVISION)] = None,
    reading: Annotated[Reading | None, Parameter(group=_SUPERVISION)] = None,
    detail: Annotated[Literal["off", "brief", "full"] | None, Parameter(group=_SUPERVISION)] = None,
    host: Annotated[str | None, Parameter(group=_ACCESS)] = None,
    port: Annotated[int | None, Parameter(group=_ACCESS)] = None,
    keys_file: Annotated[str | None, Parameter(group=_ACCESS)] = None,
    origin: Annotated[tuple[str, ...], Parameter(negative="", group=_ACCESS)] = (),
    max_concurrent: Annotated[int | None, Parameter(group=_LIMITS)] = None,
    max_waiting: Annotated[int | None, Parameter(group=_LIMITS)] = None,
    max_body: Annotated[int | None, Parameter(group=_LIMITS)] = None,
    drain_seconds: Annotated[float | None, Parameter(group=_LIMITS)] = None,
    config: Path | None = None,
    schema: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve the OpenAI API in front of other servers, while verifiers check what their models write.

    Flags win over INTERWHEN_* variables, and these over interwhen.toml; docs/gateway.md lists all settings.
    SIGTERM and Ctrl-C let running calls end; a second one ends them at once.

    Parameters
    ----------
    upstream
        A server with its version: http://localhost:8000/v1; or PATTERN=URL for the models whose names match
        PATTERN. May be given several times.
    monitor
        A monitor of every call, unless a rule or the request names others: NAME or NAME:OPTION=VALUE,OPTION=VALUE. May
        be given several times.
    offer
        A further monitor that requests may name. May be given several times.
    strategy
        The strategy of every call, unless a rule or the request names one: NAME or NAME:OPTION=VALUE, such as
        best-of-n:n=4.
    offer_strategy
        A strategy that requests may name, with exactly these options; without it, requests name none. May be given
        several times.
    strategy_tokens
        The most tokens that a strategy may generate for one call.
    locked
        Let requests only add monitors, and name strategies of --offer-strategy and contexts; refuse the other routes,
        except plain ones such as models and embeddings.
    pass_unsupervised
        Serve the routes that no monitor reads (other routes that generate text, and stored answers), and count these
        calls.
    off
        Switch supervision off: serve every call unsupervised, and count it. The signal SIGUSR1 switches it off later,
        and SIGUSR2 on.
    reading
        What clients see: text as it comes (live), only checked text (gate), or the complete answer (final).
    detail
        How much the field "interwhen" of chunks and answers says.
    host
        The address to listen on; default: 127.0.0.1, this machine only.
    port
        The port to listen on; default: 8400. With 0, the system chooses a free port.
    keys_file
        A file with keys, one per line; a client must send one of them.
    origin
        The origin of a web page that may call the gateway. May be given several times.
    max_concurrent
        The largest number of calls that are served at one time.
    max_waiting
        The largest number of calls that wait for a slot.
    max_body
        The largest request body, in bytes.
    drain_seconds
        How long running calls may continue after SIGTERM.
    config
        The configuration file; default: the file that INTERWHEN_CONFIG names, or interwhen.toml in this directory, if
        it exists.
    schema
        Print the JSON Schema of the configuration file, and exit.
    """
    try:
        from interwhen.gateway._config import load_config
        from interwhen.gateway._config import schema as config_schema
        from interwhen.gateway._gateway import Gateway
        from interwhen.gateway._server import address, listen, run_options
        from interwhen.gateway._server import serve as serve_gateway
    except ModuleNotFoundError as error:
        raise MissingExtraError("interwhen serve", "gateway") from error
    if schema:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(config_schema())).decode() + "\n")
        return _exits.OK
    flags: dict[str, Any] = {
        "upstreams": upstream,
        "monitors": monitor,
        "offers": offer,
        "strategy": strategy,
        "strategies": offer_strategy,
        "strategy_tokens": strategy_tokens,
        "locked": locked,
        "pass_unsupervised": pass_unsupervised,
        "off": off,
        "reading": reading,
        "detail": detail,
        "host": host,
        "port": port,
        "keys_file": keys_file,
        "origins": origin,
        "limits.concurrent": max_concurrent,
        "limits.waiting": max_waiting,
        "limits.body_bytes": max_body,
        "limits.drain_seconds": drain_seconds,
    }
    settings = load_config({name: value for name, value in flags.items() if value not in (None, ())}, path=config)
    gateway = Gateway(settings)
    listener = listen(settings)
    watching = ", ".join(monitor.name for monitor in gateway.chooser.usual) or "no monitors"
    if settings.strategy:
        watching = f"{watching}, by {settings.strategy}"

    if not gateway.keys and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        print(
            f"warning: every client that reaches {joined(settings.host)} may call: set keys with --keys-file",
            file=sys.stderr,
        )

    def ready() -> None:
        print(f"serving {address(listener)} with {joined(watching)}", file=sys.stderr, flush=True)

    with listener:
        ended = anyio.run(
            functools.partial(serve_gateway, gateway, listener, ready=ready), backend_options=run_options()
        )
    return _exits.INTERRUPTED if ended == signal.SIGINT else _exits.OK
