"""`argosy picker` as a process of its own, and a gRPC client that speaks to it as Envoy does."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from prometheus_client.parser import text_string_to_metric_families

from argosy.api.names import DESTINATION_NAMESPACE, SERVED, SUBSET, SUBSET_NAMESPACE

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
START_S = 20.0
_numbers = itertools.count(1)


class PickerProcess:
    """A running picker."""

    def __init__(self, store: str, address: str, log: Path, *options: str) -> None:
        self.address = f"{address}:9002"
        self.metrics_address = f"{address}:9090"
        self.log = log
        self._store = store
        self._options = options
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        arguments = ("picker", "--store", self._store, "--address", self.address)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "argosy",
                    *arguments,
                    "--metrics-address",
                    self.metrics_address,
                    *self._options,
                ),
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The running process."""
        assert self.process is not None, "it was not started"
        return self.process.pid

    async def ready(self) -> None:
        """Wait until it is ready."""
        async with asyncio.timeout(START_S):
            while await self.get("/readyz") != 200:
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, wait for its end, give its exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

    async def get(self, path: str) -> int:
        """Give the status of a GET, 0 when nobody answers."""
        try:
            async with _got(f"http://{self.metrics_address}{path}") as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0

    def page(self, path: str) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Get a page."""
        return _got(f"http://{self.metrics_address}{path}")

    async def metric(self, name: str, **labels: str) -> float:
        """Give the sum of all samples of a name that have these labels."""
        async with _got(f"http://{self.metrics_address}/metrics") as answer:
            page = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextlib.asynccontextmanager
async def _got(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        yield answer


@contextlib.asynccontextmanager
async def picker_process(
    store: str, folder: Path, *options: str, address: str | None = None, wait: bool = True
) -> AsyncIterator[PickerProcess]:
    """Run a picker until the block ends; it has ended by then or is killed. `options` are more of its command line."""
    number = next(_numbers)
    where = address or f"127.{129 + os.getpid() // 256 % 120}.{os.getpid() % 256}.{number}"
    picker = PickerProcess(store, where, folder / f"picker-{number}.log", *options)
    await picker.start()
    try:
        if wait:
            await picker.ready()
        yield picker
    finally:
        await picker.end(signal.SIGKILL)


class Stream:
    """One ext_proc stream, as Envoy opens it for one request."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def tell(self, **fields: Any) -> Any:
        """Send a message and give the reply, None when the stream has ended."""
        await self.call.write(pb.ProcessingRequest(**fields))
        reply = await self.call.read()
        return None if reply is grpc.aio.EOF else reply

    async def headers(self, *, end_of_stream: bool = False, hint: Any = None, **headers: str) -> Any:
        """Send request headers; underscores in names stand for hyphens, a leading `p_` for a colon.

        `hint` is the subset hint, a string or a list.
        """
        given = {"p_method": "POST", "p_path": "/v1/chat/completions", "p_authority": "argosy", **headers}
        values = [
            HeaderValue(key=name.replace("p_", ":", 1).replace("_", "-"), raw_value=value.encode())
            for name, value in given.items()
        ]
        message = pb.HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=end_of_stream)
        return await self.tell(request_headers=message, metadata_context=_said(SUBSET_NAMESPACE, SUBSET, hint))

    async def body(self, body: bytes) -> Any:
        """Send the whole body."""
        return await self.tell(request_body=pb.HttpBody(body=body, end_of_stream=True))

    async def ask(self, body: bytes) -> Any:
        """Send headers and body; gives the reply to the body."""
        reply = await self.headers()
        assert reply.WhichOneof("response") == "request_headers"
        return await self.body(body)

    async def feedback(self, served: str) -> Any:
        """Say who serves in the protocol's own way, as gateways do that have no attributes."""
        message = pb.ProcessingRequest(metadata_context=_said(DESTINATION_NAMESPACE, SERVED, served))
        message.response_headers.headers.headers.add(key=":status", raw_value=b"200")
        await self.call.write(message)
        return await self.call.read()

    async def response(self, served: str, status: str = "200") -> Any:
        """Say that the upstream has begun to answer."""
        message = pb.ProcessingRequest()
        message.response_headers.headers.headers.add(key=":status", raw_value=status.encode())
        message.attributes["envoy.filters.http.ext_proc"].update({"upstream.address": served})
        await self.call.write(message)
        return await self.call.read()

    async def end(self) -> grpc.StatusCode:
        """Half-close, and give the status that the stream ends with."""
        await self.call.done_writing()
        async with asyncio.timeout(10):
            return await self.call.code()


def _said(namespace: str, key: str, value: Any) -> Any:
    """Give metadata that says one thing; none for None."""
    metadata = base_pb2.Metadata()
    if value is not None:
        metadata.filter_metadata[namespace].update({key: value})
    return metadata


class Client:
    """A connection to a picker."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._process = channel.stream_stream(
            METHOD,
            request_serializer=pb.ProcessingRequest.SerializeToString,
            response_deserializer=pb.ProcessingResponse.FromString,
        )

    def stream(self, **metadata: str) -> Stream:
        return Stream(self._process(metadata=tuple(metadata.items())))

    async def health(self, service: str) -> int:
        """Ask for the health of a service: 1 is SERVING."""
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=Int32Value.FromString,
        )
        return int((await check(StringValue(value=service))).value)


@contextlib.asynccontextmanager
async def client_of(address: str, *options: tuple[str, Any]) -> AsyncIterator[Client]:
    """Connect to a picker."""
    sizes = (("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(address, options=[*sizes, *options]) as channel:
        yield Client(channel)


def destination(reply: Any) -> str:
    """Give the destination list of a reply, which header and metadata agree about."""
    phase = getattr(reply, reply.WhichOneof("response"))
    mutation = phase.response.header_mutation
    headers = {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}
    told = reply.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    assert headers["x-gateway-destination-endpoint"] == told
    return str(told)
