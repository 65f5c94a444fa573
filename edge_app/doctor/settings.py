"""The configuration, its secrets, its engines, and the service that runs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from edge_app.config.in_the_open import open_ways
from edge_app.config.secrets import UnreadableCredentialError
from edge_app.config.warnings import config_warnings
from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning
from edge_app.doctor.service_view import ServiceView
from edge_app.doctor.subject import Subject
from edge_app.doctor.unit import INSTALLED_CONFIG, INSTANCES, SERVICE, service_of

_ASK_ENGINE = "from edge_app.doctor.engine_child import main; main()"


def check_configuration(subject: Subject, ask: Callable[[], ServiceView]) -> Result:
    """Say all that is wrong with the configuration, or what may be missing later.

    Args:
        subject: What is examined.
        ask: Returns what the service finds of it; not asked where there is none that can be used.
    """
    if subject.path is None:
        return skipped(f"none was named (--config), and there is no {INSTALLED_CONFIG}")
    if subject.error is not None:
        return failed(
            subject.error.message, subject.error.hint or "Put right what is named; then check again."
        )
    assert subject.loaded is not None  # noqa: S101 - there is an error otherwise
    view = ask()
    unusable = view.files if view.error is None else [view.error]
    if unusable:
        judge = failed if view.user is None or subject.of_service else warning
        return judge(f"{_seen_by(view)}{' '.join(unusable)}", _readable(view, "640"))
    notes = "".join(f" (note: {way})" for way in open_ways(subject.loaded.config))
    warnings = list(config_warnings(subject.loaded, subject.environment, subject.given))
    if warnings:
        found = f"{subject.path} is good, but {'; '.join(warnings)}{notes}"
        return warning(found, "Put right what is named; notes need not be.")
    return ok(f"{subject.path} is good, {len(subject.cameras)} cameras{notes}")


def check_secrets(subject: Subject, ask: Callable[[], ServiceView]) -> Result:
    """Look whether the service can have every password that is referred to, and nobody else.

    Args:
        subject: What is examined.
        ask: Returns what the service finds of the configuration.
    """
    if subject.loaded is None:
        return skipped("no configuration to take references from")
    if subject.missing:
        found = " ".join(error.message for error in subject.missing.values())
        fix = next(iter(subject.missing.values())).hint or ""
        if os.geteuid() != 0:
            fix = f"{fix}; or only root may read it: sudo edge-app doctor".lstrip("; ")
        known = any(not isinstance(error, UnreadableCredentialError) for error in subject.missing.values())
        return (failed if known else warning)(found, f"{fix}.")
    view = ask()
    if view.secrets:
        return failed(f"{_seen_by(view)}{' '.join(view.secrets.values())}", _readable(view, "600"))
    warnings = list(dict.fromkeys([*subject.warnings, *view.warnings]))
    passwords = f"{len(subject.passwords)} passwords, all of them found"
    if warnings:
        return warning(f"{passwords}; {'; '.join(warnings)}", "Put right what is named.")
    return ok(passwords)


def _seen_by(view: ServiceView) -> str:
    return "" if view.user is None else f"as {view.user}, the service's user: "


def _readable(view: ServiceView, mode: str) -> str:
    user = view.user or "USER"
    owner = user if mode == "600" else f"root:{user}"
    return (
        f"Put right what is named; what {user} may not read: sudo chown {owner} FILE, sudo chmod "
        f"{mode} FILE, and x for it on the folders above."
    )


def check_engine(machine: Machine, path: Path, model: str | None) -> Result:
    """Look whether there is an engine of a model that serves on this machine."""
    answer = machine.python(_ASK_ENGINE, str(path), model or "")
    if answer is None or answer.status != 0:
        last = (answer.errors.splitlines() if answer else [])[-1:] or ["it took too long"]
        return failed(
            f"the engine cannot be looked up: {last[0]}", "edge-app engines --explain may say more."
        )
    told = json.loads(answer.output.splitlines()[-1])
    name = told.get("name", model or "the model")
    build = f"edge-app build --config {path}"
    if "error" in told:
        return failed(f"{name}: {told['error']}", told["hint"] or "edge-app engines --explain may say more.")
    if told["state"] is None:
        return warning(
            f"{name}: there is no engine for this machine in {told['directory']}; the first start builds it",
            f"{build} builds it beforehand; edge-app engines --explain says why others do not serve.",
        )
    if told["state"] == "refused":
        return failed(
            f"{name}: its engine failed its verification", f"{build} --rebuild, or engine.precision: fp32."
        )
    if told["state"] == "candidate":
        return warning(f"{name}: its engine was never verified", f"edge-app verify --config {path}.")
    return ok(f"{name}: {told['plan']} serves")


def check_service(machine: Machine, config: Path | None) -> Result:
    """Ask systemd how the service of a configuration does."""
    service = service_of(machine, config)
    name = service.removesuffix(".service")
    if machine.command("systemctl", "cat", SERVICE) is None:
        return skipped("no systemd")
    answer = machine.command(
        "systemctl", "show", service, "-p", "LoadState,ActiveState,UnitFileState,StatusText,NRestarts"
    )
    told = dict(line.split("=", 1) for line in (answer.output if answer else "").splitlines() if "=" in line)
    if told.get("LoadState") != "loaded":
        return skipped("edge-app is not installed as a service (sudo make install)")
    state, text = told.get("ActiveState", "unknown"), told.get("StatusText", "")
    found = f"{state}{f': {text}' if text else ''}, {told.get('NRestarts', '0')} restarts"
    if state == "failed":
        return failed(found, f"journalctl -u {name} -n 50 says why; then sudo systemctl restart {name}.")
    if state == "activating":
        return warning(found, f"It is starting; journalctl -fu {name} shows how far it is.")
    if told.get("UnitFileState") != "enabled":
        return warning(f"{found}; it does not start by itself", f"sudo systemctl enable --now {name}.")
    if state != "active":
        return warning(found, f"sudo systemctl start {name}.")
    return ok(found)


def service_is_active(machine: Machine) -> bool:
    """Whether a service runs, and may have taken a camera that serves one program alone."""
    answer = machine.command("systemctl", "is-active", SERVICE, INSTANCES)
    return answer is not None and "active" in answer.output.splitlines()


def check_onnxruntime(machine: Machine) -> Result:
    """Look whether ONNX Runtime can be imported: it runs models on the CPU and judges engines."""
    code = "import onnxruntime; print(onnxruntime.__version__)"
    answer = machine.python(code)
    if answer is not None and answer.status == 0:
        return ok(f"ONNX Runtime {answer.output.splitlines()[-1]}")
    last = (answer.errors.splitlines() if answer else [])[-1:] or ["it hangs"]
    return failed(
        f"ONNX Runtime cannot be imported: {last[0]}",
        f"{Path(sys.executable).with_name('pip')} install onnxruntime; an 'illegal instruction' or a crash: "
        "another version of it.",
    )
