from collections import Counter

from argosy.base.endpoint import Endpoint
from argosy.decide.prefixes.prompt import NO_PROMPT, prompt_of
from argosy.decide.scheduling.beliefs import MAX_SEATS, MAX_SESSIONS, NOTHING, Beliefs, Wanted
from argosy.decide.scheduling.plugins import COLUMNS, Asked, Candidates
from argosy.decide.scheduling.schedule import schedule
from argosy.engines.signals import Signals
from harness.candidates import Row, rows_of
from harness.profiles import DEFAULT_PROFILE

A, B, C = ENDPOINTS = tuple(Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))
LONG = Wanted(prompt_of([b"x" * 10_000], b"m"))


class Fleet:
    """Beliefs of some endpoints, and a clock."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.beliefs = Beliefs(room=100)
        self.among = self.beliefs.set_of(endpoints or ENDPOINTS)
        self.now_s = 0.0

    def candidates(self, wanted: Wanted) -> Candidates:
        return self.beliefs.candidates(self.among, wanted, sorted(COLUMNS), self.now_s)

    def seen(self, wanted: Wanted = NOTHING) -> dict[Endpoint, Row]:
        return {row.endpoint: row for row in rows_of(self.candidates(wanted))}

    def send(self, endpoint: Endpoint, wanted: Wanted = NOTHING) -> int:
        matched = self.seen(wanted)[endpoint].matched
        return self.beliefs.reserve(endpoint, wanted, self.now_s, matched=matched)

    def pick(self, wanted: Wanted) -> Endpoint:
        picked = schedule(DEFAULT_PROFILE, Asked(wanted.prompt.size), self.candidates(wanted)).endpoints[0]
        self.send(picked, wanted)
        return picked

    def page(self, endpoint: Endpoint, **said: object) -> None:
        mark = self.beliefs.loads.scrape_began(endpoint)
        self.beliefs.scraped(mark, Signals(**{"running": 0.0, **said}), self.now_s)  # type: ignore[arg-type]


def test_whoever_was_sent_a_prompt_holds_it() -> None:
    fleet = Fleet()
    fleet.send(B, LONG)
    assert {e: load.matched for e, load in fleet.seen(LONG).items()} == {A: 0.0, B: LONG.prompt.size, C: 0.0}
    assert fleet.seen(LONG)[B].backlog == LONG.prompt.size
    assert fleet.seen()[B].matched == 0.0
    assert fleet.beliefs.cached_at(B) == (10, 100)
    assert fleet.beliefs.blocks == 10


def test_what_is_cached_is_not_work() -> None:
    fleet = Fleet()
    fleet.beliefs.release(fleet.send(B, LONG), 1.0, answered=True)
    fleet.send(B, LONG)
    assert fleet.seen()[B].backlog == 0.0
    assert fleet.seen()[B].under_way == LONG.prompt.size


def test_an_engine_in_which_nothing_waits_has_begun_all() -> None:
    fleet = Fleet()
    fleet.send(A, LONG)
    fleet.page(A, running=1.0, waiting=1.0)
    assert fleet.seen()[A].backlog == LONG.prompt.size
    fleet.page(A, running=1.0)
    assert fleet.seen()[A].backlog == 0.0


def test_what_is_sent_while_an_engine_counts_is_not_begun() -> None:
    fleet = Fleet()
    mark = fleet.beliefs.loads.scrape_began(A)
    fleet.send(A, LONG)
    fleet.beliefs.scraped(mark, Signals(running=0.0), 0.0)
    assert fleet.seen()[A].backlog == LONG.prompt.size


def test_the_oldest_prompt_is_computed_as_fast_as_before() -> None:
    fleet = Fleet()
    first = fleet.send(A, LONG)
    fleet.now_s = 10.0
    fleet.beliefs.release(first, 10.0, answered=True)
    fleet.send(A, Wanted(prompt_of([b"y" * 10_000], b"m")))
    fleet.now_s = 14.0
    assert round(fleet.seen()[A].backlog / LONG.prompt.size, 6) == 0.6
    fleet.now_s = 100.0
    assert fleet.seen()[A].backlog == 0.0


def test_a_request_that_was_served_elsewhere_is_work_there() -> None:
    fleet = Fleet()
    reservation = fleet.send(A, LONG)
    fleet.beliefs.move(reservation, B, 0.0)
    seen = fleet.seen()
    assert (seen[A].held, seen[A].backlog, seen[A].under_way, seen[A].suspect) == (0, 0.0, 0.0, True)
    assert (seen[B].held, seen[B].backlog, seen[B].under_way) == (1, LONG.prompt.size, LONG.prompt.size)
    fleet.beliefs.release(reservation, 1.0, answered=True)
    assert fleet.seen()[B].under_way == 0.0


def test_a_session_is_known_where_it_was() -> None:
    fleet = Fleet()
    wanted = Wanted(session="s")
    fleet.send(C, wanted)
    assert {e: load.session for e, load in fleet.seen(wanted).items()} == {A: False, B: False, C: True}
    assert not any(load.session for load in fleet.seen(Wanted(session="t")).values())


def test_sessions_are_bounded_and_the_latest_are_kept() -> None:
    fleet = Fleet(A)
    for number in range(MAX_SESSIONS + 1):
        fleet.send(A, Wanted(session=str(number)))
    assert not fleet.seen(Wanted(session="0"))[A].session
    assert fleet.seen(Wanted(session="1"))[A].session


def test_adapters_are_known_where_engines_have_loaded_them() -> None:
    fleet = Fleet()
    fleet.page(A, adapters=frozenset({"pirate", "poet"}))
    fleet.page(B, adapters=frozenset({"pirate"}))
    fleet.page(B, adapters=frozenset({"pirate"}))
    pirate = Wanted(model="pirate")
    assert {e for e, load in fleet.seen(pirate).items() if load.adapter} == {A, B}
    assert fleet.pick(pirate) in (A, B)
    fleet.page(A)
    assert {e for e, load in fleet.seen(pirate).items() if load.adapter} == {B}
    assert not any(load.adapter for load in fleet.seen(Wanted(model="poet")).values())


def test_a_cache_has_the_room_that_its_engine_says_and_is_lost_with_it() -> None:
    fleet = Fleet()
    fleet.send(A, LONG)
    fleet.page(A, cache_blocks=16, block_tokens=64, prefix_queries=9000.0)  # 4 kB of text
    assert fleet.beliefs.cached_at(A) == (4, 4)
    assert fleet.seen(LONG)[A].matched == 4.0
    fleet.page(A, cache_blocks=16, block_tokens=64)
    assert fleet.seen(LONG)[A].matched == 0.0
    assert fleet.beliefs.cached_at(A) == (0, 4)


def test_an_engine_of_few_slots_holds_no_more_prompts_than_slots() -> None:
    fleet = Fleet()
    prompts = [Wanted(prompt_of([bytes([letter]) * 10_000], b"m")) for letter in b"abc"]
    fleet.page(A, cache_blocks=2, block_tokens=4096, cache_slots=2)
    for prompt in prompts:
        fleet.send(A, prompt)
    assert [fleet.seen(prompt)[A].matched for prompt in prompts] == [
        0.0,
        prompts[1].prompt.size,
        prompts[2].prompt.size,
    ]


def test_an_engine_that_rests_tells_how_long_tokens_are() -> None:
    fleet = Fleet()
    wanted = Wanted(prompt_of([b"1" * 2000], b"m"), model="m")
    fleet.page(A, ended=7.0, prompt_tokens=100.0)
    reservation = fleet.send(A, wanted)
    assert fleet.beliefs.rates.bytes_per_token("m") == 4.0
    fleet.page(A, running=1.0, ended=7.0, prompt_tokens=2100.0)
    fleet.beliefs.release(reservation, 1.0, answered=True)
    assert fleet.beliefs.rates.bytes_per_token("m") == 4.0
    fleet.page(A, ended=8.0, prompt_tokens=2100.0)
    assert fleet.beliefs.rates.bytes_per_token("m") < 1.5


def test_a_page_of_an_endpoint_that_has_gone_says_nothing() -> None:
    fleet = Fleet()
    mark = fleet.beliefs.loads.scrape_began(A)
    fleet.beliefs.keep_only(())
    fleet.beliefs.scraped(mark, Signals(running=5.0), 0.0)
    fleet.among = fleet.beliefs.set_of((A,))
    assert fleet.seen()[A].foreign == 0


def test_who_is_gone_is_forgotten_and_a_newcomer_inherits_nothing() -> None:
    fleet = Fleet(A)
    fleet.send(A, Wanted(LONG.prompt, "s", "m"))
    fleet.page(A, adapters=frozenset({"pirate"}))
    fleet.beliefs.keep_only((B,))
    fleet.among = fleet.beliefs.set_of((B,))
    seen = fleet.seen(Wanted(LONG.prompt, "s", "pirate"))[B]
    assert (seen.matched, seen.session, seen.adapter, seen.held) == (0.0, False, False, 0)


def test_a_burst_of_the_same_prompt_is_shared() -> None:
    fleet = Fleet(A, B)
    for size in (1_000, 10_000, 40_000):
        prompt = Wanted(prompt_of([b"x" * size], str(size).encode()))
        picks = Counter(fleet.pick(prompt) for _ in range(100))
        assert max(picks.values()) <= 60, (size, picks)


def test_conversations_stay_where_they_are_cached() -> None:
    fleet = Fleet(A, B)
    conversations = {number: [b"%d" % number * 300] for number in range(8)}
    homes = {}
    for number, parts in conversations.items():
        homes[number] = fleet.pick(Wanted(prompt_of(parts, b"m")))
    assert Counter(homes.values()) == {A: 4, B: 4}
    for _ in range(5):
        for number, parts in conversations.items():
            parts += [b"an answer", b"another question"]
            assert fleet.pick(Wanted(prompt_of(parts, b"m"))) == homes[number]


def test_nothing_wanted_is_nothing_believed() -> None:
    assert NOTHING.prompt == NO_PROMPT
    assert {load.matched for load in Fleet().seen().values()} == {0.0}


def test_sets_of_candidates_that_are_remembered_are_bounded() -> None:
    fleet = Fleet(*(Endpoint("127.0.0.1", 8000 + number) for number in range(9)))
    everybody = fleet.among
    for among in range(1, everybody + 1):
        fleet.among = among
        assert sum(1 << int(row.endpoint.port - 8000) for row in fleet.seen().values()) == among
    assert len(fleet.beliefs._seats) <= MAX_SEATS < everybody
