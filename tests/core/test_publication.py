"""What is published only ever gets newer, is never empty, and does not ask the clock which set is newer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import KeySetRefused
from sidecar.core.keyring import UNSETTLED_CACHE_SECONDS, PublishedKeys
from sidecar.core.publication import Publication
from tests.fakes import START, FakeClock, Recorder


def a_set(version: int, kid: str = "", settled_at: float = 0.0) -> PublishedKeys:
    body = b'{"keys":[{"kid":"%s"}]}' % (kid or f"of-{version}").encode()
    return PublishedKeys(
        body=body,
        etag=f'"{version}"',
        max_age=300,
        algorithms=("ES256",),
        settled_at=settled_at,
        version=version,
    )


EMPTY = replace(a_set(9), body=b'{"keys":[]}', algorithms=())


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def publication(seen: Recorder) -> Publication:
    return Publication(a_set(5), FakeClock(), seen)


def test_a_newer_set_takes_the_place(publication: Publication, seen: Recorder) -> None:
    assert publication.offer(a_set(6))
    assert publication.now == a_set(6)
    assert publication.offer(a_set(40))
    assert publication.now.version == 40
    assert seen.events == []


def test_an_older_set_is_refused_and_said(publication: Publication, seen: Recorder) -> None:
    assert not publication.offer(a_set(4))
    assert publication.now == a_set(5)
    assert seen.events == [KeySetRefused(version=4, served=5, empty=False)]


def test_the_same_set_again_is_no_change(publication: Publication, seen: Recorder) -> None:
    before = publication.now
    assert publication.offer(a_set(5))
    assert publication.now is before
    assert seen.events == []


def test_another_set_of_the_same_version_is_refused(publication: Publication, seen: Recorder) -> None:
    assert not publication.offer(a_set(5, kid="other"))
    assert publication.now == a_set(5)
    assert seen.events == [KeySetRefused(version=5, served=5, empty=False)]


def test_an_empty_set_is_refused_however_new(publication: Publication, seen: Recorder) -> None:
    assert not publication.offer(EMPTY)
    assert publication.now == a_set(5)
    assert seen.events == [KeySetRefused(version=9, served=5, empty=True)]


def test_nothing_is_published_before_there_is_a_key() -> None:
    with pytest.raises(ValueError, match="has a key"):
        Publication(EMPTY, FakeClock(), Recorder())


async def test_a_set_settles_with_time_and_a_clock_set_back_only_shortens_caches(seen: Recorder) -> None:
    clock = FakeClock()
    publication = Publication(a_set(5, settled_at=START + 100), clock, seen)
    assert publication.now.max_age == UNSETTLED_CACHE_SECONDS
    assert publication.now is publication.now
    await clock.advance(100)
    assert publication.now.max_age == 300
    clock.set_back(3600)
    assert (publication.now.max_age, publication.now.version) == (UNSETTLED_CACHE_SECONDS, 5)
    assert publication.offer(a_set(6))
    assert not publication.offer(a_set(5))
    assert publication.now.version == 6


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.floats(-1e6, 1e6)), max_size=30))
def test_whatever_comes_what_is_served_never_gets_older_or_empty(
    offers: list[tuple[int, bool, float]],
) -> None:
    clock = FakeClock()
    publication = Publication(a_set(3), clock, Recorder())
    for version, empty, jump in offers:
        before = publication.now.version
        clock.set_back(jump)
        accepted = publication.offer(replace(EMPTY, version=version) if empty else a_set(version))
        assert accepted == (version >= before and not empty)
        assert publication.now.version == (version if accepted else before)
        assert publication.now.algorithms
