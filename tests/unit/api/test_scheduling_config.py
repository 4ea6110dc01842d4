import pytest

from argosy.api.scheduling import DEFAULT, PluginSpec, ProfileSpec, read_scheduling

HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: SchedulingConfig\n"


def test_a_profile_is_a_name_or_one_of_ones_own() -> None:
    assert read_scheduling(HEAD).profile == DEFAULT
    assert read_scheduling(f"{HEAD}profile: lmetric\n").profile == "lmetric"
    own = "profile: {name: mine, scorers: [{type: queue, weight: 2}, {type: dynamo, parameters: {overlapCredit: 0.5}}]}"
    assert read_scheduling(f"{HEAD}{own}\n").profile == ProfileSpec(
        name="mine",
        scorers=(PluginSpec(type="queue", weight=2.0), PluginSpec(type="dynamo", parameters={"overlapCredit": 0.5})),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds 0 documents"),
        ("- a\n", "holds 1 documents and not one SchedulingConfig"),
        (f"{HEAD}---\n{HEAD}", "holds 2 documents"),
        ("kind: Pod\napiVersion: v1\n", "is of kind Pod, apiVersion v1; write kind: SchedulingConfig"),
        (f"{HEAD}profile: [", "line 4: not YAML"),
        (f"{HEAD}profile: {{nme: x}}\n", "line 3: profile.nme is no field; did you mean name"),
        (
            f"{HEAD}profile:\n  name: x\n  scorers:\n  - {{type: queue, weight: heavy}}\n",
            r"line 6: profile.scorers\[0\].weight",
        ),
        (f"{HEAD}profile: a\nprofile: b\n", "line 4: .*profile"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_scheduling(text)
