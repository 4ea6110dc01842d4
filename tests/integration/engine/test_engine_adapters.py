"""A model and its LoRA adapters, from one engine: each name speaks with its own voice, whatever slots have held."""

import asyncio
import functools
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from harness.engine import MODEL, Engine
from harness.gguf_files import write_adapter
from harness.kv import FAILED, SOURCE, answered, gained, greedy, kv_engine, prefill
from harness.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMPT = "The ship left the harbour in the morning, and the captain"
NAMES = (MODEL, "pirate", "robot")
CLOSE = 0.4
"""Between logarithms of probabilities that the same has computed in another batch: up to 0.2 were seen."""
MOST_OF = 3
"""Of the five likeliest words; of those that two voices have in common, some are far apart."""


class Token(msgspec.Struct):
    """One word of an answer, its logarithm of a probability, and those of others in its place."""

    token: str
    logprob: float
    top_logprobs: "list[Token]" = []

    def likely(self) -> dict[str, float]:
        return {each.token: each.logprob for each in self.top_logprobs}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the adapters are, by name, and one more that is no other's."""
    folder = tmp_path_factory.mktemp("adapters")
    names = (*NAMES[1:], "parrot")
    return {name: f"file://{write_adapter(folder / f'{name}.gguf', seed)}" for seed, name in enumerate(names)}


def adapters(sources: Mapping[str, str], *names: str) -> list[str]:
    return [f"--adapter={name}={sources[name]}" for name in names]


class Voice(msgspec.Struct, frozen=True):
    """What one says to the prompt: as text, computed and continued from the cache, and how sure it is of each word."""

    computed: str
    cached: str
    tokens: list[Token]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voices(sources: dict[str, str]) -> dict[str, Voice]:
    """The voice of each, when nothing else was ever asked of its engine."""

    async def alone(name: str) -> Voice:
        async with Engine.started(*adapters(sources, *{name} - {MODEL}), parallel=1) as fresh:
            computed, cached = [(await answered(fresh, said(name)))[0] for _ in range(2)]
            return Voice(computed, cached, await tokens(fresh, name))

    found = dict(zip(NAMES, await asyncio.gather(*map(alone, NAMES)), strict=True))
    for one, other in itertools.permutations(NAMES, 2):
        assert not alike(found[one].tokens, found[other].tokens)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def narrow(sources: dict[str, str]) -> AsyncIterator[Engine]:
    """An engine with both adapters and one slot."""
    async with Engine.started(*adapters(sources, "pirate", "robot"), parallel=1) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wide(sources: dict[str, str]) -> AsyncIterator[Engine]:
    """The same with three."""
    async with Engine.started(*adapters(sources, "pirate", "robot"), parallel=3) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(sources: dict[str, str]) -> AsyncIterator[tuple[Engine, Engine]]:
    """The engine of the first leg and that of the second, which has other weights under the name `robot`."""
    first = kv_engine(*adapters(sources, "pirate", "robot"))
    second = kv_engine(*adapters({**sources, "robot": sources["parrot"]}, "pirate", "robot"))
    async with first as one, second as other:
        yield one, other


def said(name: str, **fields: object) -> dict[str, object]:
    return greedy(PROMPT, 10) | {"model": name} | fields


async def tokens(engine: Engine, name: str) -> list[Token]:
    """What a name answers to the prompt, word for word, with what else it might have said."""
    answer = await engine.chat(PROMPT, model=name, max_tokens=5, logprobs=True, top_logprobs=5)
    return msgspec.convert(answer["choices"][0]["logprobs"]["content"], list[Token])


def alike(one: list[Token], other: list[Token]) -> bool:
    """Say whether one voice says both.

    Others beside it in a batch change the last digits, and with them the choice between words that are as likely. What
    follows cannot be compared.
    """
    for here, there in zip(one, other, strict=True):
        said, heard = here.likely(), there.likely()
        shared = said.keys() & heard.keys()
        if len(shared) < MOST_OF or any(abs(said[each] - heard[each]) > CLOSE for each in shared):
            return False
        if here.token != there.token:
            return {here.token, there.token} <= shared
    return True


async def test_model_and_adapters_in_one_slot_never_continue_one_another(
    narrow: Engine, voices: dict[str, Voice]
) -> None:
    pairs = itertools.permutations(NAMES, 2)
    asked = [name for one, other in pairs for name in (one, other, other)]
    for before, name in itertools.pairwise(["nobody", *asked]):
        text, cached = await answered(narrow, said(name))
        same = name == before
        assert (name, text) == (name, voices[name].cached if same else voices[name].computed)
        assert (cached > 0) == same


