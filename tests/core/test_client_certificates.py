"""Names in client certificates, and certificates that are none of a caller's."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.client_certificates import certified_names
from sidecar.core.errors import Reason, UsherError
from tests import certificates

AUTHORITY = certificates.authority()
ID = "spiffe://example.org/ns/shop/sa/orders"


def refusal(pem: bytes) -> str:
    with pytest.raises(UsherError) as caught:
        certified_names(pem)
    assert caught.value.reason is Reason.CALLER_UNAUTHENTICATED
    assert caught.value.metadata == {"proof": "mtls"}
    return caught.value.message


def test_a_spiffe_id() -> None:
    made = certificates.client(AUTHORITY, uris=[ID], dns=["orders.example"])
    names = certified_names(made.pem)
    assert (names.spiffe_id, names.dns_names) == (ID, ("orders.example",))
    assert names.expires_at == made.certificate.not_valid_after_utc.timestamp()


def test_dns_names() -> None:
    names = certified_names(certificates.client(AUTHORITY, dns=["a.example", "b.example"]).pem)
    assert (names.spiffe_id, names.dns_names) == ("", ("a.example", "b.example"))


def test_another_uri_beside_dns_names_is_no_matter() -> None:
    made = certificates.client(AUTHORITY, uris=["https://a.example/x"], dns=["a.example"])
    assert certified_names(made.pem).spiffe_id == ""


@pytest.mark.parametrize("uris", [[ID, "spiffe://example.org/other"], [ID, ID], [ID, "https://a.example/"]])
def test_an_svid_has_exactly_one_uri(uris: list[str]) -> None:
    assert "several URIs" in refusal(certificates.client(AUTHORITY, uris=uris).pem)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/a/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/./a",
        "spiffe://Example.org/a",
        "spiffe://example.org:443/a",
        "spiffe://user@example.org/a",
        "spiffe://example.org/a?x=1",
        "spiffe://example.org/a#x",
        "spiffe://example.org/a%2Fb",
        "spiffe:///a",
        "SPIFFE://example.org/a",
        "spiffe://example.org/" + "a" * 2048,
    ],
)
def test_what_is_no_spiffe_id_of_a_workload(uri: str) -> None:
    made = certificates.client(AUTHORITY, uris=[uri], dns=["a.example"])
    assert "not one of a workload" in refusal(made.pem)


def test_dots_in_a_segment_are_fine() -> None:
    uri = "spiffe://example.org/.../a.b/..c"
    assert certified_names(certificates.client(AUTHORITY, uris=[uri]).pem).spiffe_id == uri


def test_a_certificate_without_names() -> None:
    assert "neither a SPIFFE ID nor a DNS name" in refusal(certificates.client(AUTHORITY).pem)
    only_uri = certificates.client(AUTHORITY, uris=["https://a.example/"])
    assert "neither a SPIFFE ID nor a DNS name" in refusal(only_uri.pem)


@pytest.mark.parametrize(("cert_sign", "crl_sign"), [(True, False), (False, True)])
def test_a_certificate_that_may_sign_is_no_callers(cert_sign: bool, crl_sign: bool) -> None:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
    assert "may sign" in refusal(certificates.client(AUTHORITY, uris=[ID], extensions=[usage]).pem)


def test_an_authority_is_no_caller() -> None:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    assert "may sign" in refusal(certificates.client(AUTHORITY, uris=[ID], extensions=[constraints]).pem)


def test_time_is_not_looked_at_here() -> None:
    past = certificates.client(AUTHORITY, uris=[ID], ends=-datetime.timedelta(hours=1))
    assert certified_names(past.pem).spiffe_id == ID


@given(st.binary(max_size=300))
def test_what_is_no_certificate(data: bytes) -> None:
    assert "cannot be read" in refusal(data)
    broken = certificates.client(AUTHORITY, uris=[ID]).pem if not data else b""
    if broken:
        assert "cannot be read" in refusal(broken[: len(broken) // 2])
