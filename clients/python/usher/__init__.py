"""Usher's client: tokens, and SQL that sees an end user's rows only."""

from usher.client import Client, Scope, TokenSource
from usher.errors import UsherError
from usher.messages import Column, Result, Row, Token, Verified, key_state
from usher.sync import SyncClient, SyncScope, SyncTokenSource
from usher.values import FarDate, FarTime, FarTimestamp, Interval, Json

__all__ = [
    "Client",
    "Column",
    "FarDate",
    "FarTime",
    "FarTimestamp",
    "Interval",
    "Json",
    "Result",
    "Row",
    "Scope",
    "SyncClient",
    "SyncScope",
    "SyncTokenSource",
    "Token",
    "TokenSource",
    "UsherError",
    "Verified",
    "key_state",
]
