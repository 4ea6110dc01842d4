"""A picker without a process: its clock and its dice are the test's, and what it counts is read by name."""

import random
from typing import Any

from argosy.api.inference import InferenceModelRewrite
from argosy.api.objects import Object
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.picker import Picker
from argosy.apps.picker.serve import KINDS
from argosy.apps.picker.world import world_of
from argosy.edge.rpc.ext_proc import Answer
from harness.profiles import DEFAULT_PROFILE
from harness.services import gateway_class

HEAD = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "localhost", "x-request-id": "r-1"}
CHAT = b'{"model": "m", "messages": []}'


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A picker, its clock and its counters."""

    def __init__(self, *objects: Object, seed: int = 1) -> None:
        self.metrics = PickerMetrics()
        self.clock = Hands()
        self.picker = Picker(self.metrics, DEFAULT_PROFILE, rng=random.Random(seed), clock=self.clock, now=self.clock)
        self.see(*objects)

    def see(self, *objects: Object) -> None:
        kinds: dict[type, list[Any]] = {kind: [] for kind in (*KINDS, InferenceModelRewrite)}
        for obj in (gateway_class(), *objects):
            kinds[type(obj)].append(obj)
        self.picker.learn(world_of(*kinds.values()))

    def ask(
        self, body: bytes | None = CHAT, *, subset: Any = None, listener: str = "", **headers: str
    ) -> Pick | Answer:
        given = {**HEAD, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.picker.decide(RequestHead(headers=given, listener=listener, subset=subset), body)

    def pick(self, body: bytes | None = CHAT, **more: Any) -> Pick:
        found = self.ask(body, **more)
        assert isinstance(found, Pick), found
        return found

    def value(self, name: str, /, **labels: str) -> float | None:
        return self.metrics._registry.get_sample_value(name, labels)
