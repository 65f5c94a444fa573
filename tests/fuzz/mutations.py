"""Bytes that come close to being right: examples, cut, joined, repeated and overwritten."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.fuzz.targets import Target

WORDS = (
    *(
        b"\0",
        b"\xff",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"\r\n",
        b"\n",
        b"\t",
        b" ",
        b"\\ud800",
        b"%00",
    ),
    *(
        b"://",
        b"@",
        b":",
        b"/",
        b"?",
        b"#",
        b"%40",
        b"..",
        b"../../etc/passwd",
        b"/dev/zero",
        b"~root",
        b"a..b",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!!int ",
        b"!!python/object:os.system ",
        b"<<: ",
        b"- ",
        b"? ",
        b"---\n",
    ),
    *(
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"NaN",
        b"9" * 5000,
        b"0x7fffffff",
        b"-0",
        b"1" * 19,
        b'"',
        b"'",
        b"''",
    ),
    *(b"[" * 2000, b'{"a":' * 2000, b"x" * 5000, b"a:" * 2000, b"\0\0\1", b"\0\0\1\x67", b"\xff\xc0\xff\xff"),
    *(
        b"0001-01-01T00:00:00",
        b"[]",
        b"{}",
        b'""',
        b"password=",
        b"9223372036854775808",
        "\u202e\u2028".encode(),
    ),
)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return what to give to a target."""
    noise = st.binary(max_size=300)
    soup = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=8)), max_size=20).map(b"".join)
    if not target.corpus:
        return st.one_of(noise, soup)
    pieces = st.one_of(st.sampled_from(WORDS), st.binary(max_size=16), st.just(b""))
    edit = st.tuples(st.floats(0, 1), st.integers(0, 64), pieces)
    right = st.sampled_from(list(target.corpus))
    mutated = st.builds(_edited, right, st.lists(edit, max_size=6))
    crossed = st.builds(
        lambda a, b, at: a[: int(at * len(a))] + b[int(at * len(b)) :], right, right, st.floats(0, 1)
    )
    return st.one_of(mutated, mutated, crossed, soup, noise)


def _edited(data: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    for place, removed, put in edits:
        at = int(place * len(data))
        data = data[:at] + put + data[at + removed :]
    return data
