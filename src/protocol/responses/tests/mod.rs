//! Requests as chat completions, and answers as events and objects.

mod conversations;
mod requests;
mod round_trip;
mod rules;
mod streams;

use bytes::Bytes;

use super::{Options, RequestBody};
use crate::protocol::{BadRequest, Decoded};

fn decode(body: &Bytes, options: Options) -> Result<Decoded, BadRequest> {
    RequestBody::read(body)?.decode(options)
}
