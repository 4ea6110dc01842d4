"""vLLM's own parser takes every argument set that is rendered, and builds the KV transfer that it names."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api.vllm_options import VLLMOptions
from argosy.engines.vllm import DTYPES, QUANTIZATIONS, Adapter, Settings, args
from harness import vllm_environment

GOLDENS = Path(__file__).resolve().parents[2] / "unit" / "planning" / "testdata"
PARSE = """
import json, sys
from vllm.config import KVTransferConfig
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
refused = []
for words in json.load(sys.stdin):
    try:
        said = make_arg_parser(FlexibleArgumentParser()).parse_args(words)
        validate_parsed_serve_args(said)
        transfer = said.kv_transfer_config
        if isinstance(transfer, dict):
            transfer = KVTransferConfig(**transfer)
        assert (transfer is None) == ("--kv-transfer-config" not in " ".join(words))
        assert transfer is None or transfer.kv_load_failure_policy == "recompute"
    except (SystemExit, Exception) as error:
        refused.append([words, repr(error)])
print("refused:" + json.dumps(refused))
"""


def parsed(sets: list[list[str]]) -> list[Any]:
    """Give the sets that vLLM refuses, each with why."""
    done = subprocess.run(
        [vllm_environment.python(), "-c", PARSE], input=json.dumps(sets), capture_output=True, text=True, check=True
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("refused:"))
    found: list[Any] = json.loads(line.removeprefix("refused:"))
    return found


def rendered() -> Iterator[list[str]]:
    """Give the arguments of vLLM's containers in all goldens of planning."""
    for path in sorted(GOLDENS.glob("*.out.yaml")):
        for obj in yaml.safe_load(path.read_text()).get("objects", ()):
            template = obj.get("spec", {}).get("template", {}) if obj.get("kind") == "Deployment" else {}
            for container in template.get("spec", {}).get("containers", ()):
                if "vllm" in container["image"]:
                    yield list(container["args"])


def settings() -> Iterator[Settings]:
    """Give all kinds of settings, every value of each field at least once."""

    def of(**fields: Any) -> Settings:
        common = {"model": "m", "weights": "/w", "host": "127.0.0.1", "port": 18100, "kv_port": 5600, "threads": "1"}
        return Settings(**(common | fields))

    adapters = (Adapter(name="a", path="/a"), Adapter(name="b", path="org/b"))
    tight = VLLMOptions(
        prefix_caching=False,
        chunked_prefill=False,
        enforce_eager=True,
        block_tokens=16,
        max_batched_tokens=64,
        gpu_memory_percent=100,
    )
    for on_cpu in (True, False):
        for role in (None, "kv_producer", "kv_consumer", "kv_both"):
            yield of(on_cpu=on_cpu, kv_role=role)
        for quantization in ("auto", *DTYPES, *QUANTIZATIONS):
            yield of(on_cpu=on_cpu, quantization=quantization)
        yield of(on_cpu=on_cpu, tensor=2, pipeline=2, data=2)
        yield of(on_cpu=on_cpu, context_tokens=2048, parallel=4, kv_bytes=10**8)
        yield of(on_cpu=on_cpu, options=tight)
        for rank in (1, 9, 300, 512):
            yield of(on_cpu=on_cpu, adapters=adapters, options=VLLMOptions(max_adapter_rank=rank), kv_role="kv_both")


@pytest.mark.timeout(240)
def test_vllms_own_parser_takes_whatever_is_rendered_and_nothing_that_is_invented() -> None:
    goldens = list(rendered())
    assert any("--kv-transfer-config" in " ".join(words) for words in goldens)
    invented = [*goldens[0], "--no-such-thing=1"]
    sets = [*goldens, *(list(args(each)) for each in settings()), invented]
    assert [words for words, _ in parsed(sets)] == [invented]
