"""What can be wrong with an export."""

from __future__ import annotations

from edge_app.errors import EdgeAppError

EXPORT_EXTRA = "Install what exporting needs: pip install 'edge-app[export]'."


class ExportError(EdgeAppError):
    """A module could not be exported, or the result is not the module; nothing was written."""
