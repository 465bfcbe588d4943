"""Usher's client: tokens, and SQL that sees an end user's rows only."""

from usher.client import Client, RowStream, Scope, TokenSource
from usher.errors import UsherError
from usher.messages import Isolation, Statement, Token, Verified, key_state
from usher.results import Column, Result, Row
from usher.streams import Summary
from usher.sync import SyncClient, SyncRowStream, SyncScope, SyncTokenSource
from usher.values import FarDate, FarTime, FarTimestamp, Interval, Json

__all__ = [
    "Client",
    "Column",
    "FarDate",
    "FarTime",
    "FarTimestamp",
    "Interval",
    "Isolation",
    "Json",
    "Result",
    "Row",
    "RowStream",
    "Scope",
    "Statement",
    "Summary",
    "SyncClient",
    "SyncRowStream",
    "SyncScope",
    "SyncTokenSource",
    "Token",
    "TokenSource",
    "UsherError",
    "Verified",
    "key_state",
]
