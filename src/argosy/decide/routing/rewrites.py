"""Which model serves a request in the place of the one that it asks for, by the InferenceModelRewrites of its pool.

Rules of this file:

- A rule for exactly this model goes before one for all; then the oldest object; then its first rule.
- One rule is followed, once: what a model is rewritten to is not rewritten again.
- A name longer than `MAX_ASKED` falls under no rule for all: it would be given back with every piece of the answer.

Source: llm-d's router, apix/v1alpha2/inferencemodelrewrite_types.go.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from argosy.api import inference
from argosy.api.inference import InferenceModelRewrite, PoolReference, RewriteRule
from argosy.api.objects import Key

MAX_ASKED: Final = 512


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """One decision: the model that was asked for, the one that serves, and the object and rule by which it does."""

    asked: str
    served: str
    by: str
    rule: int


class Rewriting(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of requests for a model: a target of a rule, by its share.

    `by` is the object, `rule` the place of its rule, from 0; `model` is the one that the rule is for, empty for all.
    """

    by: Key
    rule: int
    model: str = ""
    targets: tuple[tuple[str, int], ...]

    def target(self, draw: float) -> str:
        """Give the model that a draw in [0, 1) falls on; a product that is rounded up falls on the last one."""
        point = draw * sum(weight for _, weight in self.targets)
        for model, weight in self.targets[:-1]:
            if point < weight:
                return model
            point -= weight
        return self.targets[-1][0]


class Rewrites:
    """All rules, found by pool and model."""

    def __init__(self, objects: Iterable[InferenceModelRewrite] = ()) -> None:
        self._by_model: dict[tuple[Key, str], Rewriting] = {}
        for each in sorted(objects, key=_age):
            if _is_pool(each.spec.pool_ref):
                pool = Key(each.key.namespace, each.spec.pool_ref.name)
                for number, rule in enumerate(each.spec.rules):
                    self._add(pool, each.key, number, rule)

    def _add(self, pool: Key, by: Key, number: int, rule: RewriteRule) -> None:
        targets = tuple((target.model_rewrite, target.weight or 1) for target in rule.targets)
        for model in [match.model.value for match in rule.matches] or [""]:
            rewriting = Rewriting(by=by, rule=number, model=model, targets=targets)
            self._by_model.setdefault((pool, model), rewriting)

    def of(self, pool: Key, model: str) -> Rewriting | None:
        """Give what becomes of a pool's requests for a model, which is not empty."""
        exact = self._by_model.get((pool, model))
        return exact or (self._by_model.get((pool, "")) if len(model) <= MAX_ASKED else None)

    @property
    def decisions(self) -> frozenset[tuple[Key, str, str]]:
        """Everything that can be decided: an object, the model that a rule of it is for, a target."""
        return frozenset((each.by, each.model, model) for each in self._by_model.values() for model, _ in each.targets)


def _age(rewrite: InferenceModelRewrite) -> tuple[str, Key]:
    return rewrite.metadata.creation_timestamp or "", rewrite.key


def _is_pool(reference: PoolReference) -> bool:
    return (reference.group or inference.GROUP) == inference.GROUP and (
        reference.kind or inference.InferencePool.KIND
    ) == inference.InferencePool.KIND


NONE: Final = Rewrites()
