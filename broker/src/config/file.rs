//! Reads the properties format of Java, as `server.properties` is written in it.
//!
//! Owns the syntax only: comments, continued lines, separators and escapes. What the names mean is for `settings`.

/// One `name=value` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line of the file on which the entry starts, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// All entries in order. The format has no errors: every text is some list of entries.
pub(super) fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = first.to_string();
        while is_continued(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let (name, value) = split(&whole);
        entries.push(Entry {
            line: at + 1,
            name: unescape(name),
            value: unescape(value).trim_end().to_string(),
        });
    }
    entries
}

/// A line goes on in the next one when it ends with an odd number of backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name ends at the first `=`, `:` or white space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, letter) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == '=' || letter == ':' || letter.is_whitespace() {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_java_are_read() {
        let text = "# comment\n! other comment\n\n\
                    node.id=1\n  log.dirs = /a,\\\n    /b\nname:value\nspaced value with blanks  \n\
                    path=C\\:\\\\x\\u0041\\ttab\nempty=\nalone\nurl=PLAINTEXT://h:9092\nlast=x\\";
        let entries: Vec<(usize, String, String)> = parse(text)
            .into_iter()
            .map(|entry| (entry.line, entry.name, entry.value))
            .collect();
        let expected = [
            (4, "node.id", "1"),
            (5, "log.dirs", "/a,/b"),
            (7, "name", "value"),
            (8, "spaced", "value with blanks"),
            (9, "path", "C:\\xA\ttab"),
            (10, "empty", ""),
            (11, "alone", ""),
            (12, "url", "PLAINTEXT://h:9092"),
            (13, "last", "x"),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(line, name, value)| (line, name.into(), value.into()))
            .collect();
        assert_eq!(entries, expected);
    }
}
