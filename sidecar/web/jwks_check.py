"""Whether the public URL of a key set is one that Neon can fetch: each question on its own.

What Neon does is in docs/keys.md and docs/http.md. A certificate that is wrong keeps nobody from looking at
what stands behind it.
"""

from __future__ import annotations

import datetime
import email.utils
import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.core import diagnosis, key_set_check
from sidecar.core.clock import Clock
from sidecar.core.diagnosis import Diagnosis, Verdict, failed, not_looked_at, ok, warning
from sidecar.core.rotation_settings import VERIFIER_CACHE_SECONDS
from sidecar.web import jwks_probe
from sidecar.web.jwks_probe import TOTAL_SECONDS, Answer, Place

URL: Final = "jwks_url"
ADDRESS: Final = "jwks_address"
CERTIFICATE: Final = "jwks_certificate"
ANSWER: Final = "jwks_answer"
TIME: Final = "jwks_time"
QUERY: Final = "jwks_query"
CACHE: Final = "jwks_cache"
CLOCK: Final = "jwks_clock"
CHECKS: Final = (
    URL, ADDRESS, CERTIFICATE, ANSWER, TIME, QUERY, key_set_check.SIZE, key_set_check.KEYS, CACHE, CLOCK,
)  # fmt: skip

SLOW_SECONDS: Final = 1.0
RENEW_DAYS: Final = 14
_DAY: Final = 86_400
_HTTPS_PORT: Final = 443
_AGE: Final = re.compile(r"(?:^|[\s,])(s-maxage|max-age)=\"?(\d{1,9})")
_UNCACHED: Final = re.compile(r"(?:^|[\s,])(?:no-store|no-cache)\b")
_EXPIRED: Final = 10
_WRONG_NAME: Final = (62, 64)
"""X509_V_ERR_CERT_HAS_EXPIRED, and those of a name or address that does not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found; `kids` are those of the usable keys, None where no set was seen."""

    found: list[Diagnosis]
    kids: frozenset[str] | None


async def look(place: Place, lead_time: int, clock: Clock, *, for_neon: bool = False) -> Looked:
    """Looks at everything. `lead_time`: how long a key is published before it signs, in seconds.

    `for_neon`: Neon is sure to be among those who fetch, and knows public authorities alone.
    """
    certificate = await _certificate(place, clock, for_neon)
    verified = certificate.verdict is not Verdict.FAILED
    found = [_url(place), await _address(place), certificate]
    kids = None
    try:
        answer = await jwks_probe.ask(place, clock, verify=verified)
    except OSError as error:
        found += [_unanswered(error)]
        rest = (TIME, key_set_check.SIZE, key_set_check.KEYS, CACHE, CLOCK)
        found += [not_looked_at(name, "no answer came") for name in rest]
    else:
        found += [_answer(answer), _time(answer)]
        found.append(key_set_check.size_of_set(len(answer.body or b""), whole=answer.body is not None))
        if answer.body is None:
            found.append(not_looked_at(key_set_check.KEYS, "the answer is too long"))
        elif answer.status == 200 and "content-encoding" not in answer.headers:
            checked = key_set_check.check_key_set(answer.body)
            found += checked.found
            kids = checked.kids
        else:
            found.append(not_looked_at(key_set_check.KEYS, "the answer is no key set"))
        found += [_cache(answer.headers, lead_time), _clock(answer)]
    found.append(await _bare_query(place, verify=verified))
    return Looked(found=sorted(found, key=lambda one: CHECKS.index(one.check)), kids=kids)


def _url(place: Place) -> Diagnosis:
    remedy = "put a proxy that ends TLS on port 443 in front of http_address, and set issuer to its URL"
    url = place.url
    if url.scheme != "https":
        return failed(URL, "the URL is not https://, and Neon asks by HTTPS alone", remedy)
    if place.port != _HTTPS_PORT:
        return failed(URL, f"the URL names port {place.port}, which Neon leaves out and asks on 443", remedy)
    if url.username is not None or url.password is not None or url.query or url.fragment:
        return failed(
            URL,
            "the URL has a user, password, query or fragment, which Neon leaves out",
            "publish the set under a path alone",
        )
    try:
        ipaddress.ip_address(place.host)
    except ValueError:
        return ok(URL, f"https on port 443 at {place.host}")
    return warning(URL, "the URL names an address, and certificates are seldom for one", "use a name")


async def _address(place: Place) -> Diagnosis:
    if place.connect_to:
        return not_looked_at(ADDRESS, "--connect-to takes the place of the name")
    try:
        found = await jwks_probe.addresses(place)
    except (OSError, UnicodeError):
        return failed(ADDRESS, f"the name {place.host} is not known", "make a DNS entry for it")
    return where_it_leads(place.host, found)


def where_it_leads(host: str, addresses: Sequence[str]) -> Diagnosis:
    """Judges the addresses of a host."""
    if not any(ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses):
        return warning(
            ADDRESS,
            f"here {host} leads to private addresses alone, and Neon asks from the internet",
            "look it up from outside, and run `usher doctor` there",
        )
    return ok(ADDRESS, f"{host} leads to public addresses ({len(addresses)})")


