"""The configuration: strict, frozen, explained; the only reader of files, environment and credentials."""

from edge_app.config.document import render_default_config, render_starter_config
from edge_app.config.loader import LoadedConfig, load_config, parse_config, require_cameras
from edge_app.config.models import AppConfig
from edge_app.config.problems import InvalidConfigError, Problem
from edge_app.config.secrets import SecretRegistry, redact_uri, resolve_password
from edge_app.config.summary import check_config, write_starter_config

__all__ = [
    "AppConfig",
    "InvalidConfigError",
    "LoadedConfig",
    "Problem",
    "SecretRegistry",
    "check_config",
    "load_config",
    "parse_config",
    "redact_uri",
    "render_default_config",
    "render_starter_config",
    "require_cameras",
    "resolve_password",
    "write_starter_config",
]
