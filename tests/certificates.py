"""Certificate authorities for the tests, with what they sign, by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


class Authority:
    """An authority in a folder; `sign` makes folders of ca.pem, server.pem and server.key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        subject = ("-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN=authority {folder.name}")
        # Python 3.13 wants authorities to say what their key is for.
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *use)
        (folder / "extensions").write_text("subjectAltName=DNS:localhost")

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def sign(self, name: str, days: int = 2) -> Path:
        """Return a folder with a certificate for localhost; with 0 days it has expired."""
        made = self.folder / name
        made.mkdir()
        request = ("-keyout", f"{name}/server.key", "-out", f"{name}/csr", "-subj", f"/CN={name}")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", *request)
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
        out = ("-in", f"{name}/csr", "-days", str(days), "-out", f"{name}/server.pem")
        self._openssl("x509", "-req", *out, *signed_by)
        shutil.copy(self.folder / "ca.pem", made)
        if days == 0:
            time.sleep(1.1)  # it is valid for the second in which it was made
        return made

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
