//! Where the parts of a form stand in a file. The file is read in small pieces, whatever its size.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

/// Parts of one form; OpenAI's has a handful.
const MAX_PARTS: usize = 64;
/// Headers of one part.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// The value of one field.
const MAX_VALUE_BYTES: u64 = 64 << 10;
const PIECE_BYTES: usize = 64 << 10;

/// One part.
#[derive(Debug)]
pub(super) struct Part {
    pub name: String,
    /// Of a file.
    pub file_name: Option<String>,
    pub content: Range<u64>,
    /// The content of a field, which is a text.
    pub value: String,
}

/// Why a body is no form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoForm(pub &'static str);

/// The boundary in the content type of a form.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&found.len()).then_some(found)
}

/// The parts of a form, in their order.
pub(super) fn parts(file: &mut (impl Read + Seek), boundary: &str) -> io::Result<Result<Vec<Part>, NoForm>> {
    let delimiters = delimiters(file, boundary)?;
    let size = boundary.len() as u64 + 2;
    let mut parts = Vec::new();
    for pair in delimiters.windows(2) {
        let [at, next] = [pair[0], pair[1]];
        if parts.len() >= MAX_PARTS {
            return Ok(Err(NoForm("it has more than 64 parts")));
        }
        // The line break before a delimiter belongs to it.
        match part(file, at + size, next.saturating_sub(2))? {
            Some(part) => parts.push(part),
            None => return Ok(Err(NoForm("a part has no `Content-Disposition` with a name"))),
        }
    }
    let is_closed = match delimiters.last() {
        Some(last) => {
            let mut end = [0; 2];
            file.seek(SeekFrom::Start(last + size))?;
            file.read_exact(&mut end).is_ok() && end == *b"--"
        }
        None => false,
    };
    Ok(if is_closed { Ok(parts) } else { Err(NoForm("its last boundary is missing")) })
}

/// Positions of all lines that begin with the boundary.
fn delimiters(file: &mut (impl Read + Seek), boundary: &str) -> io::Result<Vec<u64>> {
    file.seek(SeekFrom::Start(0))?;
    let wanted = format!("\r\n--{boundary}").into_bytes();
    let finder = memchr::memmem::Finder::new(&wanted);
    // The first line may be a boundary: as if a line break came before it.
    let (mut kept, mut before): (Vec<u8>, u64) = (b"\r\n".to_vec(), 0);
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(found);
        }
        kept.extend_from_slice(&piece[..read]);
        for at in finder.find_iter(&kept) {
            found.push(before + at as u64);
            if found.len() > MAX_PARTS + 1 {
                return Ok(found);
            }
        }
        // The end may be the beginning of another one.
        let done = kept.len().saturating_sub(wanted.len() - 1);
        kept.drain(..done);
        before += done as u64;
    }
}

/// The part between the end of a delimiter and the next one.
fn part(file: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<Option<Part>> {
    file.seek(SeekFrom::Start(from))?;
    let mut head = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(MAX_HEAD_BYTES)];
    file.read_exact(&mut head)?;
    // Behind the delimiter: blanks, a line break, headers, an empty line.
    let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let disposition = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.to_owned())
    });
    let Some(disposition) = disposition else { return Ok(None) };
    let Some(name) = parameter(&disposition, "name") else { return Ok(None) };
    let file_name = parameter(&disposition, "filename");
    let content = from + end as u64 + 4..to;
    let mut value = String::new();
    if file_name.is_none() && content.end >= content.start {
        file.seek(SeekFrom::Start(content.start))?;
        let length = (content.end - content.start).min(MAX_VALUE_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact(&mut bytes)?;
        value = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok((content.end >= content.start).then_some(Part { name, file_name, content, value }))
}

/// A parameter of a header: `name="file"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().trim_start_matches(';').trim();
        let after = after.trim_start();
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            let ends = quoted.char_indices().scan(false, |escaped, (at, c)| {
                let ends = c == '"' && !*escaped;
                *escaped = c == '\\' && !*escaped;
                Some((at, ends))
            });
            let end = ends.into_iter().find(|(_, ends)| *ends)?.0;
            (quoted[..end].to_owned(), &quoted[end + 1..])
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn form(boundary: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file =
                file.map_or_else(String::new, |file| format!("; filename=\"{file}\"\r\nContent-Type: audio/wav"));
            body.extend(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
            );
            body.extend(*content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        body
    }

    #[test]
    fn names_values_and_positions_are_found() {
        let body = form(
            "xyz",
            &[("model", None, b"m"), ("file", Some("a \\\"b\\\";c.wav"), b"RIFF\r\n--xy"), ("prompt", None, b"")],
        );
        let parts = parts(&mut Cursor::new(body.clone()), "xyz").unwrap().unwrap();
        let found: Vec<_> = parts.iter().map(|part| (&*part.name, part.file_name.is_some(), &*part.value)).collect();
        assert_eq!(found, [("model", false, "m"), ("file", true, ""), ("prompt", false, "")]);
        let content = |part: &Part| {
            body[usize::try_from(part.content.start).unwrap()..usize::try_from(part.content.end).unwrap()].to_vec()
        };
        assert_eq!((content(&parts[0]), content(&parts[1])), (b"m".to_vec(), b"RIFF\r\n--xy".to_vec()));
        assert_eq!(boundary("multipart/form-data; charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!((boundary("application/json"), boundary("multipart/form-data")), (None, None));
        for wrong in [&body[..body.len() - 4], b"nothing", b"", b"--xyz\r\n\r\n\r\n--xyz--"] {
            assert!(super::parts(&mut Cursor::new(wrong.to_vec()), "xyz").unwrap().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// Whatever a file contains, and wherever its pieces are read, its bytes are found.
        #[test]
        fn the_bytes_of_a_file_are_found(content in prop::collection::vec(prop::sample::select(b"-\r\nxyab".to_vec()), 0..300), pad in 0..70_000_usize) {
            let mut content = [vec![b'p'; pad], content].concat();
            while let Some(at) = memchr::memmem::find(&content, b"\r\n--xyab") {
                content[at] = b'x';
            }
            let body = form("xyab", &[("file", Some("a"), &content), ("model", None, b"m")]);
            let parts = parts(&mut Cursor::new(body.clone()), "xyab").unwrap().unwrap();
            let range = usize::try_from(parts[0].content.start).unwrap()..usize::try_from(parts[0].content.end).unwrap();
            prop_assert!(body[range] == content[..]);
            prop_assert_eq!(&parts[1].value, "m");
        }

        /// Any bytes are read to an end.
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(prop::sample::select(b"-\r\nx:;=\"Content-Disposition".to_vec()), 0..400)) {
            let _ = parts(&mut Cursor::new(bytes), "x").unwrap();
        }
    }
}
