"""`argosy chat`: a conversation with a model, streamed."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from argosy.base.errors import NotNow, PeerError, UserError
from argosy.cli.options import WHERE, add_place
from argosy.cli.places import place

if TYPE_CHECKING:
    from argosy.edge.http.model_api import ModelApi

MAX_LINE_BYTES = 1 << 20


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "chat",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}: at the Gateway's own address where it answers from here; on "
        "a cluster whose network is not reached from here, through the API server.",
        epilog=f"examples: argosy chat · argosy chat --model smollm2 · echo 'What is a fleet?' | argosy chat\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("message", nargs="*", help="one message to ask; without it, a conversation begins")
    parser.add_argument("--model", help="which model (default: the only one, or the first)")
    parser.add_argument("--url", help="base URL of the API, ending in /v1 (default: the Gateway's)")
    parser.add_argument("--system", help="a system message to begin with")
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="tokens per answer (default 512)")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends."""
    try:
        return asyncio.run(_converse(args))
    except KeyboardInterrupt:
        print()
        return 0


async def _converse(args: argparse.Namespace) -> int:
    from argosy.edge.kube.port import StoreUnavailable  # noqa: PLC0415 (other verbs do without)

    async with AsyncExitStack() as stack:
        api = await _way(args, stack)
        try:
            await _talk(api, args)
        except StoreUnavailable:
            raise
        except PeerError as error:
            raise NotNow(f"{error}; is it running? argosy status") from error
    return 0


async def _way(args: argparse.Namespace, stack: AsyncExitStack) -> "ModelApi":
    """Find the way to the models, and say which it is where that is no plain address."""
    if args.url:
        from argosy.edge.http.model_api import DirectApi  # noqa: PLC0415

        return await stack.enter_async_context(DirectApi(args.url.rstrip("/")))
    from argosy.apps.fleet.model_api import open_model_api  # noqa: PLC0415

    found = place(args)
    fleet = await stack.enter_async_context(found.open())
    api = await stack.enter_async_context(open_model_api(fleet))
    if found.on_cluster:
        print(f"argosy: asking at {api.way}", file=sys.stderr)
    return api


async def _talk(api: "ModelApi", args: argparse.Namespace) -> None:
    model = args.model or await _first_model(api)
    messages: list[dict[str, str]] = [{"role": "system", "content": args.system}] if args.system else []
    interactive = sys.stdin.isatty() and not args.message
    if interactive:
        print(f"{model} at {api.way}. Ctrl-D ends.")
    async for line in _lines(" ".join(args.message), interactive=interactive):
        messages.append({"role": "user", "content": line})
        body = {"model": model, "messages": messages, "stream": True, "max_tokens": args.max_tokens}
        messages.append({"role": "assistant", "content": await _answer(api, body)})


async def _first_model(api: "ModelApi") -> str:
    from argosy.apps.fleet.model_api import models  # noqa: PLC0415

    found = await models(api)
    if not found:
        raise NotNow(f"{api.way} serves no model yet; see: argosy status")
    return found[0]


async def _lines(message: str, *, interactive: bool) -> AsyncIterator[str]:
    if message:
        yield message
        return
    while True:
        if interactive:
            print("\n> ", end="", flush=True)
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        if line.strip():
            yield line.strip()


async def _answer(api: "ModelApi", body: dict[str, Any]) -> str:
    """Print the answer as it comes, and give it whole."""
    import msgspec  # noqa: PLC0415

    from argosy.edge.http.model_api import ApiAnswer  # noqa: PLC0415

    parts: list[str] = []
    rest = b""
    try:
        async with aclosing(api.pieces("POST", "/chat/completions", msgspec.json.encode(body))) as pieces:
            async for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    text = _text(line)
                    parts.append(text)
                    print(text, end="", flush=True)
                if len(rest) > MAX_LINE_BYTES:
                    raise UserError("the model's answer has a line that never ends")
    except ApiAnswer as answer:
        raise UserError(f"the gateway answered {answer.status}: {_reason(answer.text)}") from answer
    print()
    return "".join(parts)


def _text(line: bytes) -> str:
    """Give the text in a line of a stream of server-sent events. Raises UserError for an error in it."""
    import msgspec  # noqa: PLC0415

    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
        return ""
    event = msgspec.json.decode(line[len(b"data: ") :])
    if "error" in event:
        raise UserError(f"the model failed: {event['error'].get('message', event['error'])}")
    return "".join(choice.get("delta", {}).get("content") or "" for choice in event.get("choices", ()))


def _reason(text: str) -> str:
    import msgspec  # noqa: PLC0415

    try:
        return str(msgspec.json.decode(text)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return text[:500]
