//! Where the parts of a form stand in a file. The file is read in small pieces, whatever its size.
//!
//! The provider reads the same bytes with another reader: a form that two readers could read differently is refused.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

/// Parts of one form; OpenAI's has a handful.
const MAX_PARTS: usize = 64;
/// Headers of one part.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Behind the last boundary.
const MAX_END_BYTES: u64 = 8;
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
    let mut found = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    let boundary = found.next().filter(|_| found.next().is_none())?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    let fits = (1..=70).contains(&boundary.len()) && boundary.chars().all(is_plain) && !boundary.ends_with(' ');
    fits.then_some(boundary)
}

/// The parts of a form, in their order.
pub(super) fn parts(file: &mut (impl Read + Seek), boundary: &str) -> io::Result<Result<Vec<Part>, NoForm>> {
    let delimiters = match delimiters(file, boundary)? {
        Ok(delimiters) => delimiters,
        Err(why) => return Ok(Err(why)),
    };
    let size = boundary.len() as u64 + 2;
    let mut parts = Vec::new();
    for pair in delimiters.windows(2) {
        let [at, next] = [pair[0], pair[1]];
        if parts.len() >= MAX_PARTS {
            return Ok(Err(NoForm("it has more than 64 parts")));
        }
        // The line break before a delimiter belongs to it.
        match part(file, at + size, next.saturating_sub(2))? {
            Ok(part) => parts.push(part),
            Err(why) => return Ok(Err(why)),
        }
    }
    let Some(last) = delimiters.last() else { return Ok(Err(NoForm("it has no boundary"))) };
    file.seek(SeekFrom::Start(last + size))?;
    let mut end = Vec::new();
    file.take(MAX_END_BYTES + 1).read_to_end(&mut end)?;
    Ok(match end.strip_prefix(b"--") {
        None => Err(NoForm("its last boundary is missing")),
        Some(rest) if rest.iter().all(|b| matches!(b, b'\r' | b'\n')) && end.len() as u64 <= MAX_END_BYTES => Ok(parts),
        Some(_) => Err(NoForm("something follows its end")),
    })
}

/// Positions of all lines that begin with the boundary. Each ends where the boundary does: some readers look for the boundary
/// alone, some for the whole line, and some take a line feed for a line break.
fn delimiters(file: &mut (impl Read + Seek), boundary: &str) -> io::Result<Result<Vec<u64>, NoForm>> {
    file.seek(SeekFrom::Start(0))?;
    let wanted = format!("--{boundary}").into_bytes();
    let finder = memchr::memmem::Finder::new(&wanted);
    // The first line may be a boundary: as if a line break came before it.
    let (mut kept, mut before): (Vec<u8>, u64) = (b"\r\n".to_vec(), 0);
    let (mut found, mut looked_at): (Vec<u64>, u64) = (Vec::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&piece[..read]);
        for at in finder.find_iter(&kept) {
            let position = before + at as u64;
            if position < looked_at {
                continue;
            }
            looked_at = position + 1;
            match kept[..at] {
                [.., b'\r', b'\n'] => found.push(position - 2),
                [.., b'\r' | b'\n'] => return Ok(Err(NoForm("a boundary follows half a line break"))),
                _ => {}
            }
            if found.len() > MAX_PARTS + 1 {
                return Ok(Err(NoForm("it has more than 64 parts")));
            }
        }
        // The end may be the beginning of another one, and the line break before it.
        let done = kept.len().saturating_sub(wanted.len() + 1);
        kept.drain(..done);
        before += done as u64;
    }
    if found.first().is_some_and(|first| *first > 0) {
        return Ok(Err(NoForm("something comes before its first boundary")));
    }
    for at in found.iter().rev().skip(1) {
        let mut end = [0; 2];
        file.seek(SeekFrom::Start(at + wanted.len() as u64))?;
        if file.read_exact(&mut end).is_err() || end != *b"\r\n" {
            return Ok(Err(NoForm("a line begins with the boundary and goes on")));
        }
    }
    Ok(Ok(found))
}

/// The part between the end of a delimiter and the next one.
fn part(file: &mut (impl Read + Seek), from: u64, to: u64) -> io::Result<Result<Part, NoForm>> {
    file.seek(SeekFrom::Start(from))?;
    let mut head = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(MAX_HEAD_BYTES)];
    file.read_exact(&mut head)?;
    // Behind the delimiter: a line break, headers, an empty line.
    let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") else { return Ok(Err(NO_NAME)) };
    let (name, file_name) = match names(&String::from_utf8_lossy(&head[..end])) {
        Ok(names) => names,
        Err(why) => return Ok(Err(why)),
    };
    let content = from + end as u64 + 4..to;
    let mut value = String::new();
    if file_name.is_none() && content.end >= content.start {
        file.seek(SeekFrom::Start(content.start))?;
        let length = (content.end - content.start).min(MAX_VALUE_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact(&mut bytes)?;
        value = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(if content.end >= content.start { Ok(Part { name, file_name, content, value }) } else { Err(NO_NAME) })
}

const NO_NAME: NoForm = NoForm("a part has no `Content-Disposition` with a name");

/// The names of a part and of its file, in its headers.
fn names(head: &str) -> Result<(String, Option<String>), NoForm> {
    let mut found = None;
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        if line.contains(['\r', '\n', '\0']) || line.starts_with([' ', '\t']) {
            return Err(NoForm("a header of a part has several lines"));
        }
        let Some((name, value)) = line.split_once(':') else { return Err(NoForm("a line of a part is no header")) };
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" if found.is_some() => return Err(NoForm("a part has two `Content-Disposition`")),
            "content-disposition" => found = Some(parameters(value)?),
            "content-transfer-encoding"
                if !["7bit", "8bit", "binary"].contains(&value.trim().to_ascii_lowercase().as_str()) =>
            {
                return Err(NoForm("a part is encoded"));
            }
            _ => {}
        }
    }
    let (mut own, mut file) = (None, None);
    for (name, value) in found.unwrap_or_default() {
        let place = match name.to_ascii_lowercase().as_str() {
            "name" => &mut own,
            "filename" | "filename*" => &mut file,
            "name*" => return Err(NoForm("the name of a part is encoded")),
            _ => continue,
        };
        if place.replace(value).is_some() && name.eq_ignore_ascii_case("name") {
            return Err(NoForm("a part has two names"));
        }
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
    match own {
        Some(name) if !name.is_empty() && name.chars().all(is_plain) => Ok((name, file)),
        Some(_) => Err(NoForm("a part has a name that is not of letters, digits, `_`, `-`, `.`, `[` and `]`")),
        None => Err(NO_NAME),
    }
}

