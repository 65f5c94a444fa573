"""The address of the metrics: free, answered by our own daemon or by somebody else, and who can reach it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from edge_app.config.models import MetricsSection
from edge_app.doctor.metrics import check_metrics
from edge_app.doctor.result import Status
from edge_app.ops.metrics.page import Page, registry_of
from edge_app.ops.metrics.server import Answer, WatchServer
from tests.brokers import free_port, until
from tests.doctor.conftest import Root

Serve = Callable[[str, str], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a node's metrics at an address as the daemon does, and returns the port."""
    servers: list[WatchServer] = []

    def begin(host: str, node: str) -> int:
        def fill(page: Page) -> None:
            page.add("edge_app_info", 1, node, "1.0", "3.11")

        registry = registry_of(fill)
        port = free_port()
        answer = lambda: Answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))  # noqa: E731
        servers.append(WatchServer(host, port, {"/metrics": answer}))
        servers[-1].start()
        until(lambda: servers[-1].port is not None, "it listens")
        return port

    yield begin
    for server in servers:
        server.stop()


def at(address: str) -> MetricsSection:
    return MetricsSection(address=address)


def test_an_address_that_is_free_can_be_had(root: Root) -> None:
    address = f"127.0.0.1:{free_port()}"
    for _ in range(2):  # nothing is left of the first time
        result = check_metrics(root.machine, at(address), "yard-1")
        assert (result.status, result.fix) == (Status.OK, None)
        assert result.found.startswith(f"{address} is free")


def test_it_does_not_concern_who_wants_none(root: Root) -> None:
    assert check_metrics(root.machine, MetricsSection(enabled=False), "yard-1").status is Status.SKIPPED


def test_our_own_daemon_is_recognised(root: Root, serve: Serve) -> None:
    address = f"127.0.0.1:{serve('127.0.0.1', 'yard-1')}"
    result = check_metrics(root.machine, at(address), "yard-1")
    assert (result.status, result.found) == (Status.OK, f"the daemon of yard-1 answers at {address}")
    other = check_metrics(root.machine, at(address), "yard-2")
    assert other.status is Status.FAILED
    assert "the daemon of another node, yard-1, listens" in other.found


def test_who_else_listens_is_no_daemon(root: Root) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(10)

        def hang_up() -> None:
            other.accept()[0].close()

        hangs_up = threading.Thread(target=hang_up)
        hangs_up.start()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        result = check_metrics(root.machine, at(address), "yard-1")
        hangs_up.join()
    assert result.status is Status.FAILED
    assert "another program listens at" in result.found
    assert "metrics.address" in (result.fix or "")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_an_address_that_others_can_reach_is_a_warning(root: Root, serve: Serve, host: str) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    free = check_metrics(root.machine, at(f"{host}:{free_port()}"), "yard-1")
    ours = check_metrics(root.machine, at(f"{host}:{serve(host.strip('[]'), 'yard-1')}"), "yard-1")
    for result in (free, ours):
        assert result.status is Status.WARNING, result
        assert "nobody is asked for a password" in result.found
        assert "ssh -L" in (result.fix or "")
    assert "the daemon of yard-1 answers" in ours.found


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_no_machine_or_another_one_is_refused(root: Root, host: str) -> None:
    result = check_metrics(root.machine, at(f"{host}:9109"), "yard-1")
    assert result.status is Status.FAILED
    assert f"nobody can listen at {host}:9109: " in result.found


def test_a_port_that_the_services_user_may_not_have(root: Root) -> None:
    port = free_port()
    root.write(
        {
            "/etc/passwd": "edge-app:x:990:990::/var/lib/edge-app:/usr/sbin/nologin\n",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start": f"{port + 1}\n",
        }
    )
    result = check_metrics(root.machine, at(f"127.0.0.1:{port}"), "yard-1")
    assert result.status is Status.FAILED
    assert f"may not listen below port {port + 1}" in result.found
