"""The second pick: which requests have their prompt computed elsewhere, where, and what is believed meanwhile."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.disaggregation import ANNOTATION
from argosy.api.kubernetes import LabelSelector
from argosy.api.names import (
    BOTH_ROLES,
    DECODE_ROLE,
    KV_LAYOUT_LABEL,
    LEG_HEADER,
    PREFILL_ROLE,
    PREFILLER_HEADER,
    ROLE_LABEL,
)
from argosy.api.objects import Object
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.legs import Result
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.prefills import MAX_BYTES, SET_ASIDE_S
from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.explanation import explanation
from argosy.edge.http.prefill import PrefillAnswer, PrefillFailed
from argosy.edge.rpc.ext_proc import Answer
from harness.picker_bench import HEAD, Bench
from harness.services import gateway, pod, pool, route
from harness.waiting import until

DECODE, DECODE_TOO, PREFILL, PREFILL_TOO = "127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.4"
PARAMS = {"do_remote_prefill": True, "remote_host": PREFILL, "remote_port": 5600}


def chat(tokens: int = 1000, **more: Any) -> bytes:
    """Give a body whose prompt has about so many tokens."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "abcd" * tokens}], **more}).encode()


def worker(address: str, role: str, layout: str = "a", *, ready: bool = True) -> Object:
    labelled = pod("a", address, ready=ready)
    labels = {**labelled.metadata.labels, ROLE_LABEL: role, KV_LAYOUT_LABEL: layout}
    return replace(labelled, metadata=replace(labelled.metadata, labels=labels))


def disaggregated(*workers: Object, **policy: Any) -> list[Object]:
    given = pool("a")
    annotations = {ANNOTATION: json.dumps(policy)}
    return [route("a", "m"), replace(given, metadata=replace(given.metadata, annotations=annotations)), *workers]


def bench(*workers: Object, **policy: Any) -> Bench:
    workers = workers or (worker(DECODE, DECODE_ROLE), worker(PREFILL, PREFILL_ROLE))
    made = Bench(gateway(), *disaggregated(*workers, **policy))
    made.picker.run_legs(Workers(PrefillAnswer(status=200, body=b"{}", took_s=0.0)))
    return made


class Workers:
    """Prefill workers that answer as told, and keep what they were asked."""

    def __init__(self, answer: PrefillAnswer | PrefillFailed) -> None:
        self.answer = answer
        self.asked: list[tuple[Endpoint, str, Mapping[str, str], bytes, float]] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def post(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> PrefillAnswer | PrefillFailed:
        self.asked.append((endpoint, path, headers, body, timeout_s))
        await self.hold.wait()
        return self.answer


def outcome(pick: Pick) -> str:
    assert pick.record.prefill is not None
    return pick.record.prefill.verdict.outcome


def test_a_long_prompt_is_computed_by_a_prefill_worker_that_is_never_a_destination() -> None:
    made = bench()
    pick = made.pick(chat())
    assert pick.destination == f"{DECODE}:8000"
    assert pick.prefill is not None
    assert pick.prefill.endpoint == Endpoint(PREFILL, 8000)
    assert outcome(pick) == "prefill"
    assert made.value("argosy_disaggregation_verdicts_total", pool="default/a", verdict="prefill") == 1.0
    assert made.value("argosy_prefill_legs_under_way") == 1.0
    split = {"model_name": "m", "decision_type": "prefill-decode"}
    assert made.value("llm_d_epp_disagg_decision_total", **split) == 1.0
    there = {"pool": "default/a", "endpoint": f"{PREFILL}:8000"}
    assert made.value("argosy_prefill_picks_total", **there) == 1.0
    made.see(gateway())
    assert made.value("argosy_prefill_picks_total", **there) is None


def test_a_short_prompt_and_one_that_is_cached_stay_at_the_decode_worker() -> None:
    made = bench(thresholdTokens=500)
    assert outcome(made.pick(chat(400))) == "below_threshold"
    first = made.pick(chat())
    assert first.prefill is not None
    meanwhile = made.pick(chat())
    assert meanwhile.prefill is not None, "what is on its way is not there yet"
    made.picker.prefills.ended(meanwhile, meanwhile.prefill, "cancelled", set_aside=False)
    assert outcome(made.pick(chat())) == "prefill"
    made.picker.prefills.ended(first, first.prefill, "done", set_aside=False)
    again = made.pick(chat())
    assert outcome(again) == "below_threshold"
    assert again.record.prefill is not None
    assert again.record.prefill.verdict.uncached_tokens < 10.0


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ([worker(DECODE, DECODE_ROLE)], "no_prefill_worker"),
        ([worker(DECODE, DECODE_ROLE), worker(PREFILL, PREFILL_ROLE, ready=False)], "no_prefill_worker"),
        ([worker(DECODE, DECODE_ROLE), worker(PREFILL, PREFILL_ROLE, "b")], "no_pair"),
        ([worker(DECODE, "")], "no_pair"),
        ([worker(DECODE, BOTH_ROLES)], "no_prefill_worker"),
    ],
)
def test_without_a_prefill_worker_of_the_same_layout_the_decode_worker_serves_alone(
    workers: list[Object], why: str
) -> None:
    pick = bench(*workers).pick(chat())
    assert pick.prefill is None
    assert outcome(pick) == why


