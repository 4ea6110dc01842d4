"""`argosy chat`: a conversation with a model, streamed."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from argosy.base.errors import NotNow, UserError
from argosy.cli.options import add_state_directory

MAX_LINE_BYTES = 1 << 20


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "chat",
        help=summary,
        description=summary,
        epilog="examples: argosy chat · argosy chat --model smollm2 · echo 'What is a fleet?' | argosy chat",
    )
    parser.add_argument("message", nargs="*", help="one message to ask; without it, a conversation begins")
    parser.add_argument("--model", help="which model (default: the only one, or the first)")
    parser.add_argument("--url", help="base URL of the API (default: that of the running instance)")
    parser.add_argument("--system", help="a system message to begin with")
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="tokens per answer (default 512)")
    add_state_directory(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends."""
    try:
        return asyncio.run(_converse(args))
    except KeyboardInterrupt:
        print()
        return 0


async def _converse(args: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415 (other verbs do without)

    url = args.url or await _instance_url(args)
    messages: list[dict[str, str]] = [{"role": "system", "content": args.system}] if args.system else []
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=MAX_LINE_BYTES) as session:
        try:
            model = args.model or await _first_model(session, url)
            interactive = sys.stdin.isatty() and not args.message
            if interactive:
                print(f"{model} at {url}. Ctrl-D ends.")
            async for line in _lines(" ".join(args.message), interactive=interactive):
                messages.append({"role": "user", "content": line})
                body = {"model": model, "messages": messages, "stream": True, "max_tokens": args.max_tokens}
                answer = await _answer(session, f"{url}/chat/completions", body)
                messages.append({"role": "assistant", "content": answer})
        except aiohttp.ClientError as error:
            raise NotNow(f"{url} does not answer: {error}; is it running? argosy status") from error
    return 0


async def _instance_url(args: argparse.Namespace) -> str:
    from argosy.apps.local.observation import gateway_url  # noqa: PLC0415
    from argosy.cli.options import running_instance  # noqa: PLC0415
    from argosy.edge.kube.port import StoreUnavailable  # noqa: PLC0415
    from argosy.edge.kube.remote import RemoteStore  # noqa: PLC0415

    try:
        async with RemoteStore(running_instance(args)[0].address) as store:
            url = await gateway_url(store)
    except StoreUnavailable as error:
        raise NotNow(f"the instance is starting or ending: {error}; try again in a moment") from error
    if not url:
        raise NotNow("the instance is starting; try again in a moment")
    return url


async def _first_model(session: Any, url: str) -> str:
    async with session.get(f"{url}/models") as response:
        models = [model["id"] for model in (await response.json())["data"]]
    if not models:
        raise NotNow(f"{url} serves no model yet; see: argosy status")
    return str(models[0])


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


async def _answer(session: Any, url: str, body: dict[str, Any]) -> str:
    """Print the answer as it comes, and give it whole."""
    import msgspec  # noqa: PLC0415

    parts: list[str] = []
    async with session.post(url, json=body) as response:
        if response.status != 200:
            raise UserError(f"the gateway answered {response.status}: {_reason(await response.text())}")
        async for line in response.content:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = msgspec.json.decode(line[len(b"data: ") :])
            if "error" in event:
                raise UserError(f"the model failed: {event['error'].get('message', event['error'])}")
            for choice in event.get("choices", ()):
                text = choice.get("delta", {}).get("content") or ""
                parts.append(text)
                print(text, end="", flush=True)
    print()
    return "".join(parts)


def _reason(text: str) -> str:
    import msgspec  # noqa: PLC0415

    try:
        return str(msgspec.json.decode(text)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return text[:500]
