"""Why a service does not serve, or that it does: a walk from what a user asked for to the answer that a client gets.

Rules of this file:

- Each step is looked at, whatever the one before it says; the first thing that is wrong is the reason given, since what
  comes later mostly follows from it.
- A service serves when nothing on the way is wrong and a pod is ready, and an answer, where one was asked for, came.
- What could not be read makes nothing wrong.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from argosy.api.kubernetes import Deployment, Pod, PodTemplateSpec
from argosy.api.llmservice import LLMService, StoredService
from argosy.api.names import PREFILL_ROLE, ROLE_LABEL
from argosy.api.objects import Key
from argosy.decide.planning.findings import Finding, condition, one_line, right, unclear, wrong
from argosy.decide.planning.pod_troubles import Told, pod_trouble
from argosy.decide.planning.way_troubles import Way, way_findings


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking the model for a token: status 200 with the seconds it took, or what was said instead."""

    status: int
    text: str = ""
    seconds: float = 0.0
    way: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was read about a service, or about a pool without one (`service` None) that a route leads to.

    `told` is by the name of a pod. `rivals` are services with the same model name. `unseen` says what could not be
    read; `deployments` are those of its workers that are there.
    """

    name: str
    service: LLMService | StoredService | None = None
    rivals: tuple[LLMService | StoredService, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    pods: tuple[Pod, ...] = ()
    told: Mapping[str, Told] = {}
    way: Way = Way()
    answer: Answer | None = None
    unseen: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it serves, in one sentence, and all that was found, in the order of the walk."""

    serves: bool
    sentence: str
    findings: tuple[Finding, ...]


def why_not(evidence: Evidence) -> Verdict:
    """Walk along all that is known of a service."""
    findings = tuple(_findings(evidence))
    reason = next((each for each in findings if each.state == "wrong"), None)
    ready = sum(pod.ready for pod in evidence.pods)
    answering = any(pod.ready and not _prefills(pod) for pod in evidence.pods)
    if reason is None and answering:
        return Verdict(serves=True, sentence=f"{evidence.name} serves: {_proof(evidence, ready)}", findings=findings)
    unclear_one = next((each for each in findings if each.state == "unclear"), None)
    because = reason or unclear_one
    none = "Only workers that compute prompts for others are ready." if ready else "No pod of it is ready."
    sentence = because.sentence if because else none
    return Verdict(serves=False, sentence=f"{evidence.name} does not serve: {sentence}", findings=findings)


def _proof(evidence: Evidence, ready: int) -> str:
    pods = f"{ready} of {len(evidence.pods)} pods {'is' if ready == 1 else 'are'} ready"
    if evidence.answer is None or evidence.answer.status != 200:
        return f"{pods}, and all that leads to them is in force."
    return f"a token came in {evidence.answer.seconds:.1f} s by {evidence.answer.way}; {pods}."


def _findings(evidence: Evidence) -> Iterator[Finding]:
    service = evidence.service
    if service is not None:
        yield from _looked_at(service)
        yield from _names(evidence, service)
        planned = condition(service.status.conditions, "Planned")
        if planned is None or planned.status == "True" or planned.reason == "Waiting":
            yield from _workload(evidence, service)  # else what stands there may be somebody else's
    yield from _pods(evidence)
    yield from way_findings(evidence.way, evidence.pods)
    if evidence.answer is not None and evidence.answer.status != 200:
        yield _refused(evidence.answer)
    yield from (unclear(f"Not known: {one_line(words)}.") for words in evidence.unseen)


def _looked_at(service: LLMService | StoredService) -> Iterator[Finding]:
    status = service.status
    planned = condition(status.conditions, "Planned")
    if status.observed_generation is None or planned is None:
        yield wrong("Nobody has looked at it yet.", "see that the operator runs: argosy status, argosy logs operator")
        return
    if status.observed_generation < (service.metadata.generation or 0):
        yield unclear(
            "Its last change has not been looked at yet.", "wait a moment; if it stays so: argosy logs operator"
        )
    if planned.status == "False" and planned.reason != "Waiting":
        yield wrong(f"It cannot be planned: {one_line(planned.message)}.", "correct the file, and apply it again")
    elif planned.status == "True":
        yield right(f"It is planned: {one_line(planned.message)}.")


