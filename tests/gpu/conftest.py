import pytest

from edge_app.gpu.context import Gpu
from tests.gpu.requirements import require_gpu


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    return require_gpu()
