//! Bodies of gRPC calls, counted as they come in: nothing tells their size before.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{INFLATED, PIECE, Refusal, SMALL, Serving};

/// Holds what a call takes of the bytes that may be held at once, until it is answered.
pub(super) async fn meter(State(serving): State<Arc<Serving>>, request: Request, next: Next) -> Response {
    let plain = request.headers().get("grpc-encoding").is_none_or(|encoding| encoding == "identity");
    let held = Arc::new(Held {
        pieces: serving.pieces.clone(),
        grows: if plain { 1 } else { INFLATED },
        taken: Mutex::default(),
    });
    let _until_answered = held.clone();
    next.run(request.map(|body| Body::new(Metered { body, held }))).await
}

/// Bytes that a call holds.
struct Held {
    pieces: [Arc<Semaphore>; 2],
    grows: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    pieces: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes so many more; false where there are no more. Those beyond the first few are taken from the large ones.
    fn take(&self, bytes: usize) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes = taken.bytes.saturating_add(bytes.saturating_mul(self.grows));
        let of_its_size = &self.pieces[usize::from(taken.bytes > SMALL)];
        let more = taken.bytes.div_ceil(PIECE) - taken.pieces;
        let permit = of_its_size.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX));
        permit.is_ok_and(|permit| {
            taken.pieces += more;
            taken.permits.push(permit);
            true
        })
    }
}

/// A body that ends with an error where its bytes are too many beside those of others.
struct Metered {
    body: Body,
    held: Arc<Held>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if !self.held.take(bytes) {
            return Poll::Ready(Some(Err(Status::from(Refusal::Full).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
