//! Writing results to standard output.

use std::io::{self, Write};

use clap::ValueEnum;

use super::Exit;
use crate::record::json;

/// How a result that has both forms is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A summary for people.
    Text,
    /// One JSON object, and nothing else on standard output.
    Json,
}

/// Prints a text. A reader that has gone away is a clean end.
pub fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The exit of a write to standard output: Rust ignores SIGPIPE, so a reader that has gone away shows as an error
/// here, and is none.
pub fn finish(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            eprintln!("cannot write to standard output: {error}");
            Exit::CannotWrite
        }
    }
}

/// A message as `sub --format json` prints it.
#[derive(Clone, Copy, Debug)]
pub struct MessageLine<'a> {
    /// The subject it was published under.
    pub subject: &'a str,
    /// The key's bytes or number as text, if it has one.
    pub key: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl MessageLine<'_> {
    /// Appends `{"subject":…,"key":…,"body":…}` and a line break; a body that is not UTF-8 becomes `body_base64`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"subject\":");
        json::write_text(self.subject, out);
        if let Some(key) = self.key {
            out.extend_from_slice(b",\"key\":");
            json::write_text(key, out);
        }
        out.push(b',');
        json::write_bytes("body", self.body, out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends the body as it is and a line break.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.body);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_formats() {
        let mut out = Vec::new();
        let text = MessageLine {
            subject: "bank.tx.1",
            key: Some("1"),
            body: b"a \"b\"",
        };
        let bytes = MessageLine {
            subject: "x",
            key: None,
            body: &[0xff, b'\n'],
        };
        for line in [text, bytes] {
            line.write_json(&mut out);
            line.write_payload(&mut out);
        }
        let wanted: &[&[u8]] = &[
            b"{\"subject\":\"bank.tx.1\",\"key\":\"1\",\"body\":\"a \\\"b\\\"\"}\n",
            b"a \"b\"\n",
            b"{\"subject\":\"x\",\"body_base64\":\"/wo=\"}\n",
            b"\xff\n\n",
        ];
        assert_eq!(out, wanted.concat());
    }

    #[test]
    fn a_closed_pipe_is_a_clean_end() {
        assert_eq!(
            finish(Err(io::Error::from(io::ErrorKind::BrokenPipe))),
            Exit::Success
        );
        assert_eq!(
            finish(Err(io::Error::from(io::ErrorKind::StorageFull))),
            Exit::CannotWrite
        );
    }
}
