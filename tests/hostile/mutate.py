"""Makes malformed inputs of good ones: what a broken, odd or hostile program might send. Seeded, so repeatable."""

from __future__ import annotations

import gzip
import json
from random import Random
from typing import Any

_MARK = "\x00hostile"
"""Begins a text that stands for bytes which no JSON writer puts out."""

TOKENS = [
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"9" * 400, b"-" + b"9" * 5_000, b"0x10", b"01",
    b"'a'", b"undefined", b"", b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\xc3"', b'"\x00"',
    b'"\n"', b'"\\x"', b"[" * 90 + b"]" * 90, b"[" * 700 + b"]" * 700, b"[" * 3_000,
    b'{"a":' * 1_200 + b"1" + b"}" * 1_200,
    b'{"a":1,"a":2}', b'{"type":"status","type":7}', b"[1,]", b"{,}", b"/* */1", b"true false",
    b'"' + b"x" * 30_000 + b'"',
]  # fmt: skip
"""Values as they should not be written."""

TEXTS = [
    "", " ", "\x00", "\n", "a\nb", "\x1b[2J\x1b]0;x\x07", '"} 1\ncomfyui_up 0\n', "\\", '\\"', "# EOF", "\u202e\u2066",
    "\ud800", "\udc00\ud800", "\ufffe", "\U0001f4a9" * 40, "x" * 199, "x" * 201, "x" * 5_000, "%s%d%n",
    "../../etc/passwd",
    "{}", "{prompt_id}", "?a=b&c#d", "a b", "NaN", "null", "0", "-1", "1e400", "<script>alert(1)</script>", ".", "..",
    "comfyui_up{server=\"x\"} 1", "ts=now level=error msg=forged", "é", "\x85\u2028\u2029", "other", "unknown",
]  # fmt: skip

NUMBERS = [
    0, -1, 1, 2, 63, 64, 100, 10_000, -(10**9), 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, -(10**30),
    0.0, -0.0, 0.5, -0.5, 1e15, 1e16, 1e308, -1e308, 5e-324, 1e-7, 1e300, 946_684_800_000, -946_684_800_000,
    32_503_680_000_000,
    253_402_300_800_000, 8.64e15,
]  # fmt: skip

_PAGES = [
    b"", b" ", b"\n", b"null", b"true", b"0", b'""', b"[]", b"{}", b"[[]]", b"[{}]", b"{", b"[", b'"', b"}", b"nul",
    b"<html><head><title>502 Bad Gateway</title></head></html>", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00" * 64,
    b"Internal Server Error", b"{}{}", b"{} trailing",
]  # fmt: skip


