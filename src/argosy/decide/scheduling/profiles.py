"""Profiles: plugins that decide together, ready to do so, and those that exist by name."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from argosy.api.scheduling import DEFAULT, Plugins, PluginSpec, ProfileSpec
from argosy.base.errors import UserError
from argosy.decide.scheduling.pickers.least import Least
from argosy.decide.scheduling.plugins import COLUMNS, OF_PROMPTS, Filter, Picker, Scorer
from argosy.decide.scheduling.scorers.expected_work import ExpectedWork


class WeightedScorer(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer, its name, and what its costs count."""

    name: str
    weight: float
    scorer: Scorer


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Plugins that are ready to decide; `inputs` are the columns that any of them needs.

    `columns` are those that a decision has: also what the built-in default needs, which decides where a plugin fails.
    `of_prompts` says whether prompts matter to it, `has_foreign` whether a plugin of it is not Argosy's own, so that
    what they say is checked.
    """

    spec: ProfileSpec
    filters: tuple[tuple[str, Filter], ...]
    scorers: tuple[WeightedScorer, ...]
    picker: Picker
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    of_prompts: bool
    has_foreign: bool = False


def _one(name: str, **parameters: float) -> tuple[PluginSpec, ...]:
    return (PluginSpec(type=name, parameters=dict(parameters)),)


PROFILES: Final[Mapping[str, ProfileSpec]] = {
    spec.name: spec
    for spec in (
        ProfileSpec(name=DEFAULT, scorers=_one("expected-work")),
        ProfileSpec(name="round-robin"),
        ProfileSpec(name="least-requests", scorers=_one("requests")),
        ProfileSpec(name="least-load", scorers=_one("backlog")),
        ProfileSpec(name="least-ttft", scorers=_one("prefill")),
        ProfileSpec(
            name="weighted",
            scorers=(
                PluginSpec(type="queue", weight=2.0),
                PluginSpec(type="kv-usage", weight=2.0),
                PluginSpec(type="prefix", weight=3.0),
            ),
        ),
        ProfileSpec(name="sticky-until-saturated", filters=_one("sticky"), scorers=_one("prefill")),
        ProfileSpec(name="lmetric", scorers=_one("lmetric")),
        ProfileSpec(name="dynamo", scorers=_one("dynamo")),
        ProfileSpec(name="dynamo-tuned", scorers=_one("dynamo", prefillLoadScale=4.0)),
    )
}
"""Profiles that exist by name. Weights of `weighted`: the chart default of llm-d-router."""


_LEAST_WORK: Final = ExpectedWork()
_LEAST_FIRST: Final = Least()
_NEEDED: Final = tuple(sorted({*_LEAST_WORK.inputs, *_LEAST_FIRST.inputs}))
BUILT_IN: Final = Profile(
    spec=PROFILES[DEFAULT],
    filters=(),
    scorers=(WeightedScorer(name="expected-work", weight=1.0, scorer=_LEAST_WORK),),
    picker=_LEAST_FIRST,
    inputs=_NEEDED,
    columns=_NEEDED,
    of_prompts=True,
)
"""The profile `default` whatever is installed under the names of its plugins: it decides where others fail."""


def named(profile: str | ProfileSpec) -> ProfileSpec:
    """Give the profile that a file means. Raises `UserError` for a name that is none."""
    if not isinstance(profile, str):
        return profile
    found = PROFILES.get(profile)
    if found is None:
        raise UserError(f"profile: there is no `{profile}`; there are {', '.join(PROFILES)}, or write one of your own")
    return found


def built(spec: ProfileSpec, plugins: Plugins) -> Profile:
    """Make a profile ready. Raises `UserError` that names the plugin, the field and what there is instead."""
    filters = tuple((each.type, _plugin("filters", each, plugins.filters, "keeps")) for each in spec.filters)
    scorers = tuple(
        WeightedScorer(name=each.type, weight=_weight(each), scorer=_plugin("scorers", each, plugins.scorers, "costs"))
        for each in spec.scorers
    )
    picker = _plugin("picker", spec.picker, plugins.pickers, "order")
    inputs = {name for _, each in filters for name in each.inputs}
    inputs.update(*(each.scorer.inputs for each in scorers), picker.inputs)
    return Profile(
        spec=spec,
        filters=filters,
        scorers=scorers,
        picker=picker,
        inputs=tuple(sorted(inputs)),
        columns=tuple(sorted({*inputs, *_NEEDED})),
        of_prompts=not inputs.isdisjoint(OF_PROMPTS),
        has_foreign=not all(map(_is_own, (picker, *(each for _, each in filters), *(each.scorer for each in scorers)))),
    )


def _is_own(plugin: Any) -> bool:
    return type(plugin).__module__.startswith(f"{__package__}.")


def _weight(spec: PluginSpec) -> float:
    if not math.isfinite(spec.weight):
        raise UserError(f"scorers: the weight of `{spec.type}` is {spec.weight}; give it a finite number")
    return spec.weight


def _plugin(field: str, spec: PluginSpec, known: Mapping[str, type[Any]], method: str) -> Any:
    kind = known.get(spec.type)
    if kind is None:
        raise UserError(f"{field}: there is no plugin `{spec.type}`; there are {', '.join(sorted(known))}")
    endless = [name for name, said in spec.parameters.items() if isinstance(said, float) and not math.isfinite(said)]
    if endless:
        raise UserError(
            f"{field}: `{endless[0]}` of `{spec.type}` is {spec.parameters[endless[0]]}; give it a finite number"
        )
    try:
        plugin = msgspec.convert(spec.parameters, kind)
        unknown, usable = [name for name in plugin.inputs if name not in COLUMNS], callable(getattr(plugin, method))
    except msgspec.ValidationError as error:
        raise UserError(f"{field}: parameters of `{spec.type}`: {error}") from error
    except UserError as error:
        raise UserError(f"{field}: `{spec.type}` cannot be used: {error}; ask whoever made it") from error
    except Exception as error:  # somebody's code may do anything
        raise UserError(f"{field}: `{spec.type}` cannot be used: {error!r}; ask whoever made it") from error
    if unknown:
        there = ", ".join(sorted(COLUMNS))
        raise UserError(
            f"{field}: `{spec.type}` cannot be used: it asks for the column {unknown[0]}; there are {there}"
        )
    if not usable:
        raise UserError(f"{field}: `{spec.type}` cannot be used: its `{method}` is nothing that can be called")
    return plugin
