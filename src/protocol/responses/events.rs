//! Server-sent events of a response: each has its type and its number.

use std::io::Write as _;

/// Numbers the events of one response.
#[derive(Debug, Default)]
pub(super) struct Events {
    next: u64,
}

impl Events {
    /// Writes the beginning of an event. Further members and [`Events::end`] follow.
    pub(super) fn begin(&mut self, name: &str, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{}", self.next);
        self.next += 1;
    }

    #[expect(clippy::unused_self, reason = "the counterpart of `begin`")]
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"}\n\n");
    }

    /// An item was added or is done.
    pub(super) fn item(&mut self, what: &str, output_index: usize, item: &str, out: &mut Vec<u8>) {
        let name = if what == "added" { "response.output_item.added" } else { "response.output_item.done" };
        self.begin(name, out);
        let _ = write!(out, ",\"output_index\":{output_index},\"item\":{item}");
        self.end(out);
    }
}