def test_pairs_keep_to_one_layout() -> None:
    made = bench(
        worker(DECODE, DECODE_ROLE, "old"),
        worker(PREFILL, PREFILL_ROLE, "old"),
        worker(DECODE_TOO, DECODE_ROLE, "new"),
        worker(PREFILL_TOO, PREFILL_ROLE, "new"),
    )
    partner = {DECODE: PREFILL, DECODE_TOO: PREFILL_TOO}
    for number in range(8):
        pick = made.pick(chat(1000 + 1000 * number))
        assert pick.prefill is not None
        assert pick.prefill.endpoint.address == partner[pick.endpoints[0].address]


def test_workers_of_both_roles_serve_either_leg_but_never_both_of_one_request() -> None:
    made = bench(worker(DECODE, BOTH_ROLES), worker(DECODE_TOO, BOTH_ROLES))
    for number in range(6):
        pick = made.pick(chat(1000 + 1000 * number))
        assert pick.prefill is not None
        assert pick.prefill.endpoint != pick.endpoints[0]


def test_the_prompts_work_counts_at_the_prefill_worker_until_the_leg_ends() -> None:
    made = bench()
    pick = made.pick(chat())
    loads = {each.endpoint.address: each for loads in made.picker.believed().values() for each in loads}
    assert loads[PREFILL].backlog > 3.0
    assert loads[DECODE].backlog == 0.0
    assert (loads[PREFILL].held, loads[DECODE].held) == (1, 1)
    assert pick.prefill is not None
    made.picker.prefills.ended(pick, pick.prefill, "refused", set_aside=True)
    made.picker.prefills.compute_at_decode(pick, pick.prefill)
    loads = {each.endpoint.address: each for loads in made.picker.believed().values() for each in loads}
    assert loads[DECODE].backlog > 3.0
    assert (loads[PREFILL].held, loads[PREFILL].backlog) == (0, 0.0)
    assert outcome(made.pick(chat())) == "below_threshold", "it computes the prompt itself"
    assert outcome(made.pick(chat(3000))) == "set_aside"
    made.clock.now_s += SET_ASIDE_S + 1.0
    assert outcome(made.pick(chat(5000))) == "prefill"


def test_estimates_are_corrected_by_what_engines_report_and_the_error_is_shown() -> None:
    made = bench()
    pick = made.pick(chat())
    assert pick.prefill is not None
    made.picker.prefills.ended(pick, pick.prefill, "done", prompt_tokens=2000, set_aside=False)
    assert made.value("argosy_prompt_tokens_error_ratio") == pytest.approx(0.5, abs=0.02)
    later = made.pick(chat(3000))
    assert later.record.prefill is not None
    assert later.record.prefill.verdict.prompt_tokens == pytest.approx(6000, rel=0.1)
    assert later.record.prefill.verdict.error == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("more", [{"echo": True}, {"prompt_logprobs": 1}, {"cache_prompt": False}])
def test_an_answer_that_needs_its_own_prefill_gets_it(more: dict[str, Any]) -> None:
    assert outcome(bench().pick(chat(**more))) == "needs_own"


def test_what_is_no_generation_has_no_leg() -> None:
    made = bench()
    head = {**HEAD, ":path": "/v1/embeddings"}
    pick = made.picker.decide(RequestHead(headers=head), json.dumps({"model": "m", "input": "abcd" * 4000}).encode())
    assert isinstance(pick, Pick)
    assert outcome(pick) == "no_prompt"


