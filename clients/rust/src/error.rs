//! The one error of the client, and how it is read off a gRPC status.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

const AGAIN: [&str; 4] = ["SERIALIZATION_FAILURE", "DEADLOCK", "LOCK_NOT_AVAILABLE", "SHUTTING_DOWN"];

/// A call that was refused or failed. Branch on `reason`; the message is for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Error {
    /// The gRPC status.
    pub code: Code,
    /// One of docs/errors.md, or one that begins with `CLIENT_` (clients/CONTRACT.md).
    pub reason: String,
    /// For people. It holds no token, key, claim or parameter.
    pub message: String,
    /// What the server says of the error, such as the table and the column.
    pub metadata: BTreeMap<String, String>,
    /// What is wrong, by field of the request.
    pub fields: BTreeMap<String, String>,
    /// How long the server asks to wait before another try.
    pub retry_delay: Option<Duration>,
    /// Whether the same call may succeed later without harm.
    pub retryable: bool,
}

impl Error {
    /// The SQLSTATE of Postgres (Appendix A of its documentation), if it was the one that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        self.metadata.get("sqlstate").map(String::as_str)
    }

    /// Which statement of a transaction failed, counted from 0; none when it was no statement's fault.
    pub fn statement_index(&self) -> Option<usize> {
        self.metadata.get("statement_index")?.parse().ok()
    }

    /// What the server's log knows the call by.
    pub fn request_id(&self) -> Option<&str> {
        self.metadata.get("request_id").map(String::as_str)
    }

    /// The gRPC status's name, such as `INVALID_ARGUMENT`.
    pub fn status(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    pub(crate) fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.to_owned(), message.into());
        let (metadata, fields) = Default::default();
        Self { code, reason, message, metadata, fields, retry_delay: None, retryable: false }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "CLIENT_INVALID", message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Code::Cancelled, "CLIENT_CLOSED", "the client was closed; make a new one")
    }

    pub(crate) fn late() -> Self {
        Self::new(Code::DeadlineExceeded, "CLIENT_DEADLINE", "no answer came before the deadline")
    }

    pub(crate) fn malformed() -> Self {
        Self::new(Code::Internal, "CLIENT_OTHER", "the answer does not fit its own description")
    }

    pub(crate) fn cut() -> Self {
        Self::new(Code::Internal, "CLIENT_OTHER", "the stream was cut: it ended without its summary")
    }

    pub(crate) fn from_status(status: &Status, repeatable: bool) -> Self {
        // Only what the transport itself says has a source; what a server sent has none.
        let causes = || std::iter::successors(status.source(), |&cause| cause.source());
        if causes().any(|cause| cause.is::<TimeoutExpired>()) {
            return Self::late();
        }
        // The channel's task went with its runtime: tonic's generated stubs say so in these words alone.
        if status.code() == Code::Unknown && status.message().starts_with("Service was not ready") {
            return Self::invalid("the runtime in which the client was made has ended; make one in each");
        }
        let (code, message) = match causes().last() {
            Some(cause) => (Code::Unavailable, format!("no connection, or it ended: {cause}")),
            None => (status.code(), status.message().to_owned()),
        };
        let details = status.get_error_details();
        let mut made = match (details.error_info(), code) {
            (Some(info), _) => Self::new(code, &info.reason, message),
            (_, Code::Unavailable) => Self::new(code, "CLIENT_UNREACHABLE", message),
            (_, Code::DeadlineExceeded) => Self::new(code, "CLIENT_DEADLINE", message),
            (_, Code::Cancelled) => Self::new(code, "CLIENT_CANCELLED", message),
            // OutOfRange is tonic's own, for an answer beyond the limit.
            (_, Code::ResourceExhausted | Code::OutOfRange) => {
                Self::new(Code::ResourceExhausted, "CLIENT_MESSAGE_TOO_LARGE", message)
            }
            _ => Self::new(code, "CLIENT_OTHER", message),
        };
        if let Some(info) = details.error_info() {
            made.metadata = info.metadata.clone().into_iter().collect();
        }
        if let Some(request) = details.bad_request() {
            let violations = request.field_violations.iter();
            made.fields = violations.map(|one| (one.field.clone(), one.description.clone())).collect();
        }
        made.retry_delay = details.retry_info().map(|info| info.retry_delay.unwrap_or_default());
        made.retryable = made.retry_delay.is_some()
            || AGAIN.contains(&made.reason.as_str())
            || repeatable && made.reason == "CLIENT_UNREACHABLE";
        made
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.reason, self.message)
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_transport_says_has_a_reason_of_the_clients() {
        let cases = [
            (Status::out_of_range("too large"), "CLIENT_MESSAGE_TOO_LARGE", "RESOURCE_EXHAUSTED"),
            (Status::resource_exhausted("too large"), "CLIENT_MESSAGE_TOO_LARGE", "RESOURCE_EXHAUSTED"),
            (Status::cancelled("by the server"), "CLIENT_CANCELLED", "CANCELLED"),
            (Status::from_error(TimeoutExpired(()).into()), "CLIENT_DEADLINE", "DEADLINE_EXCEEDED"),
            (Status::from_error("the connection ended".into()), "CLIENT_UNREACHABLE", "UNAVAILABLE"),
            (Status::unimplemented("no such method"), "CLIENT_OTHER", "UNIMPLEMENTED"),
        ];
        for (status, reason, code) in cases {
            let error = Error::from_status(&status, true);
            assert_eq!((error.reason.as_str(), error.status()), (reason, code));
            assert_eq!(error.retryable, reason == "CLIENT_UNREACHABLE");
            assert!(!Error::from_status(&status, false).retryable);
        }
    }
}
