//! A recording that waits in a file until it has been transcribed.

use std::{fs::File, ops::Range, sync::Arc};

use super::provider::Model;

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
    /// Where the recording stands.
    pub recording: Range<u64>,
    /// The language that the client states, and what it says of the recording.
    pub language: Option<String>,
    pub prompt: Option<String>,
    /// Length of the recording, from its container.
    pub seconds: f64,
    pub form: TranscriptForm,
    /// The transcript is wanted as it comes.
    pub stream: bool,
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
    /// Only for models that do not stream their transcripts.
    pub only_whole: bool,
}

impl Upload {
    pub fn recording_bytes(&self) -> u64 {
        self.recording.end - self.recording.start
    }

    /// Whether a model sends the transcript as it comes.
    pub fn is_streamed_by(&self, model: &Model) -> bool {
        self.stream && model.streams_transcripts
    }

    /// The changes for a model, in the order of their positions.
    pub fn edits_for(&self, model: &Model) -> Vec<(Range<u64>, String)> {
        let streams = self.is_streamed_by(model);
        let is_verbose = model.states_times && !streams;
        let own = self.edits.iter().filter(|edit| edit.only_verbose == is_verbose && !(edit.only_whole && streams));
        let mut edits: Vec<_> = own.map(|edit| (edit.range.clone(), edit.text.clone())).collect();
        edits.push((self.model.clone(), model.id.to_string()));
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }
}