def test_legs_hold_so_many_bytes_and_no_more() -> None:
    made = bench()
    outcomes = [outcome(made.pick(_other(number))) for number in range(9)]
    assert outcomes.count("prefill") == MAX_BYTES // (2 * len(_other(0)))
    assert outcomes[-1] == "too_many"


def _other(number: int) -> bytes:
    content = f"{number}" + "abcd" * 2_000_000
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


@pytest.mark.parametrize("name", ["kv_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room"])
def test_no_client_says_where_an_engine_reads_its_cache(name: str) -> None:
    refused = bench().ask(chat(4, **{name: None}))
    assert isinstance(refused, Answer)
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["param"] == name
    switching = Bench(gateway(), route("a", "m"), pool("a"), worker(DECODE, BOTH_ROLES))
    assert isinstance(switching.ask(chat(4, **{name: None})), Answer), "workers may move caches, whatever a pool says"
    whole = Bench(gateway(), route("a", "m"), pool("a"), pod("a", DECODE))
    assert isinstance(whole.ask(chat(4, **{name: None})), Pick), "a pool without prefill workers reads no such field"


def test_pods_of_others_with_a_sidecar_are_told_their_prefill_worker_in_a_header() -> None:
    sidecar = worker(DECODE, DECODE_ROLE)
    assert hasattr(sidecar, "spec")
    (engine,) = sidecar.spec.containers
    spec = replace(sidecar.spec, init_containers=(replace(engine, name="routing-proxy"),))
    theirs = LabelSelector(match_labels={"app": "theirs"})
    given = pool("a")
    workers = (of_app(replace(sidecar, spec=spec)), of_app(worker(PREFILL, PREFILL_ROLE)))
    made = Bench(gateway(), route("a", "m"), replace(given, spec=replace(given.spec, selector=theirs)), *workers)
    made.picker.run_legs(Workers(PrefillFailed(why="refused", sentence="")))
    pick = made.pick(chat())
    assert dict(pick.set_headers)[PREFILLER_HEADER] == f"{PREFILL}:8000"
    leg = made.picker.prefill(pick, RequestHead(headers=HEAD), _nothing)
    assert leg is not None
    assert leg.goes_on
    assert leg.body is None
    assert made.value("argosy_prefill_legs_under_way") == 1.0
    leg.answered()
    leg.cancel()
    assert made.value("argosy_prefill_legs_total", pool="default/a", outcome="done") == 1.0
    assert made.value("argosy_prefill_legs_under_way") == 0.0


def of_app(obj: Any) -> Object:
    labels = {**obj.metadata.labels, "app": "theirs"}
    found: Object = replace(obj, metadata=replace(obj.metadata, labels=labels))
    return found


def test_a_pool_of_ours_splits_no_requests_before_it_says_so() -> None:
    made = Bench(gateway(), route("a", "m"), pool("a"), worker(DECODE, DECODE_ROLE), worker(PREFILL, PREFILL_ROLE))
    made.picker.run_legs(Workers(PrefillFailed(why="refused", sentence="")))
    pick = made.pick(chat())
    assert (pick.destination, pick.prefill) == (f"{DECODE}:8000", None)


def _nothing(_result: Result) -> None:
    raise AssertionError("nobody waits")


async def leg_of(made: Bench, workers: Workers, body: bytes) -> tuple[Pick, Result]:
    made.picker.run_legs(workers)
    pick = made.pick(body)
    assert pick.prefill is not None
    came: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    made.picker.prefill(pick, RequestHead(headers={**HEAD, "authorization": "Bearer key"}), came.set_result)
    return pick, await asyncio.wait_for(came, 10)


