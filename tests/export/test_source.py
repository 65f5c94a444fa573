"""Where modules and weights come from, and what is not loaded."""

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edge_app.export.errors import ExportError
from edge_app.export.source import load_source

MODULES = "tests.export.modules"


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.target, "code ran"))


@pytest.mark.parametrize("attribute", ["detector", "Detector", "READY"])
def test_a_module_is_named_by_its_code(zoo: Any, attribute: str) -> None:
    assert isinstance(load_source(f"{MODULES}:{attribute}"), zoo.Detector)


def test_code_of_this_directory_is_found(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lonely_network.py").write_text("import torch\nnet = torch.nn.Conv2d(3, 1, 1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert isinstance(load_source("lonely_network:net"), torch.nn.Conv2d)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("not a source", "neither a file nor package.module:attribute"),
        ("nowhere.at.all:thing", "cannot be imported"),
        ("tests.export.broken:thing", "cannot be imported: ZeroDivisionError: division by zero"),
        (f"{MODULES}:nothing", "cannot be imported"),
        (f"{MODULES}:needs_an_argument", "failed: TypeError"),
        (f"{MODULES}:number", "returned int"),
        ("math:pi", "neither a torch.nn.Module nor callable, but float"),
        ("missing.pt", "there is no such file"),
    ],
)
def test_a_source_that_is_none_is_explained(torch: Any, source: str, words: str) -> None:
    with pytest.raises(ExportError) as caught:
        load_source(source)
    assert words in str(caught.value)


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_come_from_a_state_dict(
    zoo: Any, torch: Any, tmp_path: Path, wrapped: str | None, prefix: str
) -> None:
    weights = {f"{prefix}{name}": value for name, value in zoo.Detector().state_dict().items()}
    path = tmp_path / "weights.pt"
    torch.save({wrapped: weights, "epoch": 7} if wrapped else weights, path)
    loaded = load_source(f"{MODULES}:detector", path).state_dict()
    assert all(torch.equal(value, weights[prefix + name]) for name, value in loaded.items())


def test_a_checkpoint_that_would_run_code_is_refused(torch: Any, tmp_path: Path) -> None:
    path, target = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"state_dict": Bomb(target)}, path)
    with pytest.raises(ExportError, match="could run code when it is loaded"):
        load_source(f"{MODULES}:detector", path)
    assert not target.exists()


def test_weights_of_another_module_are_refused(zoo: Any, torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(zoo.Awkward().state_dict(), path)
    with pytest.raises(ExportError, match=r"not the module's weights.*Missing key"):
        load_source(f"{MODULES}:detector", path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds no state dict, but list"),
        ({"epoch": 3}, "'epoch' is int"),
        ({}, "holds no state dict"),
    ],
)
def test_a_checkpoint_without_weights_is_refused(
    torch: Any, tmp_path: Path, content: Any, words: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ExportError) as caught:
        load_source(f"{MODULES}:detector", path)
    assert words in str(caught.value)


def test_a_missing_checkpoint_is_explained(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="No such file"):
        load_source(f"{MODULES}:detector", tmp_path / "none.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer versions advise against TorchScript
def test_a_torchscript_file_is_loaded(zoo: Any, torch: Any, tmp_path: Path, export: Any) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.trace(zoo.Detector().eval(), torch.zeros(2, 3, 64, 96)), str(path))
    module = load_source(str(path))
    assert export(module).outputs[0].shape == (None, 6, 126)
    with pytest.raises(ExportError, match="has its weights in it"):
        load_source(str(path), tmp_path / "weights.pt")


def test_a_pickled_module_is_refused_without_loading_it(zoo: Any, torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save(zoo.Detector(), path)
    with pytest.raises(ExportError, match="would run whatever code it holds"):
        load_source(str(path))


def test_no_file_is_unpickled(tmp_path: Path) -> None:
    """Needs no PyTorch: the file is judged before anything is imported."""
    target = tmp_path / "ran"
    plain, archive = tmp_path / "plain.pt", tmp_path / "archive.pt"
    plain.write_bytes(pickle.dumps(Bomb(target)))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Bomb(target)))
    for path in (plain, archive):
        with pytest.raises(ExportError, match="would run whatever code it holds"):
            load_source(str(path))
    assert not target.exists()


def test_a_damaged_torchscript_file_is_explained(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("damaged/constants.pkl", b"\x80\x02).")
        file.writestr("damaged/code/none.py", b"")
    with pytest.raises(ExportError, match="cannot load it"):
        load_source(str(path))
