"""Adapters go through files as they are."""

import json

import pytest
from conftest import CLASSES

import bayeslora


def test_what_is_saved_is_loaded(training, tmp_path):
    adapter = training.adapter
    adapter.save(tmp_path / "copy")
    again = bayeslora.Adapter.load(str(tmp_path / "copy"))
    assert again == adapter
    assert again.classes == CLASSES and again.method == "bayeslora"
    assert again.resolution == 32 and again.initial_rank == 3 and again.draws
    assert set(again.ranks.values()) == {3} and "layer4.1.conv2" in again.ranks
    assert again.scalars > 0
    assert repr(again) == f"<Adapter: bayeslora, 3 classes, {sum(again.ranks.values())} ranks in {len(again.ranks)} layers>"


def test_peft_would_read_it(training, tmp_path):
    training.adapter.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["modules_to_save"] == ["fc"]
    assert (tmp_path / "adapter_model.safetensors").exists()


def test_damaged_files_are_refused(training, tmp_path):
    training.adapter.save(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for read in [bayeslora.Adapter.load, bayeslora.Predictor]:
        with pytest.raises(ValueError, match="adapter_model.safetensors"):
            read(tmp_path)


def test_nothing_there(tmp_path):
    for read in [bayeslora.Adapter.load, bayeslora.Predictor]:
        with pytest.raises(ValueError, match="does not exist"):
            read(tmp_path / "nothing")
        with pytest.raises(TypeError):
            read(7)


def test_a_folder_that_cannot_be_made(training, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((RuntimeError, ValueError), match="file"):
        training.adapter.save(tmp_path / "file" / "adapter")