async def test_a_leg_asks_for_one_token_and_gives_the_request_where_its_state_is() -> None:
    answer = json.dumps({"usage": {"prompt_tokens": 1020}, "kv_transfer_params": PARAMS}).encode()
    made, workers = bench(), Workers(PrefillAnswer(status=200, body=answer, took_s=0.1))
    body = chat(stream=True, max_tokens=9)
    pick, result = await leg_of(made, workers, body)
    assert isinstance(result, bytes)
    assert json.loads(result) == {**json.loads(body), "kv_transfer_params": PARAMS}
    ((endpoint, path, headers, sent, timeout_s),) = workers.asked
    assert (endpoint, path, timeout_s) == (Endpoint(PREFILL, 8000), "/v1/chat/completions", 30)
    assert headers["authorization"] == "Bearer key"
    assert headers["x-request-id"] == "r-1"
    assert headers[LEG_HEADER] == "prefill"
    assert dict(pick.set_headers)[LEG_HEADER] == "decode"
    assert json.loads(sent)["max_tokens"] == 1
    said = explanation(pick.record, (), made.picker.profile_of(pick.record.profile))
    assert said.prefill is not None
    assert (said.prefill.outcome, said.prefill.prompt_tokens) == ("done", 1020)
    assert f"{PREFILL}:8000 computed the prompt" in said.sentence
    assert "threshold 256" in said.sentence


@pytest.mark.parametrize(
    ("said", "outcome", "tokens"),
    [("1019", "moved", 1019), ("late", "late", 0), ("1021", "untold", 0), ("", "untold", 0), (None, "unanswered", 0)],
)
async def test_what_became_of_a_state_is_what_the_answer_says(said: str | None, outcome: str, tokens: int) -> None:
    answer = json.dumps({"usage": {"prompt_tokens": 1020}, "kv_transfer_params": PARAMS}).encode()
    made = bench()
    pick, _ = await leg_of(made, Workers(PrefillAnswer(status=200, body=answer, took_s=0.1)), chat())
    if said is not None:
        made.picker.arrived(pick, said)
    made.picker.ended(pick, answered=said is not None)
    assert pick.record.prefill is not None
    assert (pick.record.prefill.transfer, pick.record.prefill.moved_tokens) == (outcome, tokens)
    assert made.value("argosy_prefill_transfers_total", pool="default/a", outcome=outcome) == 1.0
    made.see(gateway())
    assert made.value("argosy_prefill_transfers_total", pool="default/a", outcome=outcome) is None


async def test_of_a_leg_that_failed_no_state_is_looked_for() -> None:
    made = bench()
    pick, _ = await leg_of(made, Workers(PrefillFailed(why="refused", sentence="")), chat())
    made.picker.arrived(pick, "1019")
    made.picker.ended(pick, answered=True)
    assert pick.record.prefill is not None
    assert pick.record.prefill.transfer == ""
    made.picker.ended(made.pick(chat(4)), answered=True)
    assert made.value("argosy_prefill_transfers_total", pool="default/a", outcome="moved") is None


def test_legs_of_the_same_prompt_that_are_under_way_are_counted() -> None:
    made = bench()
    first, second, other = made.pick(chat()), made.pick(chat()), made.pick(chat(1001))
    assert [alike(each) for each in (first, second, other)] == [0, 1, 0]
    for pick in (first, second):
        assert pick.prefill is not None
        made.picker.prefills.ended(pick, pick.prefill, "cancelled", set_aside=False)
    assert alike(made.pick(chat())) == 0


def alike(pick: Pick) -> int:
    assert pick.record.prefill is not None
    return pick.record.prefill.alike


@pytest.mark.parametrize(
    ("answer", "why", "aside"),
    [
        (PrefillFailed(why="refused", sentence=""), "refused", True),
        (PrefillFailed(why="timeout", sentence=""), "timeout", True),
        (PrefillAnswer(status=500, body=b"", took_s=0.0), "error", True),
        (PrefillAnswer(status=503, body=b"", took_s=0.0), "unavailable", False),
        (PrefillAnswer(status=400, body=b"", took_s=0.0), "rejected", False),
        (PrefillAnswer(status=200, body=b"{}", took_s=0.0), "no_params", True),
    ],
)
async def test_a_leg_that_fails_leaves_the_request_as_it_was(
    answer: PrefillAnswer | PrefillFailed, why: str, *, aside: bool
) -> None:
    made = bench()
    pick, result = await leg_of(made, Workers(answer), chat())
    assert result is None
    assert made.value("argosy_prefill_legs_total", pool="default/a", outcome=why) == 1.0
    assert made.value("argosy_prefill_legs_under_way") == 0.0
    said = explanation(pick.record, (), made.picker.profile_of(pick.record.profile))
    assert f"{PREFILL}:8000 was to compute the prompt, but it " in said.sentence
    assert outcome(made.pick(chat(9000))) == ("set_aside" if aside else "prefill")


