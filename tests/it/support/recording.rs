//! Recordings, and the forms in which they are posted.

/// A WAV file of silence. At 100 bytes a second an hour is small.
pub(crate) fn wav(seconds: u32) -> Vec<u8> {
    wav_with(seconds, 100)
}

pub(crate) fn wav_with(seconds: u32, bytes_per_second: u32) -> Vec<u8> {
    let bytes = seconds * bytes_per_second;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(bytes_per_second.to_le_bytes());
    file.extend(bytes_per_second.to_le_bytes());
    file.extend([1, 0, 8, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.resize(file.len() + bytes as usize, 0);
    file
}

pub(crate) const FORM: &str = "multipart/form-data; boundary=the-boundary";

/// A form: the fields, and behind them the file.
pub(crate) fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--the-boundary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(head.bytes());
    }
    let head = "--the-boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"my talk.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
    body.extend(head.bytes());
    body.extend(file);
    body.extend(b"\r\n--the-boundary--\r\n");
    body
}
