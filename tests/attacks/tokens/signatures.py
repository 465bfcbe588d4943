"""Signatures at the edges of what their mathematics allows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sidecar.core.keys import SigningKey
from tests.attacks.tokens.vectors import SIGNATURE, Parts, Vector, accepted, decode, refused

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_SIZE: Final = 32

_SHA256: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""The DigestInfo of SHA-256 without the digest itself (RFC 8017 section 9.2, note 1)."""


def of_any(token: str) -> Iterator[Vector]:
    """What needs no knowledge of the algorithm."""
    parts = Parts.of(token)
    right = decode(parts.signature)
    for name, octets in {
        "one byte less": right[:-1],
        "one byte less in front": right[1:],
        "first half": right[: len(right) // 2],
        "second half": right[len(right) // 2 :],
        "halves swapped": right[len(right) // 2 :] + right[: len(right) // 2],
        "reversed": right[::-1],
        "zero in front": b"\0" + right,
        "zero behind": right + b"\0",
        "twice": right * 2,
        "many zeros behind": right + b"\0" * 4000,
        "all zeros": b"\0" * len(right),
        "all ones": b"\xff" * len(right),
        "one byte": b"\0",
        "inverted": bytes(octet ^ 0xFF for octet in right),
    }.items():
        yield refused(f"signature: {name}", parts.with_signature(octets), SIGNATURE)
    for at in range(len(right)):
        changed = bytearray(right)
        changed[at] ^= 1 << (at % 8)
        yield refused(f"signature: bit of byte {at}", parts.with_signature(bytes(changed)), SIGNATURE)


def of_es256(token: str) -> Iterator[Vector]:
    """ECDSA on P-256: r and s, 32 bytes each (RFC 7518 section 3.4)."""
    parts = Parts.of(token)
    right = decode(parts.signature)
    r, s = int.from_bytes(right[:_SIZE], "big"), int.from_bytes(right[_SIZE:], "big")
    n = P256_ORDER
    edges = {
        "0": 0,
        "1": 1,
        "2": 2,
        "n-1": n - 1,
        "n": n,
        "n+1": n + 1,
        "p": P256_FIELD,
        "2^256-1": 2**256 - 1,
        "n/2": n // 2,
    }
    for left, first in edges.items():
        for right_name, second in edges.items():
            yield refused(f"r={left} s={right_name}", parts.with_signature(_raw(first, second)), SIGNATURE)
        yield refused(f"r={left}, s kept", parts.with_signature(_raw(first, s)), SIGNATURE)
        yield refused(f"r kept, s={left}", parts.with_signature(_raw(r, first)), SIGNATURE)
    # The other signature of the same message by the same key: no forgery, so tokens are known by their jti.
    yield accepted("s negated", parts.with_signature(_raw(r, n - s)))
    yield refused("r negated", parts.with_signature(_raw(n - r, s)), SIGNATURE)
    yield refused("r and s swapped", parts.with_signature(_raw(s, r)), SIGNATURE)
    for name, octets in {
        "DER": encode_dss_signature(r, s),
        "DER of zeros": encode_dss_signature(0, 0),
        "r + n in 33 bytes": _raw(r + n, s, 33),
        "s + n in 33 bytes": _raw(r, s + n, 33),
        "padded to P-384": _raw(r, s, 48),
        "padded to P-521": _raw(r, s, 66),
        "as short as can be": r.to_bytes(_SIZE, "big").lstrip(b"\0") + s.to_bytes(31 + _SIZE, "big"),
        "little-endian": r.to_bytes(_SIZE, "little") + s.to_bytes(_SIZE, "little"),
        "r alone": r.to_bytes(_SIZE, "big"),
        "r, s and a recovery bit": right + b"\x1b",
        "uncompressed point": b"\x04" + right,
    }.items():
        yield refused(f"ECDSA: {name}", parts.with_signature(octets), SIGNATURE)
    message = f"{parts.header}.{parts.payload}".encode()
    stranger = ec.generate_private_key(ec.SECP256R1()).sign(message, ec.ECDSA(hashes.SHA256()))
    yield refused("ECDSA: DER by another key", parts.with_signature(stranger), SIGNATURE)
    for curve in (ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()):
        by_curve = ec.generate_private_key(curve).sign(message, ec.ECDSA(hashes.SHA256()))
        yield refused(f"ECDSA: {curve.name}", parts.with_signature(by_curve), SIGNATURE)


def of_rs256(token: str, key: SigningKey) -> Iterator[Vector]:
    """RSASSA-PKCS1-v1_5: what is signed must be encoded in one way (RFC 8017 section 9.2)."""
    assert isinstance(key.private, rsa.RSAPrivateKey)
    numbers = key.private.private_numbers()
    n, d = numbers.public_numbers.n, numbers.d
    size = (n.bit_length() + 7) // 8
    parts = Parts.of(token)
    right = int.from_bytes(decode(parts.signature), "big")
    for name, value in {"0": 0, "1": 1, "n-1": n - 1, "n": n, "n-s": n - right}.items():
        yield refused(f"RSA: signature {name}", parts.with_signature(value.to_bytes(size, "big")), SIGNATURE)
    yield refused("RSA: not reduced", parts.with_signature((right + n).to_bytes(size + 1, "big")), SIGNATURE)

    message = f"{parts.header}.{parts.payload}".encode()
    digest = hashlib.sha256(message).digest()

    def signed(encoded: bytes) -> str:
        return parts.with_signature(pow(int.from_bytes(encoded, "big"), d, n).to_bytes(size, "big"))

    def framed(info: bytes, *, start: bytes = b"\0\1", end: bytes = b"\0", filler: bytes = b"\xff") -> bytes:
        return start + filler * (size - len(start) - len(end) - len(info)) + end + info

    info = _SHA256 + digest
    yield accepted("RSA: padding as it should be", signed(framed(info)))
    for name, encoded in _wrong_encodings(info, digest, size, message).items():
        yield refused(f"RSA: {name}", signed(encoded), SIGNATURE)
    for name, options in {
        "block type 0": {"start": b"\0\0"},
        "block type 2": {"start": b"\0\2"},
        "first byte 1": {"start": b"\1\1"},
        "no zero before the digest": {"end": b"\xff"},
        "filled with zeros": {"filler": b"\0"},
        "filled with FE": {"filler": b"\xfe"},
    }.items():
        yield refused(f"RSA: {name}", signed(framed(info, **options)), SIGNATURE)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SIZE)
    yield refused(
        "RSA: PSS", parts.with_signature(key.private.sign(message, pss, hashes.SHA256())), SIGNATURE
    )
    for other in (hashes.SHA1(), hashes.SHA384(), hashes.SHA512()):
        by_other = key.private.sign(message, padding.PKCS1v15(), other)
        yield refused(f"RSA: {other.name}", parts.with_signature(by_other), SIGNATURE)
    # A cube root is a signature where the exponent is 3; ours is never.
    root = _cube_root(int.from_bytes(framed(info), "big"))
    yield refused("RSA: cube root", parts.with_signature(root.to_bytes(size, "big")), SIGNATURE)


def _wrong_encodings(info: bytes, digest: bytes, size: int, message: bytes) -> dict[str, bytes]:
    """The encoded message in ways that lenient readers take, all of the key's size."""

    def framed(content: bytes) -> bytes:
        return b"\0\1" + b"\xff" * (size - 3 - len(content)) + b"\0" + content

    garbage = b"\0\1" + b"\xff" * 8 + b"\0" + info
    return {
        "garbage behind the digest": garbage + b"\xab" * (size - len(garbage)),
        "zeros behind the digest": framed(info + b"\0" * 8),
        "zeros before the digest": framed(b"\0" * 8 + info),
        "no algorithm": framed(digest),
        "no parameters": framed(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest),
        "parameters that are no NULL": framed(
            bytes.fromhex("3031300d0609608648016503040201") + b"\x04\x00\x04\x20" + digest
        ),
        "parameters with content": framed(
            bytes.fromhex("3039301506096086480165030402010508") + b"A" * 8 + b"\x04\x20" + digest
        ),
        "long form of a length": framed(b"\x30\x81\x31" + info[2:]),
        "long form with a zero": framed(b"\x30\x82\x00\x31" + info[2:]),
        "indefinite length": framed(b"\x30\x80" + info[2:] + b"\0\0"),
        "length one too long": framed(b"\x30\x32" + info[2:]),
        "length one too short": framed(b"\x30\x30" + info[2:]),
        "length of four thousand million": framed(b"\x30\x84\xff\xff\xff\xff" + info[2:]),
        "wrong tag": framed(b"\x31" + info[1:]),
        "NULL behind": framed(b"\x30\x33" + info[2:] + b"\x05\x00"),
        "OID of SHA-512": framed(info.replace(bytes.fromhex("0304020105"), bytes.fromhex("0304020305"))),
        "OID of MD5": framed(bytes.fromhex("3020300c06082a864886f70d020505000410") + digest[:16]),
        "digest cut short": framed(info[:-1]),
        "digest of another message": framed(_SHA256 + hashlib.sha256(message + b"x").digest()),
        "digest of nothing": framed(_SHA256 + hashlib.sha256(b"").digest()),
        "the message itself": framed(message[: size - 11]),
    }


def _raw(r: int, s: int, size: int = _SIZE) -> bytes:
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _cube_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < number else (low, middle)
    return low