async def test_a_service_may_rather_fail_than_prefill_at_its_decode_workers() -> None:
    made = bench(onPrefillFailure="fail")
    pick, result = await leg_of(made, Workers(PrefillFailed(why="refused", sentence="")), chat())
    assert isinstance(result, Refusal)
    answer = made.picker.given_up(replace(pick, is_foreign=False), result)
    assert answer.status == 503
    assert PREFILL not in answer.body.decode()
    assert "x-request-id" not in dict(answer.headers), "our own proxies give it"
    foreign = made.picker.given_up(pick, result)
    assert dict(foreign.headers)["x-request-id"] == pick.record.request
    assert pick.record.refused == "prefill_failed"
    assert made.value("argosy_refused_total", reason="prefill_failed") == 2.0
    again = made.ask(chat())
    assert isinstance(again, Answer), "while it is set aside, nobody else computes the prompt either"
    assert again.status == 503
    assert made.picker.beliefs.loads.held == 1
    assert isinstance(made.ask(chat(10)), Pick), "a short prompt needs no prefill worker"


async def test_what_a_prefill_worker_finds_fault_with_is_the_decode_workers_to_refuse() -> None:
    made = bench(onPrefillFailure="fail")
    _, result = await leg_of(made, Workers(PrefillAnswer(status=400, body=b"", took_s=0.0)), chat())
    assert result is None


async def test_a_worker_that_is_no_longer_ready_is_not_waited_for_unless_it_finishes_and_leaves() -> None:
    made, workers = bench(), Workers(PrefillAnswer(status=200, body=b"{}", took_s=0.0))
    workers.hold.clear()
    made.picker.run_legs(workers)
    pick = made.pick(chat())
    came: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    made.picker.prefill(pick, RequestHead(headers=HEAD), came.set_result)
    await until(lambda: len(workers.asked) == 1)
    gone: Any = worker(PREFILL, PREFILL_ROLE, ready=False)
    leaving = replace(gone, metadata=replace(gone.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    made.see(gateway(), *disaggregated(worker(DECODE, DECODE_ROLE), leaving))
    await asyncio.sleep(0)
    assert not came.done()
    made.see(gateway(), *disaggregated(worker(DECODE, DECODE_ROLE), gone))
    assert await asyncio.wait_for(came, 10) is None
    assert made.value("argosy_prefill_legs_total", pool="default/a", outcome="lost") == 1.0


def test_an_annotation_that_cannot_be_read_splits_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    made = bench(thresholdTokens=0)
    assert made.pick(chat()).prefill is None
    (view,) = made.picker.world.pools.values()
    assert "annotation argosy.dev/disaggregation is wrong" in view.problem
    assert isinstance(made.ask(chat(4, kv_transfer_params={})), Answer)
    assert bench(future=1).pick(chat()).prefill is None
    assert [record.message for record in caplog.records].count(view.problem) == 1


async def test_a_client_that_leaves_cancels_its_leg() -> None:
    made, workers = bench(), Workers(PrefillAnswer(status=200, body=b"{}", took_s=0.0))
    workers.hold.clear()
    made.picker.run_legs(workers)
    pick = made.pick(chat())
    leg = made.picker.prefill(pick, RequestHead(headers=HEAD), _nothing)
    assert leg is not None
    leg.cancel()
    leg.cancel()
    await asyncio.sleep(0)
    assert made.value("argosy_prefill_legs_total", pool="default/a", outcome="cancelled") == 1.0
    assert made.value("argosy_prefill_legs_under_way") == 0.0


async def test_sglangs_workers_are_both_asked_at_once() -> None:
    made, workers = bench(protocol="sglang"), Workers(PrefillAnswer(status=200, body=b"{}", took_s=0.0))
    made.picker.run_legs(workers)
    pick = made.pick(chat())
    leg = made.picker.prefill(pick, RequestHead(headers=HEAD), _nothing)
    assert leg is not None
    assert leg.goes_on
    assert leg.body is not None
    sent = json.loads(leg.body)
    assert (sent["bootstrap_host"], sent["bootstrap_port"]) == (PREFILL, 8998)
    await until(lambda: not made.value("argosy_prefill_legs_under_way"))
    assert workers.asked[0][3] == leg.body
