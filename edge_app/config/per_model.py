"""A configuration with several models, as one configuration for each of them."""

from __future__ import annotations

from typing import TypeVar

from edge_app.config.models import AppConfig, Section

SectionT = TypeVar("SectionT", bound=Section)


def config_of_model(config: AppConfig, name: str | None) -> AppConfig:
    """Return the configuration as if a model were its only one.

    Args:
        config: With one model in `model`, and further ones in `models`.
        name: Which of `models`; None: the one of `model`.

    Returns:
        A configuration whose model, inference, engine and postprocess sections are that model's.

    Raises:
        KeyError: There is no such model.
    """
    if name is None:
        return config
    model = config.models[name]
    inference = _with(config.inference, model.inference)
    if model.device is not None:
        inference = inference.model_copy(update={"device": model.device})
    return config.model_copy(
        update={
            "model": model,
            "inference": inference,
            "engine": _with(config.engine, model.engine),
            "postprocess": _with(config.postprocess, model.postprocess),
        }
    )


def cameras_by_model(config: AppConfig) -> dict[str | None, list[str]]:
    """Return the enabled cameras of each model that has any; None is the one of `model`."""
    found: dict[str | None, list[str]] = {}
    for name, camera in config.cameras.items():
        if camera.enabled:
            found.setdefault(camera.model, []).append(name)
    return found


def _with(section: SectionT, changes: SectionT) -> SectionT:
    """Return a section with the keys that are written in `changes`."""
    update = {}
    for key in changes.model_fields_set:
        value = getattr(changes, key)
        update[key] = _with(getattr(section, key), value) if isinstance(value, Section) else value
    return section.model_copy(update=update)