class Mutator:
    """Draws malformed inputs; the same seed and the same calls give the same inputs."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self._tokens: list[bytes] = []

    # JSON

    def json(self, good: bytes) -> bytes:
        """Spoil a good JSON text: its values, its writing, its bytes, or all of it."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.02:
            return rng.choice(_PAGES)
        if draw < 0.05:
            return rng.randbytes(rng.choice((1, 10, 100, 2_000)))
        if draw < 0.20:
            return self.spoiled(good)
        self._tokens.clear()
        data = json.loads(good)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            data = self._changed(data)
        text = json.dumps(data, ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
        for number, token in enumerate(self._tokens):
            text = text.replace(json.dumps(f"{_MARK}{number}").encode(), token)
        return self.spoiled(text) if draw > 0.97 else text

    def spoiled(self, good: bytes) -> bytes:
        """Spoil bytes, whatever they stand for."""
        rng = self.rng
        if not good:
            return rng.randbytes(4)
        at, to = sorted((rng.randrange(len(good) + 1), rng.randrange(len(good) + 1)))
        near = min(to, at + rng.randrange(1, 40))
        match rng.randrange(10):
            case 0 | 1:
                return good[:at]
            case 2:
                return good[at:]
            case 3:
                return good[:at] + rng.randbytes(rng.randrange(1, 8)) + good[at:]
            case 4:
                return good[:at] + good[near:]
            case 5:
                return good[:near] + good[at:]
            case 6:
                changed = bytearray(good)
                for _ in range(rng.randrange(1, 6)):
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
                return bytes(changed)
            case 7:
                return good[:at] + rng.choice(TOKENS)[:4_000] + good[at:]
            case 8:
                return (
                    good[:at] + rng.choice((b"\x00", b"\xff", b"\xed\xa0\x80", b"\xf5\x80", b"\r", b"\t")) + good[near:]
                )
            case _:
                return rng.choice((b"\xef\xbb\xbf" + good, good + good, good.replace(b'"', b"'"), good[::-1]))

    def value(self) -> Any:
        """Draw a value that nobody expects."""
        rng = self.rng
        match rng.randrange(10):
            case 0 | 1 | 2:
                return rng.choice(NUMBERS)
            case 3 | 4:
                return rng.choice(TEXTS)
            case 5:
                return rng.choice(
                    (None, True, False, [], {}, [[]], [None], {"": None}, [0] * 50, {"a": {"b": {"c": []}}})
                )
            case 6:
                return rng.getrandbits(rng.choice((8, 40, 70))) - 2**39
            case 7:
                return "".join(
                    chr(rng.randrange(rng.choice((128, 0x3000, 0x110000)))) for _ in range(rng.randrange(1, 30))
                )
            case _:
                self._tokens.append(rng.choice(TOKENS))
                return f"{_MARK}{len(self._tokens) - 1}"

    def _changed(self, data: Any) -> Any:
        """Change one place of it, near the top as often as deep inside."""
        rng = self.rng
        if not isinstance(data, dict | list) or not data or rng.random() < 0.03:
            return self.value()
        held: Any = data
        while True:
            key = rng.choice(list(held)) if isinstance(held, dict) else rng.randrange(len(held))
            inner = held[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
                break
            held = inner
        self._change(held, key)
        return data

    def _change(self, held: Any, key: Any) -> None:
        rng = self.rng
        match rng.randrange(9):
            case 0:
                del held[key]
            case 1 if isinstance(held, dict):
                held[str(rng.choice(TEXTS))] = held.pop(key)
            case 1 | 2 if isinstance(held, list):
                held.insert(rng.randrange(len(held) + 1), held[key] if rng.random() < 0.5 else self.value())
            case 2 | 3 if isinstance(held, dict):
                held[str(rng.choice(TEXTS))] = self.value()
            case 4:
                held[key] = [held[key]] if rng.random() < 0.5 else {"": held[key]}
            case 5 if isinstance(held[key], int | float):
                held[key] = -held[key] if rng.random() < 0.3 else held[key] * rng.choice((1000, 10**12, 1e-3, 10**25))
            case 6 if isinstance(held[key], str):
                held[key] = held[key] + str(rng.choice(TEXTS)) if rng.random() < 0.5 else str(rng.choice(TEXTS))
            case _:
                held[key] = self.value()

    # Other texts

    def lines(self, good: str) -> bytes:
        """Spoil a text of lines, such as YAML."""
        rng = self.rng
        rows = good.split("\n")
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(rows))
            match rng.randrange(9):
                case 0:
                    del rows[at]
                    rows = rows or [""]
                case 1:
                    rows.insert(rng.randrange(len(rows) + 1), rows[at])
                case 2:
                    rows[at] = " " * rng.randrange(1, 9) + rows[at]
                case 3:
                    rows[at] = rows[at].lstrip()
                case 4 | 5 | 6:
                    name, colon, _ = rows[at].partition(":")
                    rows[at] = f"{name}{colon or ':'} {self._scalar()}"
                case 7:
                    rows.insert(at, rng.choice(_YAML))
                case _:
                    before, _, after = rows[at].partition(" ")
                    rows[at] = before + self._scalar() + after
        text = "\n".join(rows).encode("utf-8", "surrogatepass")
        return self.spoiled(text) if rng.random() < 0.25 else text

    def _scalar(self) -> str:
        rng = self.rng
        drawn = rng.choice(
            (rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(_YAML), "2s", "1h", "-1s", "0", "1e9d", "true")
        )
        return str(drawn)[:300]


_YAML = [
    "&a [*a]", "*a", "&a", "<<: *a", "!!python/object/apply:os.system [x]", "!!binary AAAA", "!x y", "? : ?", "- - - -",
    "[" * 60, "{" * 60, "{a: {a: {a: 1}}}", "[a, b", '"\\UFFFFFFFF"', "'", '"', "|", ">", "%YAML 9.9", "---", "...",
    "\t", "2001-01-01", "0o17", "1_000", "1:30", ".inf", ".nan", "~", "null", "=", "<<: 1", "<<: [1, {a: b}]", "@",
    "`", "#",
    "x: &x [1,1,1,1,1,1,1,1]\ny: &y [*x,*x,*x,*x,*x,*x,*x,*x]\nz: &z [*y,*y,*y,*y,*y,*y,*y]\nv: [*z,*z,*z,*z,*z,*z,*z]",
]  # fmt: skip


def bomb(megabytes: int) -> bytes:
    """Gzip that becomes so many megabytes of JSON."""
    return gzip.compress(b"[" + b"1," * (megabytes << 19) + b"1]", 9)
