"""What is open is counted, and closing is done once."""

from edge_app.gpu.resource import Resource, live_resources


class Thing(Resource):
    kind = "thing of a test"
    freed = 0

    def _free(self) -> None:
        self.freed += 1


def test_what_is_open_is_counted() -> None:
    first, second = Thing(), Thing()
    assert live_resources()[Thing.kind] == 2
    first.close()
    first.close()
    assert (live_resources()[Thing.kind], first.freed, first.closed) == (1, 1, True)
    second.close()
    assert Thing.kind not in live_resources()
