//! The rows of a statement as they come.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use tonic::Streaming;

use crate::result::rows;
use crate::v1::{Column, StreamScopedQueryResponse, StreamSummary};
use crate::{Error, Row};

/// Rows, fetched as they are asked for. Dropping it ends the statement in Postgres.
///
/// An error comes after the rows before it, and is the last item. Made by [`Scope::stream`](crate::Scope::stream).
pub struct RowStream {
    columns: Arc<[Column]>,
    /// None once it has ended.
    parts: Option<Streaming<StreamScopedQueryResponse>>,
    rows: vec::IntoIter<Row>,
    summary: Option<StreamSummary>,
    /// The deadline, and the client's end.
    ended: Pin<Box<dyn Future<Output = Error> + Send>>,
}

impl RowStream {
    pub(crate) fn new(
        columns: Vec<Column>,
        parts: Streaming<StreamScopedQueryResponse>,
        ended: impl Future<Output = Error> + Send + 'static,
    ) -> Self {
        let (columns, rows) = (columns.into(), Vec::new().into_iter());
        Self { columns, parts: Some(parts), rows, summary: None, ended: Box::pin(ended) }
    }

    /// Names, types and kinds.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row; none after the last one and after an error.
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// What was given; none before the end.
    pub fn summary(&self) -> Option<&StreamSummary> {
        self.summary.as_ref().filter(|_| self.parts.is_none())
    }

    /// Waits for another message; false at the end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(Ok(false)) };
        if let Poll::Ready(error) = self.ended.as_mut().poll(context) {
            return Poll::Ready(Err(error));
        }
        let part = match ready!(Pin::new(parts).poll_next(context)) {
            Some(part) => part.map_err(|status| Error::from_status(&status, true))?,
            None if self.summary.is_none() => return Poll::Ready(Err(Error::cut())),
            None => return Poll::Ready(Ok(false)),
        };
        if part.summary.is_some() {
            self.summary = part.summary;
        } else {
            self.rows = rows(&self.columns, part.data, part.row_count as usize)?.into_iter();
        }
        Poll::Ready(Ok(true))
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            let last = match ready!(self.poll_part(context)) {
                Ok(true) => continue,
                Ok(false) => None,
                Err(error) => {
                    self.summary = None;
                    Some(Err(error))
                }
            };
            self.parts = None; // which cancels the call, where it goes on
            return Poll::Ready(last);
        }
    }
}

/// Shows no values.
impl fmt::Debug for RowStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RowStream").finish_non_exhaustive()
    }
}