async def test_an_adapter_has_its_turn_before_all_requests_for_the_model_have_ended(
    wide: Engine, voices: dict[str, Voice]
) -> None:
    async with asyncio.TaskGroup() as group:
        crowd: list[asyncio.Task[Any]] = []

        async def join(count: int) -> None:
            """Ask the model so often more; answers overlap, so that it always has something to do."""
            for _ in range(count):
                fields = {"prompt": f"Tea {len(crowd)}", "max_tokens": 20 + 10 * (len(crowd) % 2)}
                crowd.append(group.create_task(answered(wide, said(MODEL, **fields))))
                await until(functools.partial(has_come, len(crowd)))

        async def has_come(count: int) -> bool:
            return sum(await wide.load()) + sum(each.done() for each in crowd) >= count

        await join(2)
        waits = group.create_task(tokens(wide, "pirate"))
        await until(functools.partial(has_come, 3))
        await join(6)
        assert alike(await waits, voices["pirate"].tokens)
        assert not all(each.done() for each in crowd)


async def test_requests_for_all_of_them_at_once_get_each_its_own_voice(wide: Engine, voices: dict[str, Voice]) -> None:
    asked = list(NAMES) * 4
    random.Random(1).shuffle(asked)
    answers = await asyncio.gather(*(tokens(wide, name) for name in asked))
    strange = [name for name, answer in zip(asked, answers, strict=True) if not alike(answer, voices[name].tokens)]
    assert strange == []


async def test_the_list_of_models_names_adapters_with_their_model_and_answers_carry_their_names(
    narrow: Engine,
) -> None:
    async with narrow.http.get("/v1/models") as response:
        listed = {model["id"]: model["parent"] for model in (await response.json())["data"]}
    assert listed == {MODEL: None, "pirate": MODEL, "robot": MODEL}
    assert [(await narrow.chat("Hi", model=name, max_tokens=1))["model"] for name in NAMES] == list(NAMES)
    status, refused = await narrow.post("/v1/completions", said("parrot"))
    assert (status, refused["error"]["code"]) == (404, "model_not_found")


async def test_what_a_client_says_of_adapters_itself_steers_nothing(narrow: Engine, voices: dict[str, Voice]) -> None:
    for name, other in ((MODEL, 0), ("pirate", 1)):
        text, _ = await answered(narrow, said(name, lora=[{"id": other, "scale": 1.0}], cache_prompt=False))
        assert text == voices[name].computed


async def test_adapters_with_requests_are_told_to_whoever_picks(narrow: Engine) -> None:
    async with narrow.http.post("/v1/completions", json=said("robot", stream=True, max_tokens=200)) as running:
        await running.content.readline()
        waits = asyncio.create_task(answered(narrow, said("pirate", max_tokens=1)))
        await narrow.until_load(running=1, waiting=1)
        (told,) = [name for name in await narrow.metrics() if name.startswith("vllm:lora_requests_info")]
        assert 'running_lora_adapters="robot"' in told
        assert 'waiting_lora_adapters="pirate"' in told
        waits.cancel()


async def test_what_an_adapter_has_computed_moves_and_is_answered_in_its_voice(
    pair: tuple[Engine, Engine], voices: dict[str, Voice]
) -> None:
    first, second = pair
    for name in ("pirate", MODEL, "pirate"):
        parameters = await prefill(first, said(name))
        tokens = parameters["remote_num_tokens"]
        before = await second.metrics()
        text, cached = await answered(second, said(name), kv_transfer_params=parameters)
        grown = gained(before, await second.metrics())
        assert (name, cached, grown.get(FAILED)) == (name, tokens - 1, None)
        assert grown[SOURCE % "external_kv_transfer"] == tokens - 1
        assert grown[SOURCE % "local_compute"] == 1
        # As where it is cached, whose last token is computed alone, too.
        assert (text, cached) == await answered(first, said(name))
        assert text == voices[name].cached


@pytest.mark.parametrize(
    ("computed", "asked"),
    [(MODEL, "pirate"), ("pirate", MODEL), ("pirate", "robot"), ("robot", "robot")],
    ids=["the model's for an adapter", "an adapter's for the model", "another's", "that of other weights by its name"],
)
async def test_what_something_else_has_computed_is_refused_and_computed_again(
    pair: tuple[Engine, Engine], computed: str, asked: str
) -> None:
    first, second = pair
    prompt = f"{computed} to {asked}: the parrot said"
    parameters = await prefill(first, said(computed, prompt=prompt))
    before = await second.metrics()
    text, cached = await answered(second, said(asked, prompt=prompt), kv_transfer_params=parameters)
    grown = gained(before, await second.metrics())
    assert grown[FAILED] == 1
    assert SOURCE % "external_kv_transfer" not in grown
    assert cached == 0
    assert text == (await answered(second, said(asked, prompt=prompt, cache_prompt=False)))[0]