async def _certificate(place: Place, clock: Clock, for_neon: bool) -> Diagnosis:
    if place.url.scheme != "https":
        return not_looked_at(CERTIFICATE, "the URL is not https://")
    try:
        ends = await jwks_probe.certificate_end(place)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(error)
    except ssl.SSLError:
        return failed(CERTIFICATE, "the TLS handshake failed", "let the server speak TLS 1.2 or 1.3")
    except OSError as error:
        return not_looked_at(CERTIFICATE, _why(error))
    days = int((ends - clock.now()) // _DAY)
    until = datetime.datetime.fromtimestamp(ends, datetime.UTC).date().isoformat()
    if days < RENEW_DAYS:
        return warning(CERTIFICATE, f"it is valid until {until}, {days} days from now", "renew it")
    seen = f"valid for {place.host} until {until}"
    if place.ca_file and for_neon:
        return warning(
            CERTIFICATE, f"{seen}, by --ca-file, which Neon does not know", "get one that the public knows"
        )
    return ok(CERTIFICATE, f"{seen}, by --ca-file" if place.ca_file else seen)


def _distrusted(error: ssl.SSLCertVerificationError) -> Diagnosis:
    if error.verify_code == _EXPIRED:
        return failed(CERTIFICATE, "the certificate has expired", "renew it")
    if error.verify_code in _WRONG_NAME:
        return failed(CERTIFICATE, "the certificate is for another name", "get one for the URL's host")
    return failed(
        CERTIFICATE,
        "no known authority has signed the certificate",
        "serve the whole chain of one that the public knows; --ca-file is for authorities of your own, which "
        "Neon does not know",
    )


def _answer(answer: Answer) -> Diagnosis:
    if 300 <= answer.status < 400:
        return failed(
            ANSWER,
            f"it is a redirect ({answer.status}), which Neon does not follow",
            "publish the set at the URL itself, and register that one",
        )
    if answer.status != 200:
        return failed(
            ANSWER,
            f"it answers {answer.status}",
            "let the proxy pass /.well-known/jwks.json on to http_address; `curl -i` shows what answers",
        )
    if "content-encoding" in answer.headers:
        return failed(
            ANSWER, "it is compressed without being asked, and Neon cannot read that", "switch that off there"
        )
    return ok(ANSWER, "200, no redirect, not compressed")


def _unanswered(error: OSError) -> Diagnosis:
    return failed(
        ANSWER, _why(error), "open port 443 of the host, and let it pass the path on to http_address"
    )


def _time(answer: Answer) -> Diagnosis:
    seen = f"answered in {answer.seconds * 1000:.0f} ms"
    if answer.seconds > SLOW_SECONDS:
        return warning(TIME, f"{seen}; Neon gives up after {TOTAL_SECONDS:g} s", "find out what holds it up")
    return ok(TIME, seen)


async def _bare_query(place: Place, *, verify: bool) -> Diagnosis:
    try:
        status = await jwks_probe.status_with_bare_query(place, verify=verify)
    except (OSError, UnicodeError):
        return not_looked_at(QUERY, "no answer came")
    if status != 200:
        return failed(
            QUERY,
            f"with a bare ? behind the path, as Neon's local proxy may ask, it answers {status}",
            "let the server in front ignore an empty query",
        )
    return ok(QUERY, "a bare ? behind the path changes nothing")


def _cache(headers: Mapping[str, str], lead_time: int) -> Diagnosis:
    """What caches in front may do. Neon itself does not look at these headers."""
    control = headers.get("cache-control", "").lower()
    if _UNCACHED.search(control):
        return ok(CACHE, "no cache in front keeps it")
    ages = dict(_AGE.findall(control))
    age = ages.get("s-maxage", ages.get("max-age"))
    if age is None:
        return warning(
            CACHE,
            "Cache-Control names no age, so that a cache in front keeps the set as long as it likes",
            "let Cache-Control pass as Usher sends it",
        )
    kept = int(age)
    seen = (
        f"caches in front may keep it for {kept} s, of {lead_time} s that a key is published before it signs"
    )
    remedy = "lower the age that the server in front grants, to 300 s at most, or raise rotation_lead_time"
    if kept >= lead_time:
        return failed(CACHE, seen, remedy)
    if kept > lead_time // 4 or (kept + VERIFIER_CACHE_SECONDS > lead_time >= VERIFIER_CACHE_SECONDS):
        return warning(CACHE, seen, remedy)
    stale = headers.get("age", "")
    if stale.isdigit() and int(stale) > kept:
        return warning(CACHE, f"a cache in front serves a set that is {stale} s old, past its age", remedy)
    return ok(CACHE, seen)


def _clock(answer: Answer) -> Diagnosis:
    try:
        date = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError):
        return not_looked_at(CLOCK, "the answer has no Date")
    age = answer.headers.get("age", "")
    # Date has whole seconds, and is the origin's: a cache tells by Age how long ago that was.
    ahead = answer.now - date - 0.5 - (int(age) if age.isdigit() and len(age) < 10 else 0)
    return diagnosis.clock(CLOCK, ahead, "the server's at the JWKS URL")


def _why(error: OSError) -> str:
    """In words that give away no address."""
    if isinstance(error, TimeoutError):
        return f"it does not answer within {TOTAL_SECONDS:g} s, after which Neon gives up"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, ConnectionResetError):
        return "the connection ended without an HTTP/1.1 answer"
    return "no connection can be made"
