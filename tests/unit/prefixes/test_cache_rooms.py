from argosy.decide.prefixes.rooms import ENOUGH_TOKENS, LEAST, MOST, MOST_SLOTS, ROOM, Rooms, Told
from argosy.engines.signals import Signals

HERE = 3


def page(queries: float = 0.0, hits: float = 0.0, blocks: int | None = None, slots: int = 0) -> Signals:
    return Signals(
        running=0,
        prefix_queries=queries,
        prefix_hits=hits,
        cache_blocks=blocks,
        block_tokens=None if blocks is None else 16,
        cache_slots=slots,
    )


def test_a_cache_has_the_room_that_its_engine_says() -> None:
    rooms = Rooms()
    assert rooms.told(HERE, page(blocks=1600)) == Told(room=100)  # 25,600 tokens are 102,400 bytes of text
    assert rooms.told(HERE, page(blocks=1600)) == Told()
    assert rooms.told(HERE, page(blocks=10**9)) == Told(room=MOST)


def test_slots_are_told_when_they_change_and_are_bounded() -> None:
    rooms = Rooms()
    assert rooms.told(HERE, page(blocks=1600, slots=4)) == Told(room=100, slots=4)
    assert rooms.told(HERE, page(blocks=1600, slots=4)) == Told()
    assert rooms.told(HERE, page(blocks=1600, slots=10**9)) == Told(room=100, slots=MOST_SLOTS)
    assert rooms.told(HERE, page(blocks=1600)) == Told(room=100)


def test_an_engine_that_says_nothing_has_the_usual_room() -> None:
    assert Rooms().told(HERE, page()) == Told()


def test_room_shrinks_while_hits_are_fewer_than_expected_and_grows_again() -> None:
    rooms, queries = Rooms(), 0.0
    before = ROOM
    for _ in range(30):
        queries += ENOUGH_TOKENS
        rooms.sent(HERE, 100.0, 80.0)
        shrunk = rooms.told(HERE, page(queries, hits=0.0)).room or before
        assert shrunk <= before
        before = shrunk
    assert before == int(ROOM * LEAST)
    hits = 0.0
    for _ in range(60):
        queries, hits = queries + ENOUGH_TOKENS, hits + 0.8 * ENOUGH_TOKENS
        rooms.sent(HERE, 100.0, 80.0)
        before = rooms.told(HERE, page(queries, hits)).room or before
    assert before == ROOM


def test_few_look_ups_say_nothing() -> None:
    rooms = Rooms()
    rooms.sent(HERE, 100.0, 100.0)
    assert rooms.told(HERE, page(ENOUGH_TOKENS - 1)) == Told()


def test_requests_of_others_do_not_shrink_a_room() -> None:
    rooms = Rooms()
    assert rooms.told(HERE, page(ENOUGH_TOKENS)) == Told()


def test_an_engine_that_counts_anew_has_lost_its_cache() -> None:
    rooms = Rooms()
    rooms.told(HERE, page(ENOUGH_TOKENS))
    assert rooms.told(HERE, page(10.0)).lost
    assert not rooms.told(HERE, page(20.0)).lost


def test_one_that_is_gone_is_forgotten() -> None:
    rooms = Rooms()
    rooms.told(HERE, page(ENOUGH_TOKENS))
    rooms.forget(HERE)
    rooms.forget(HERE)
    assert not rooms.told(HERE, page(10.0)).lost
