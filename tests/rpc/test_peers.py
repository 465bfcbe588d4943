"""The kernel says who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket

import pytest

from sidecar.services.peers import PeerCredentials, peer_credentials


def test_the_other_end_of_a_socket_pair_is_this_process() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_credentials(one) == PeerCredentials(uid=os.geteuid(), gid=os.getegid())


def test_a_socket_without_a_peer_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as alone, pytest.raises(OSError, match=r"."):
        peer_credentials(alone)