def _names(evidence: Evidence, service: LLMService | StoredService) -> Iterator[Finding]:
    def age(each: LLMService | StoredService) -> tuple[str, Key]:
        return each.metadata.creation_timestamp or "", each.key

    older = [each for each in evidence.rivals if each.key != service.key and age(each) < age(service)]
    for each in sorted(older, key=age)[:1]:
        yield wrong(
            f'The model name "{service.model_name}" belongs to the older service {each.key}.',
            "give it another name: spec.model.name",
        )


def _workload(evidence: Evidence, service: LLMService | StoredService) -> Iterator[Finding]:
    if not evidence.deployments:
        yield wrong("Its Deployment has not been made.", "see why: argosy logs operator")
        return
    if not any(each.spec.replicas for each in evidence.deployments if not _prefills(each.spec.template)):
        yield wrong("It has no replicas, as asked.", f"raise spec.workers.*.replicas of {service.key}")
        return
    failures = (condition(each.status.conditions, "ReplicaFailure") for each in evidence.deployments)
    failure = next((each for each in failures if each is not None and each.status == "True"), None)
    if failure is not None:
        yield wrong(f"Its pods may not be made: {one_line(failure.message)}.", "raise the quota, or lift the policy")
    elif not evidence.pods:
        yield wrong("None of its pods has been made yet.", "see that kube-controller-manager runs; kubectl get events")


def _prefills(of: Pod | PodTemplateSpec) -> bool:
    """Whether a worker computes prompts for others alone."""
    return of.metadata.labels.get(ROLE_LABEL) == PREFILL_ROLE


def _pods(evidence: Evidence) -> Iterator[Finding]:
    """Say what keeps pods from being ready; while others answer, that is no reason for the service not to."""
    ready = [pod for pod in evidence.pods if pod.ready]
    if ready:
        yield right(f"{len(ready)} of {len(evidence.pods)} pods {'is' if len(ready) == 1 else 'are'} ready.")
    ready = [pod for pod in ready if not _prefills(pod)]
    for pod in sorted(evidence.pods, key=lambda pod: pod.key):
        trouble = pod_trouble(pod, evidence.told.get(pod.metadata.name, Told()))
        if trouble is not None:
            yield unclear(trouble.sentence, trouble.fix) if ready else trouble
    leaving = [pod for pod in evidence.pods if pod.metadata.deletion_timestamp is not None]
    if leaving and len(leaving) == len(evidence.pods):
        yield wrong("All of its pods are ending.", "wait for those that follow, or see: kubectl get events")


def _refused(answer: Answer) -> Finding:
    said = one_line(answer.text)[:300]
    if not answer.status:
        return unclear(f"Asked for a token by {answer.way}, no answer came: {said}.", "argosy logs envoy")
    fix = {404: "see that the model's name is served: argosy status", 503: "argosy logs envoy; argosy logs picker"}
    return wrong(
        f"Asked for a token by {answer.way}, the answer was {answer.status}: {said}.",
        fix.get(answer.status, "see what its replicas write: argosy logs SERVICE"),
    )


def nothing_named(name: str, known: Iterable[str], close: Iterable[str]) -> Verdict:
    """Say that neither a service nor a route has a name; `known` are names that are there, `close` those like it."""
    names, alike = sorted(set(known)), sorted(set(close))
    meant = f"Did you mean {' or '.join(alike)}? " if alike else ""
    there = f"There are: {', '.join(names)}." if names else "There is no service at all."
    finding = wrong(
        f"No LLMService has the name, or the model name, {name}, and no HTTPRoute leads to it.", "argosy apply"
    )
    return Verdict(serves=False, sentence=f"{name} is not known. {meant}{there}", findings=(finding,))
