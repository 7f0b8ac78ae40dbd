//! Reads `.env` files as Node's dotenv and Docker Compose do. A `$` is an ordinary character, so that a secret is never
//! shortened by a substitution.

const BLANKS: [char; 2] = [' ', '\t'];

/// The variables of the file in their order. The error names the line; it does not repeat it, because it may be a secret.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    // Every kind of line end, of old editors too.
    let text = &*text.replace("\r\n", "\n").replace('\r', "\n");
    let mut variables = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while !rest.is_empty() {
        let line_number = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let wrong = |expected: &str| format!(".env:{line_number}: expected {expected}");
        let exported = rest.strip_prefix("export").filter(|after| after.starts_with(BLANKS));
        let line = exported.unwrap_or(rest).trim_start_matches(BLANKS);
        let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).unwrap_or(line.len());
        let (name, after) = (&line[..name_end], line[name_end..].trim_start_matches(BLANKS));
        let value = after.strip_prefix('=').or_else(|| after.strip_prefix(": ")).filter(|_| !name.is_empty());
        let end = match value {
            Some(value) => {
                let (value, end) =
                    read_value(value).ok_or_else(|| wrong("the closing quote of the value at the end of a line"))?;
                variables.push((name.to_owned(), value));
                end
            }
            // A comment, or a name that is left to the environment of the process.
            None if rest.starts_with('#') || !name.is_empty() && first_line(after).is_empty() => after,
            None => return Err(wrong("NAME=value")),
        };
        rest = end.split_once('\n').map_or("", |(_, following)| following).trim_start();
    }
    Ok(variables)
}

/// The value and what follows it. `None`: a quote opens the value and none closes it.
fn read_value(text: &str) -> Option<(String, &str)> {
    let value = text.trim_start_matches(BLANKS);
    let Some(quote) = value.chars().next().filter(|c| "\"'`".contains(*c)) else {
        let line = first_line(text);
        let comment = line.match_indices('#').find(|(at, _)| line[..*at].ends_with(BLANKS));
        let value = comment.map_or(line, |(at, _)| &line[..at]);
        return Some((value.trim().to_owned(), &text[line.len()..]));
    };
    let inner = &value[1..];
    // The value may span lines. A quote inside it must be escaped, or stand in a value of one line.
    let unescaped = inner.match_indices(quote).map(|(at, _)| at).find(|at| !inner[..*at].ends_with('\\'));
    let ends_line = |at: &usize| {
        let after = first_line(&inner[at + 1..]).trim();
        after.is_empty() || after.starts_with('#')
    };
    let end = unescaped.filter(ends_line).or_else(|| first_line(inner).trim_end().strip_suffix(quote).map(str::len))?;
    let value = if quote == '"' { unescape(&inner[..end]) } else { inner[..end].to_owned() };
    Some((value, &inner[end + 1..]))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The escapes of double quotes. A backslash before any other character stays.
fn unescape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match chars.peek().filter(|_| c == '\\') {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(&same @ ('"' | '\\')) => same,
            _ => {
                value.push(c);
                continue;
            }
        };
        chars.next();
        value.push(escaped);
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_repeating_it(
            text in "([A-Z_]{1,3}|export |#|=|: |\"|'|`|\\\\|\\$|hunter2|é|\r?\n| |\t){0,30}",
        ) {
            match parse(&text) {
                Ok(variables) => {
                    for (name, value) in variables {
                        prop_assert!(!name.is_empty() && value.len() <= text.len(), "{name}={value}");
                    }
                }
                Err(error) => prop_assert!(error.starts_with(".env:") && !error.contains("hunter2"), "{error}"),
            }
        }

        #[test]
        fn a_quoted_value_is_read_back(value in "[ -~é\n]{0,40}", after in "[A-Z]{1,4}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let read = parse(&format!("A=\"{escaped}\"\nB={after}\n")).unwrap();
            prop_assert_eq!(read, [("A".to_owned(), value), ("B".to_owned(), after)]);
        }
    }

    #[track_caller]
    fn value(line: &str) -> String {
        let variables = parse(line).unwrap();
        assert_eq!(variables.len(), 1, "{line}: {variables:?}");
        variables[0].1.clone()
    }

    #[test]
    fn a_value_is_kept_to_its_last_character() {
        for (line, expected) in [
            ("A=p$5word", "p$5word"),
            ("A=\"p$5word${HOME}\"", "p$5word${HOME}"),
            ("A=with blanks in it  ", "with blanks in it"),
            ("A=a#b # a comment", "a#b"),
            ("A=#b", "#b"),
            ("A= # a comment", ""),
            ("A=a=b==", "a=b=="),
            ("A='its' # a comment", "its"),
            ("A='it''s'", "it''s"),
            ("A='a\\nb'", "a\\nb"),
            ("A=\"a\\nb\\\\c\\\"d\\e\"", "a\nb\\c\"d\\e"),
            ("A=\"-----BEGIN\nEND-----\"\n", "-----BEGIN\nEND-----"),
            ("A=`\"'`", "\"'"),
            ("A=a\\b'c", "a\\b'c"),
            ("  export A = a ", "a"),
            ("A: a", "a"),
            ("A=", ""),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn a_file_of_windows_with_a_byte_order_mark_is_read() {
        assert_eq!(parse("A=1\rB=2\r").unwrap(), [("A".into(), "1".into()), ("B".into(), "2".into())]);
        let read = parse("\u{feff}A=1\r\n\r\n# B=2\r\nC='3'\r\nD\r\nE=5").unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("C", "3"), ("E", "5")]);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line_alone() {
        for (text, expected) in [
            ("A=1\n\nhunter2 is no assignment\n", ".env:3: expected NAME=value"),
            ("A=1\nB='hunter2\nC='3'\n", ".env:2: expected the closing quote"),
            ("=hunter2", ".env:1: expected NAME=value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
