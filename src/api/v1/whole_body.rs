//! The body of a response that is there as a whole, handed to the server piece by piece: it copies what it gets and drops it,
//! and so the reservation of the bytes would end long before the caller has read them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};

/// The server requests no more while as much as this waits to be sent.
const PIECE_BYTES: usize = 32 << 10;

/// Bytes that may hold a reservation, until the last of them is taken.
pub(crate) struct WholeBody(pub Bytes);

impl MessageBody for WholeBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let rest = &mut self.get_mut().0;
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn the_memory_of_a_whole_response_is_reserved_until_its_last_piece_is_taken() {
        let text: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let memory = Memory::new(Some(4));
        let mut reservation = memory.reserve("provider lab".into());
        reservation.grow(text.len()).unwrap();
        let mut body = WholeBody(reservation.hold(text.clone().into()));
        assert_eq!(body.size(), BodySize::Sized(200_000));
        let mut sent = Vec::new();
        while let Some(Ok(piece)) = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            assert!(piece.len() <= PIECE_BYTES, "{}", piece.len());
            assert_eq!(memory.reserved(), 400_000);
            sent.extend_from_slice(&piece);
        }
        assert_eq!((sent == text, memory.reserved()), (true, 0));
    }
}
