//! Reads the form of a transcription from the file that holds it.

use std::{fs::File, io, sync::Arc};

use super::multipart::{self, Part};
use crate::{
    domain::{Capabilities, ChatRequest, ModelKind, TranscriptForm, Upload, UploadEdit},
    protocol::{audio, chat::BadRequest},
};

/// What is wanted of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Transcribe,
    /// In English, whatever the language of the recording.
    Translate,
}

/// A request, read.
#[derive(Debug)]
pub struct Transcription {
    pub request: ChatRequest,
    pub form: TranscriptForm,
    pub stream: bool,
}

const FORMS: [(&str, TranscriptForm); 5] = [
    ("json", TranscriptForm::Json),
    ("text", TranscriptForm::Text),
    ("srt", TranscriptForm::Srt),
    ("verbose_json", TranscriptForm::VerboseJson),
    ("vtt", TranscriptForm::Vtt),
];

/// Reads a form of `bytes` bytes. The outer error is that of the disk. Blocks.
pub fn decode(file: File, bytes: u64, content_type: &str, task: Task) -> io::Result<Result<Transcription, BadRequest>> {
    let Some(boundary) = multipart::boundary(content_type) else {
        let message = "The content type has no boundary: send `multipart/form-data; boundary=…`, as every HTTP client does for a form.";
        return Ok(Err(BadRequest::invalid("content-type", message)));
    };
    let parts = match multipart::parts(&mut &file, &boundary)? {
        Ok(parts) => parts,
        Err(why) => {
            return Ok(Err(BadRequest::invalid("file", format!("The body is no form that can be read: {}.", why.0))));
        }
    };
    let fields = match Fields::of(&parts) {
        Ok(fields) => fields,
        Err(error) => return Ok(Err(error)),
    };
    let recording = fields.file.content.clone();
    let seconds = audio::seconds(Window { file: &file, start: recording.start, end: recording.end, at: 0 })?;
    let (form, stream) = (fields.form, fields.stream);
    let mut needs = Capabilities::default();
    if task == Task::Translate {
        needs = needs.with(Capabilities::TRANSLATE);
    }
    let model = fields.model.value.clone();
    let others = parts.iter().map(|part| part.name.clone()).collect();
    let upload = Upload {
        edits: fields.edits(&boundary),
        model: fields.model.content.clone(),
        recording,
        language: fields.text("language"),
        prompt: fields.text("prompt"),
        file: Arc::new(file),
        bytes,
        content_type: content_type.to_owned(),
        seconds,
        form,
        stream,
        is_translation: task == Task::Translate,
    };
    let kind = ModelKind::Transcription;
    let request = ChatRequest {
        kind,
        model,
        needs,
        others,
        include_usage: stream,
        upload: Some(Arc::new(upload)),
        ..ChatRequest::default()
    };
    Ok(Ok(Transcription { request, form, stream }))
}

/// Fields that are read here or at a provider: each has one spelling.
const KNOWN: [&str; 16] = [
    "file",
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    "stream",
    "user",
    "timestamp_granularities",
    "timestamp_granularities[]",
    "include",
    "include[]",
    "chunking_strategy",
    "diarize",
    "known_speaker_names[]",
    "known_speaker_references[]",
];
/// Fields that may stand several times, beside those whose names end with `[]`.
const LISTS: [&str; 4] = ["timestamp_granularities", "include", "known_speaker_names", "context_bias"];
/// Fields by which providers find a recording elsewhere: one that was neither measured nor charged.
const ELSEWHERE: [&str; 7] = ["url", "file_url", "file_id", "audio_url", "source_url", "cloud_storage_url", "uri"];

/// What is checked and charged here must be what the provider reads.
fn check_names(parts: &[Part]) -> Result<(), BadRequest> {
    for (at, part) in parts.iter().enumerate() {
        let name = &part.name;
        let folded = name.to_ascii_lowercase();
        let refuse = |why: String| Err(BadRequest::invalid(name, why));
        if let Some(known) = KNOWN.iter().find(|known| **known == folded && *known != name) {
            return refuse(format!("The field `{name}` is spelt `{known}`."));
        }
        if ELSEWHERE.contains(&folded.as_str()) {
            return refuse(format!("`{name}` is not supported: send the recording as `file`."));
        }
        let may_repeat = name.ends_with("[]") || LISTS.contains(&name.as_str());
        if !may_repeat && parts[..at].iter().any(|other| other.name == *name) {
            return refuse(format!("The field `{name}` occurs twice in the form."));
        }
    }
    Ok(())
}

/// The parts that matter.
struct Fields<'p> {
    all: &'p [Part],
    model: &'p Part,
    file: &'p Part,
    form_at: Option<&'p Part>,
    form: TranscriptForm,
    stream_at: Option<&'p Part>,
    stream: bool,
}

