"""What a name means, what is gathered about it, and what comes of asking for a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from argosy.api.gateway import BackendRef, HeaderMatch, ParentReference, RouteMatch, RouteRule
from argosy.api.inference import GROUP
from argosy.api.llmservice import StoredService
from argosy.api.objects import Condition, Object, ObjectMeta
from argosy.apps.fleet.examine import examine
from argosy.apps.fleet.fleet import Fleet
from argosy.edge.http.pages import DirectPages
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Withheld
from harness.evidence import CLASS, PROGRAMMED, component, made, pod, pool, route, said, served

ACCEPTED = (said("Accepted"), said("ResolvedRefs"))


def adopted_route(model: str | None) -> Any:
    """Somebody's own route to a pool."""
    headers = (HeaderMatch(name="X-Gateway-Model-Name", value=model),) if model else ()
    ref = BackendRef(group=GROUP, kind="InferencePool", name="theirs")
    rule = RouteRule(matches=(RouteMatch(headers=headers),), backend_refs=(ref,))
    parent = ParentReference(name="argosy", namespace="argosy-system")
    found = route(*ACCEPTED)
    spec = replace(found.spec, rules=(rule,), parent_refs=(parent,))
    return replace(found, metadata=ObjectMeta(name="their-route", namespace="default"), spec=spec)


SERVICE = (served(), made(), pod(), pool(*ACCEPTED), route(*ACCEPTED))
INSTALLATION = (PROGRAMMED, CLASS, component("envoy"), component("picker"))
THEIRS = (
    replace(pool(*ACCEPTED, app="theirs"), metadata=ObjectMeta(name="theirs", namespace="default")),
    pod("their-pod", labels={"app": "theirs"}),
)


class Reserved(InMemoryStore):
    """A store that shows its user no other namespace."""

    async def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        if namespace != "default":
            raise Withheld(f"{kind.PLURAL} cannot be read: forbidden")
        return await super().list(kind, namespace=namespace)

    async def get(self, kind: Any, key: Any) -> Any:
        if key.namespace != "default":
            raise Withheld(f"{kind.PLURAL} cannot be read: forbidden")
        return await super().get(kind, key)


async def fleet(*objects: Object, kind: type[InMemoryStore] = InMemoryStore, namespace: str | None = None) -> Fleet:
    numbers = iter(range(10_000))
    store = kind(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"u{next(numbers)}")
    for obj in objects:
        there = await store.apply(obj, owner="test")
        if "status" in obj.__struct_fields__:
            await store.write_status(replace(there, status=obj.status))  # type: ignore[attr-defined]
    return Fleet(store=store, pages=DirectPages(), namespace=namespace)


@pytest.mark.parametrize("name", ["m", "default/m"])
async def test_a_service_that_serves_is_found_with_all_that_belongs_to_it(name: str) -> None:
    verdict = await examine(await fleet(*SERVICE, *INSTALLATION), name, ask=False)
    assert verdict.serves, verdict
    assert {each.state for each in verdict.findings} == {"right"}


async def test_a_model_name_leads_to_its_service_also_when_it_looks_like_a_namespace() -> None:
    stored = StoredService(
        metadata=ObjectMeta(name="m", namespace="default"),
        spec={"model": {"name": "Qwen/Qwen3"}},
        status=SERVICE[0].status,
    )
    verdict = await examine(await fleet(stored, *SERVICE[1:], *INSTALLATION), "Qwen/Qwen3", ask=False)
    assert verdict.sentence.startswith("m serves: ")


async def test_a_service_of_the_same_model_that_is_older_is_the_reason() -> None:
    older = StoredService(metadata=ObjectMeta(name="older", namespace="team"), spec={"model": {"name": "m"}})
    verdict = await examine(await fleet(older, *SERVICE, *INSTALLATION), "default/m", ask=False)
    assert verdict.serves  # of the same instant, the first by name keeps it
    assert (await examine(await fleet(older, *SERVICE, *INSTALLATION), "team/older", ask=False)).serves is False


