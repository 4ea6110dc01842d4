"""Files given on the command line → services, what is known of their weights, and stand-ins as a table."""

import argparse
import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from argosy.api.files import MAX_FILE_BYTES, Problem, Reading, read_services
from argosy.api.llmservice import LLMService, LLMServiceSpec, Model, Role, StandIn, Workers
from argosy.api.objects import Key, ObjectMeta
from argosy.base.errors import UserError
from argosy.cli.places import Place
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.engine_choice import HUB
from argosy.decide.planning.stand_ins import served
from argosy.engines import llama_cpp, vllm

if TYPE_CHECKING:
    from argosy.edge.processes.engine_python import EnginePython

REPLICA_BYTES = 512 * 1024 * 1024
"""Memory of this machine for each replica of a service at most: the embedded model takes half of it."""
MAX_CELL = 28
"""Characters of a cell before it takes another line."""


class Ground(NamedTuple):
    """What a place can do, and what is known there of weights, by source."""

    capabilities: Capabilities
    weights: Mapping[str, Weights]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Services that this machine can serve, each with the stand-ins that it needs for that."""

    services: tuple[LLMService, ...]
    capabilities: Capabilities
    stand_ins: dict[Key, tuple[StandIn, ...]]


def load_services(
    paths: Sequence[Path | str], *, strict: bool = False, quiet: bool = False, engine: "EnginePython | None" = None
) -> Loaded:
    """Read files and check the weights, to serve them on this machine. Prints the stand-ins to standard error.

    Raises UserError that lists every problem; with `strict`, stand-ins are one.
    """
    reading = load_files(paths)
    ground = ground_of(reading, here=True, engine=engine)
    refuse_stuck_caches(reading, ground, engine)
    stand_ins = stand_ins_on(reading, ground)
    if strict:
        refuse_stand_ins(stand_ins)
    if not quiet:
        say_stand_ins(stand_ins)
    return Loaded(services=reading.services, capabilities=ground.capabilities, stand_ins=stand_ins)


def ground_of(reading: Reading, *, here: bool, engine: "EnginePython | None" = None) -> Ground:
    """Give what this machine can do and knows of the weights (`here`), or what a cluster's operator does.

    `engine` is what serves with vLLM on this machine.

    Raises UserError for weights that a service of this machine needs and that are not here.
    """
    if not here:
        return Ground(CLUSTER, {})
    capabilities = laptop(engine)
    return Ground(capabilities, weights_of(reading, capabilities))


def stand_ins_on(reading: Reading, ground: Ground) -> dict[Key, tuple[StandIn, ...]]:
    """Give the stand-ins that services get at a place."""
    return {service.key: served(service, *ground).stand_ins for service in reading.services}


def refuse_stuck_caches(reading: Reading, ground: Ground, engine: "EnginePython | None") -> None:
    """Raise UserError where workers of vLLM would have to hand KV caches over, and cannot."""
    if engine is None or engine.moves_caches:
        return
    apart = (served(service, *ground).service for service in reading.services)
    raise_if_any(
        [
            f"{each.key}: serving.profile: vLLM hands KV caches over by NIXL, which {engine.path} does not have; "
            "install nixl-cu12 and nixl there, or write standard"
            for each in apart
            if each.spec.engine.name == vllm.NAME and each.spec.serving.profile == "disaggregated"
        ]
    )


def default_services(engine: "EnginePython | None" = None) -> Loaded:
    """Give what is served when nobody says what: the embedded model, from two replicas."""
    service = LLMService(
        metadata=ObjectMeta(name="smollm2", namespace="default"),
        spec=LLMServiceSpec(model=Model(source=llama_cpp.EMBEDDED_WEIGHTS), workers=Workers(serve=Role(replicas=2))),
    )
    return Loaded(services=(service,), capabilities=laptop(engine), stand_ins={service.key: ()})


def load_files(paths: Sequence[Path | str], *, namespace: str | None = None) -> Reading:
    """Read files (`-` is standard input), all together. Raises UserError that lists every problem.

    Services that name no namespace are of `namespace`.
    """
    contents: list[tuple[str, bytes]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            contents.append((str(path), _read(str(path))))
        except OSError as error:
            problems.append(_unreadable(str(path), error))
    reading = read_services(contents, namespace=namespace or "default")
    raise_if_any([str(problem) for problem in (*problems, *reading.problems)])
    return reading


def load_for(args: argparse.Namespace, place: Place, paths: Sequence[str]) -> Reading:
    """Read files for a place. Raises UserError, also for a service of another namespace than the command line says."""
    reading = load_files(paths, namespace=place.namespace)
    raise_if_any(
        [
            f"{service.key}: -n says {args.namespace}, and the file {service.metadata.namespace}; leave one of them out"
            for service in reading.services
            if args.namespace and service.metadata.namespace != args.namespace
        ]
    )
    return reading


def raise_if_any(problems: Sequence[str]) -> None:
    """Raise UserError that lists the problems, when there are some."""
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise UserError("\n  ".join((count, *problems)))


def laptop(engine: "EnginePython | None" = None) -> Capabilities:
    """Give what this machine can do; `engine` is what serves with vLLM."""
    cpus = len(os.sched_getaffinity(0))
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Capabilities(
        cpus=cpus,
        replicas=max(2, memory_bytes // REPLICA_BYTES),
        limits_memory=False,
        engines=frozenset({llama_cpp.NAME, *((vllm.NAME,) if engine else ())}),
        hub=engine.models() if engine else frozenset(),
    )


def weights_of(reading: Reading, capabilities: Capabilities, *, absent_ok: bool = False) -> dict[str, Weights]:
    """Check the weights that the services are really served with, and give what is known of them, by source.

    Raises UserError that lists all that are broken or, unless `absent_ok`, not on this machine.
    """
    from argosy.apps.local.weights import look_at  # noqa: PLC0415 (only where files are looked at)
    from argosy.edge.weights.source import find_weights  # noqa: PLC0415

    found: dict[str, Weights] = {}
    problems: list[str] = []
    for service in reading.services:
        this, places = served(service, capabilities, {}), reading.source_places[service.key]
        folder = this.service.spec.engine.name == vllm.NAME
        for index, source in enumerate(this.sources):
            if source in found or source.startswith(HUB) or (index and folder):
                continue
            here = False
            try:
                here = os.path.lexists(find_weights(source))
                found[source] = look_at(source, folder=folder, adapter=index > 0)
            except UserError as error:
                if here or not absent_ok:
                    problems.append(f"{places.get(source) or next(iter(places.values()))}: {error}")
    raise_if_any(problems)
    return found


def stand_in_table(stand_ins: Mapping[str, Sequence[StandIn]]) -> str:
    """Give a table of the stand-ins of services, as wide as the terminal; nothing when there are none."""
    rows = [("SERVICE", "FIELD", "ASKED", "GIVEN", "WHY")]
    for name, found in stand_ins.items():
        rows += [(name, each.field.removeprefix("spec."), each.asked, each.given, each.why) for each in found]
    if len(rows) == 1:
        return ""
    fit = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths = [fit[0], fit[1], min(fit[2], MAX_CELL), min(fit[3], MAX_CELL)]
    left = shutil.get_terminal_size((140, 24)).columns - sum(widths) - 2 * len(widths)
    widths.append(max(left, MAX_CELL))
    lines: list[str] = []
    for row in rows:
        cells = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        lines += [
            "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
            for parts in itertools.zip_longest(*cells, fillvalue="")
        ]
    return "\n".join(lines)


def by_name(stand_ins: Mapping[Key, Sequence[StandIn]]) -> dict[str, Sequence[StandIn]]:
    """Name services as people do: the namespace `default` goes without saying."""
    return {str(key).removeprefix("default/"): found for key, found in stand_ins.items()}


def say_stand_ins(stand_ins: Mapping[Key, Sequence[StandIn]]) -> None:
    """Print the stand-ins to standard error, when there are some."""
    table = stand_in_table(by_name(stand_ins))
    if table:
        print(f"What cannot be done there gets a stand-in (--strict refuses):\n{table}", file=sys.stderr)


def refuse_stand_ins(stand_ins: Mapping[Key, Sequence[StandIn]]) -> None:
    """Raise UserError that shows the stand-ins, when there are some (`--strict`)."""
    table = stand_in_table(by_name(stand_ins))
    if table:
        raise UserError(f"--strict, and not everything can be honoured:\n{table}")


def _read(path: str) -> bytes:
    """Read a little more than a file may have, so that whoever reads it sees that it is too large."""
    if path == "-":
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    with Path(path).open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _unreadable(path: str, error: OSError) -> Problem:
    if isinstance(error, IsADirectoryError):
        return Problem(file=path, reason="is a directory", fix="name the files in it")
    if isinstance(error, FileNotFoundError):
        return Problem(file=path, reason="is not there", fix="look at the path; examples/ has some to begin with")
    return Problem(file=path, reason=f"cannot be read ({error.strerror})", fix="make it readable for this user")
