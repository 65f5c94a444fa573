"""The words a person types; each command is a few lines that call the package.

Nothing heavy is imported until a command needs it, so that `edge-app --help` answers at once.
"""

from edge_app.cli.program import main

__all__ = ["main"]