impl<'p> Fields<'p> {
    fn of(parts: &'p [Part]) -> Result<Self, BadRequest> {
        check_names(parts)?;
        let find = |name: &str| parts.iter().find(|part| part.name == name);
        let missing = |name: &str| BadRequest::invalid(name, format!("Missing required parameter: `{name}`."));
        let model = find("model").filter(|part| !part.value.trim().is_empty()).ok_or_else(|| missing("model"))?;
        let file = find("file").ok_or_else(|| missing("file"))?;
        if file.file_name.is_none() || file.content.is_empty() {
            return Err(BadRequest::invalid("file", "`file` is no file with a name and a content."));
        }
        let form_at = find("response_format");
        let form = form_at.map_or(Some(TranscriptForm::Json), |part| {
            FORMS.iter().find(|(name, _)| *name == part.value.trim()).map(|(_, form)| *form)
        });
        let form = form.ok_or_else(|| {
            let names = FORMS.map(|(name, _)| format!("`{name}`")).join(", ");
            BadRequest::invalid(
                "response_format",
                format!("Invalid value for `response_format`: expected one of {names}."),
            )
        })?;
        let stream_at = find("stream");
        let stream = match stream_at.map(|part| part.value.trim().to_lowercase()).as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(BadRequest::invalid("stream", "Invalid value for `stream`: expected a boolean.")),
        };
        Ok(Self { all: parts, model, file, form_at, form, stream_at, stream })
    }

    /// A field that is not empty.
    fn text(&self, name: &str) -> Option<String> {
        let value = self.all.iter().find(|part| part.name == name).map(|part| part.value.trim());
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Changes for every provider: the whole transcript, with its times where the provider has them. The other forms are written
    /// here, because few providers have them all.
    fn edits(&self, boundary: &str) -> Vec<UploadEdit> {
        let mut edits = Vec::new();
        let form = |range, text: String| UploadEdit { range, text, only_verbose: true, only_whole: false };
        if let Some(part) = self.form_at {
            edits.push(form(part.content.clone(), "verbose_json".to_owned()));
        } else {
            let head = "Content-Disposition: form-data; name=\"response_format\"";
            edits.push(form(0..0, format!("--{boundary}\r\n{head}\r\n\r\nverbose_json\r\n")));
        }
        let edit = |part: &Part, text: &str, only_verbose, only_whole| UploadEdit {
            range: part.content.clone(),
            text: text.to_owned(),
            only_verbose,
            only_whole,
        };
        if let Some(part) = self.form_at.filter(|_| self.form != TranscriptForm::Json) {
            edits.push(edit(part, "json", false, false));
        }
        if let Some(part) = self.stream_at.filter(|_| self.stream) {
            edits.extend([true, false].map(|only_verbose| edit(part, "false", only_verbose, true)));
        }
        edits
    }
}

/// A part of a file as a file of its own.
struct Window<'f> {
    file: &'f File,
    start: u64,
    end: u64,
    at: u64,
}

impl io::Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = (self.end - self.start).saturating_sub(self.at);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.start + self.at))?;
        let read = io::Read::read(&mut self.file, &mut buffer[..length])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl io::Seek for Window<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let length = self.end - self.start;
        let (base, by) = match to {
            io::SeekFrom::Start(at) => (at, 0),
            io::SeekFrom::End(by) => (length, by),
            io::SeekFrom::Current(by) => (self.at, by),
        };
        self.at = base.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wav(seconds: u32) -> Vec<u8> {
        let bytes = 16_000 * seconds;
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(8_000_u32.to_le_bytes());
        file.extend(16_000_u32.to_le_bytes());
        file.extend([2, 0, 16, 0]);
        file.extend(b"data");
        file.extend(bytes.to_le_bytes());
        file.resize(file.len() + bytes as usize, 0);
        file
    }

    fn read(fields: &[(&str, &str)], recording: Option<&[u8]>) -> Result<Transcription, BadRequest> {
        let mut body = Vec::new();
        for (name, value) in fields {
            body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
        }
        if let Some(recording) = recording {
            body.extend(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
            body.extend(recording);
            body.extend(b"\r\n");
        }
        body.extend(b"--b--\r\n");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&body).unwrap();
        decode(file, body.len() as u64, "multipart/form-data; boundary=b", Task::Transcribe).unwrap()
    }

    #[test]
    fn a_form_is_read_with_the_length_of_its_recording() {
        let wav = wav(7);
        let read = read(&[("model", "whisper"), ("response_format", "srt"), ("stream", "True")], Some(&wav)).unwrap();
        let upload = read.request.upload.unwrap();
        assert!((upload.seconds - 7.0).abs() < 1e-6, "{}", upload.seconds);
        assert_eq!((read.request.model.as_str(), read.form, read.stream), ("whisper", TranscriptForm::Srt, true));
        assert_eq!(upload.recording_bytes(), wav.len() as u64);
        let texts = |verbose| {
            let edits = upload.edits.iter().filter(move |edit| edit.only_verbose == verbose);
            edits.map(|edit| edit.text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((texts(true), texts(false)), (vec!["verbose_json", "false"], vec!["json", "false"]));
        assert_eq!(read.request.others[0], "model", "what may cost money is known to the plan");
    }

    #[test]
    fn a_mistake_is_named_by_its_field() {
        let wav = wav(1);
        for (fields, recording, param) in [
            (&[][..], Some(&wav[..]), "model"),
            (&[("model", "m")], None, "file"),
            (&[("model", "m")], Some(&b""[..]), "file"),
            (&[("model", "m"), ("file", "text")], None, "file"),
            (&[("model", "m"), ("response_format", "pdf")], Some(&wav), "response_format"),
            (&[("model", "m"), ("model", "n")], Some(&wav), "model"),
            (&[("model", "m"), ("Model", "n")], Some(&wav), "Model"),
            (&[("model", "m"), ("url", "http://x.example/long.wav")], Some(&wav), "url"),
            (&[("model", "m"), ("stream", "perhaps")], Some(&wav), "stream"),
        ] {
            assert_eq!(read(fields, recording).unwrap_err().param.as_deref(), Some(param), "{fields:?}");
        }
    }
}