/// The parameters of a header: `form-data; name="file"; filename="a.wav"`.
fn parameters(header: &str) -> Result<Vec<(String, String)>, NoForm> {
    const DAMAGED: NoForm = NoForm("a `Content-Disposition` cannot be read");
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest).trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(DAMAGED)?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(DAMAGED)?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        // Some readers take a backslash for an escape, which hides a quote.
        if value.ends_with('\\') || value.contains('"') || name.contains([';', '"']) {
            return Err(NoForm("the name of a file has a quotation mark"));
        }
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = match next.trim_start().strip_prefix(';') {
            Some(next) => next.trim_start(),
            None if next.trim().is_empty() => "",
            None => return Err(DAMAGED),
        };
    }
    Ok(found)
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
            &[("model", None, b"m"), ("file", Some("a \\b;c=.wav"), b"RIFF\r\n--xy --xyz"), ("prompt", None, b"")],
        );
        let parts = parts(&mut Cursor::new(body.clone()), "xyz").unwrap().unwrap();
        let found: Vec<_> = parts.iter().map(|part| (&*part.name, part.file_name.is_some(), &*part.value)).collect();
        assert_eq!(found, [("model", false, "m"), ("file", true, ""), ("prompt", false, "")]);
        let content = |part: &Part| {
            body[usize::try_from(part.content.start).unwrap()..usize::try_from(part.content.end).unwrap()].to_vec()
        };
        assert_eq!((content(&parts[0]), content(&parts[1])), (b"m".to_vec(), b"RIFF\r\n--xy --xyz".to_vec()));
        assert_eq!(boundary("multipart/form-data; charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        for wrong in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a\\b\"",
        ] {
            assert_eq!(boundary(wrong), None, "{wrong}");
        }
        for wrong in [&body[..body.len() - 4], b"nothing", b"", b"--xyz\r\n\r\n\r\n--xyz--"] {
            assert!(super::parts(&mut Cursor::new(wrong.to_vec()), "xyz").unwrap().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_another_reader_could_read_differently_is_no_form() {
        let read = |body: &str| parts(&mut Cursor::new(body.as_bytes().to_vec()), "b").unwrap();
        let plain = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n";
        assert_eq!(read(plain).unwrap().len(), 1);
        assert!(read(&plain.replace("name=\"model\"", "NAME = model ; size=3")).is_ok());
        for (what, with) in [
            ("--b\r\nC", "x\r\n--b\r\nC"),
            ("--b\r\nC", "--b \r\nC"),
            ("--b\r\nC", "--bb\r\nC"),
            ("\r\nm\r\n", "\r\nm\n--b\nContent-Disposition: form-data; name=\"model\"\n\nx\r\n"),
            ("\r\nm\r\n", "\r\nm\r\n--b--\r\n"),
            ("\r\nm\r\n", "\r\nm\r--b\r"),
            ("--b--\r\n", "--b--\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b--\r\n"),
            ("--b--\r\n", "--b--and more"),
            ("name=\"model\"", "name=\"mod\\\"el\""),
            ("name=\"model\"", "name=\"mod%65l\""),
            ("name=\"model\"", "name=\"a\"; name=\"model\""),
            ("name=\"model\"", "name=\"a\"; name*=utf-8''model"),
            ("name=\"model\"", "name=\"file\"; filename=\"a\\\"; name=\\\"model\\\"\""),
            ("name=\"model\"", "name=\"file\" name=\"model\""),
            ("name=\"model\"", "name=\"file\";\r\n name=\"model\""),
            ("name=\"model\"", "name=\"a\"\nContent-Disposition: form-data; name=\"model\""),
            ("name=\"model\"", "name=\"a\"\r\nContent-Disposition: form-data; name=\"model\""),
            ("name=\"model\"", "name=\"model\"\r\nContent-Transfer-Encoding: base64"),
        ] {
            let body = plain.replacen(what, with, 1);
            assert!(read(&body).is_err(), "{body:?}");
        }
    }

    proptest! {
        /// Whatever a file contains, and wherever its pieces are read, its bytes are found.
        #[test]
        fn the_bytes_of_a_file_are_found(content in prop::collection::vec(prop::sample::select(b"-\r\nxyab".to_vec()), 0..300), pad in 0..70_000_usize) {
            let mut content = [vec![b'p'; pad], content].concat();
            while let Some(at) = memchr::memmem::find(&content, b"--xyab") {
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
