//! A recording that waits in a file until it has been transcribed.

use std::{fs::File, ops::Range, sync::Arc};

/// How the client wants its transcript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TranscriptForm {
    #[default]
    Json,
    Text,
    Srt,
    /// With times, where the model has them.
    VerboseJson,
    Vtt,
}

impl TranscriptForm {
    /// Whether it needs the times of what is said.
    pub fn needs_times(self) -> bool {
        matches!(self, Self::Srt | Self::VerboseJson | Self::Vtt)
    }
}

/// A form with a recording, as the client sent it.
#[derive(Debug)]
pub struct Upload {
    /// The whole body. It has no name, and goes with its last reader.
    pub file: Arc<File>,
    pub bytes: u64,
    /// With the boundary.
    pub content_type: String,
    /// Where the model's name stands.
    pub model: Range<u64>,
    /// Further changes on the way to a provider.
    pub edits: Vec<UploadEdit>,
    pub recording_bytes: u64,
    /// Length of the recording, from its container.
    pub seconds: f64,
    pub form: TranscriptForm,
    /// The transcript is wanted in English.
    pub is_translation: bool,
}

/// A text in the place of bytes of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadEdit {
    pub range: Range<u64>,
    pub text: String,
    /// For models that state times; otherwise for those that do not.
    pub only_verbose: bool,
}

impl Upload {
    /// The changes for a model with this id, in the order of their positions.
    pub fn edits_for(&self, model: &str, states_times: bool) -> Vec<(Range<u64>, String)> {
        let own = self.edits.iter().filter(|edit| edit.only_verbose == states_times);
        let mut edits: Vec<_> = own.map(|edit| (edit.range.clone(), edit.text.clone())).collect();
        edits.push((self.model.clone(), model.to_owned()));
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }
}