@pytest.mark.parametrize(("model", "name"), [("their-model", "their-model"), (None, "their-route")])
async def test_a_pool_without_a_service_is_found_by_its_routes_model_or_name(model: str | None, name: str) -> None:
    verdict = await examine(await fleet(*THEIRS, adopted_route(model), *INSTALLATION), name, ask=False)
    assert verdict.serves, verdict
    assert verdict.sentence.startswith(f"{name} serves: 1 of 1 pods is ready")


async def test_a_route_that_leads_to_no_pool_says_so() -> None:
    verdict = await examine(await fleet(adopted_route("x"), *INSTALLATION), "x", ask=False)
    assert "There is no InferencePool" in verdict.sentence
    bare = replace(route(*ACCEPTED), metadata=ObjectMeta(name="bare", namespace="default"))
    assert "There is no InferencePool" in (await examine(await fleet(bare, *INSTALLATION), "bare", ask=False)).sentence


async def test_a_name_that_nothing_has_is_met_with_one_like_it() -> None:
    verdict = await examine(await fleet(*SERVICE), "default/mm", ask=False)
    assert not verdict.serves
    assert "Did you mean default/m?" in verdict.sentence


async def test_what_may_not_be_read_is_said_and_is_no_reason() -> None:
    verdict = await examine(await fleet(*SERVICE, kind=Reserved, namespace="default"), "m", ask=False)
    said_so = [each.sentence for each in verdict.findings if each.sentence.startswith("Not known")]
    assert said_so == [
        "Not known: gateways cannot be read: forbidden.",
        "Not known: pods cannot be read: forbidden.",
    ]
    assert not any("envoy" in each.sentence for each in verdict.findings)


async def test_a_pod_of_a_laptop_says_itself_why_it_ended() -> None:
    ended = pod(
        ready=False,
        state={"waiting": {"reason": "CrashLoopBackOff"}},
        last_state={"terminated": {"exitCode": 3, "message": "no weights"}},
    )
    parts = [each for each in SERVICE if each.KIND != "Pod"]
    verdict = await examine(await fleet(*parts, ended, *INSTALLATION), "m")
    assert verdict.sentence == "m does not serve: Pod m-0 ends with exit code 3: no weights."


@asynccontextmanager
async def gateway_answering(status: int) -> AsyncIterator[tuple[Object, ...]]:
    """An installation whose Gateway answers so; it is a real server."""

    async def answer(request: web.Request) -> web.Response:
        assert (await request.json())["max_tokens"] == 1
        return web.json_response({"error": {"message": "it says"}}, status=status)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    listeners = (replace(PROGRAMMED.spec.listeners[0], port=port),)
    address = replace(PROGRAMMED.status.addresses[0], value="127.0.0.1")
    gateway = replace(
        PROGRAMMED,
        spec=replace(PROGRAMMED.spec, listeners=listeners),
        status=replace(PROGRAMMED.status, addresses=(address,)),
    )
    try:
        yield (gateway, *INSTALLATION[1:])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "serves", "says"), [(200, True, "a token came in"), (503, False, "the answer was 503")]
)
async def test_what_serves_by_all_signs_is_asked_for_a_token(status: int, says: str, *, serves: bool) -> None:
    async with gateway_answering(status) as installation:
        verdict = await examine(await fleet(*SERVICE, *installation), "m")
    assert verdict.serves is serves
    assert says in verdict.sentence


async def test_a_gateway_that_cannot_be_asked_from_here_is_no_proof_of_anything() -> None:
    async with gateway_answering(200) as installation:
        pass
    verdict = await examine(await fleet(*SERVICE, *installation), "m")
    assert verdict.serves
    assert any("no answer came" in each.sentence for each in verdict.findings)


def test_conditions_of_the_harness_are_true_unless_said_otherwise() -> None:
    assert said("Ready") == Condition(type="Ready", status="True", reason="r", message="It is said.")
