"""From Usher's errors to gRPC statuses: the codes of sidecar/services/status.py, as gRPC writes them."""

from __future__ import annotations

from typing import Final

import grpc

from sidecar.core.errors import Reason, UsherError
from sidecar.services import status

CODES: Final[dict[Reason, grpc.StatusCode]] = {
    reason: grpc.StatusCode[code.name] for reason, code in status.CODES.items()
}
"""The gRPC code of every reason."""


class Refusal(grpc.Status):
    """A status with its details, as grpc's abort_with_status takes it."""

    def __init__(self, error: UsherError, request_id: str) -> None:
        self.code = CODES[error.reason]
        self.details = status.cut(error.message, status.LONGEST_MESSAGE)
        self.trailing_metadata = (
            ("grpc-status-details-bin", status.rich_status(error, request_id).SerializeToString()),
        )
