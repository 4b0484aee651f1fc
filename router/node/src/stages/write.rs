//! `write`: one line per record to standard output or a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::record::{Record, json};
use crate::template::{RenderError, Template};

/// What `write` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteSpec {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Keep what the file holds already.
    pub append: bool,
    /// What a line looks like.
    pub format: LineFormat,
}

/// What a written line looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// The body: a line as it came, or one JSON object.
    Body,
    /// Always one JSON object; a line becomes `{"line": …}`.
    Json,
    /// A template over the record's fields.
    Template(Template),
}

/// Why a record was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The file could not be created or opened; the person who named it recovers.
    Open {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The reader of a pipe is gone: the stage stops, which is no failure.
    Closed,
    /// Writing failed, for example on a full disk. What was written before is good; the records of this flush are
    /// not, and are counted as dead.
    Output {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The template asks for a field that this record does not have; only this record is concerned.
    Template(RenderError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, cause } => {
                write!(f, "cannot open {} for writing: {cause}", path.display())
            }
            Self::Closed => write!(f, "the reader of the output is gone"),
            Self::Output { path, cause } => {
                write!(f, "cannot write to {}: {cause}", path.display())
            }
            Self::Template(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Bytes held before they are handed to the system.
const WRITE_BUFFER: usize = 64 << 10;

/// The sink: blocks, so it belongs on its own thread.
///
/// Lines are whole: a line that fits the buffer is handed to the system in one piece.
pub struct LineSink<W: Write = Box<dyn Write + Send>> {
    path: PathBuf,
    format: LineFormat,
    output: W,
    buffer: Vec<u8>,
    buffered: u64,
    written: u64,
    failed: bool,
}

impl<W: Write> fmt::Debug for LineSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSink")
            .field("path", &self.path)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl LineSink {
    /// Opens the output.
    ///
    /// # Errors
    /// [`WriteError::Open`].
    pub fn open(spec: &WriteSpec) -> Result<Self, WriteError> {
        let output: Box<dyn Write + Send> = if spec.path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let mut options = File::options();
            options
                .create(true)
                .write(true)
                .append(spec.append)
                .truncate(!spec.append);
            let opened = options.open(&spec.path);
            Box::new(opened.map_err(|cause| WriteError::Open {
                path: spec.path.clone(),
                cause,
            })?)
        };
        Ok(Self::new(output, spec.path.clone(), spec.format.clone()))
    }
}

impl<W: Write> LineSink<W> {
    /// A sink over any writer; `path` stands for it in messages.
    pub fn new(output: W, path: PathBuf, format: LineFormat) -> Self {
        Self {
            path,
            format,
            output,
            buffer: Vec::with_capacity(WRITE_BUFFER),
            buffered: 0,
            written: 0,
            failed: false,
        }
    }

    /// Records handed to the system so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes a record; it is safe only after the next [`LineSink::flush`] that returns Ok.
    ///
    /// # Errors
    /// [`WriteError`]: after `Closed` and `Output` nothing more can be written; see [`LineSink::unwritten`].
    pub fn take(&mut self, record: &Record) -> Result<(), WriteError> {
        let start = self.buffer.len();
        match &self.format {
            LineFormat::Body => match record.line() {
                Some(line) => self.buffer.extend_from_slice(line),
                None => json::write_object(record, &mut self.buffer),
            },
            LineFormat::Json => json::write_object(record, &mut self.buffer),
            LineFormat::Template(template) => {
                if let Err(error) = template.render(&mut self.buffer, |field, out| {
                    record.append_field(field, out)
                }) {
                    self.buffer.truncate(start);
                    return Err(WriteError::Template(error));
                }
            }
        }
        self.buffer.push(b'\n');
        self.buffered += 1;
        if self.buffer.len() >= WRITE_BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Records taken and not yet handed to the system; after a failure they are lost and must be counted as dead.
    pub fn unwritten(&self) -> u64 {
        self.buffered
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// [`WriteError::Closed`] or [`WriteError::Output`]; both are final.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Closed);
        }
        match self
            .output
            .write_all(&self.buffer)
            .and_then(|()| self.output.flush())
        {
            Ok(()) => {
                self.buffer.clear();
                self.written += std::mem::take(&mut self.buffered);
                Ok(())
            }
            Err(cause) => {
                self.failed = true;
                self.buffer = Vec::new();
                Err(if cause.kind() == io::ErrorKind::BrokenPipe {
                    WriteError::Closed
                } else {
                    WriteError::Output {
                        path: self.path.clone(),
                        cause,
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::json::parse_object;
    use bytes::Bytes;

    fn sink(format: LineFormat) -> LineSink<Vec<u8>> {
        LineSink::new(Vec::new(), PathBuf::from("memory"), format)
    }

    #[test]
    fn formats() {
        let line = Record::from_line(Bytes::from_static(b"\xffraw"), 0);
        let parsed = parse_object(br#"{"a":1,"b":"x"}"#, 0).unwrap();
        let cases: [(LineFormat, &[u8]); 2] = [
            (LineFormat::Body, b"\xffraw\n{\"a\":1,\"b\":\"x\"}\n"),
            (
                LineFormat::Json,
                b"{\"line_base64\":\"/3Jhdw==\"}\n{\"a\":1,\"b\":\"x\"}\n",
            ),
        ];
        for (format, wanted) in cases {
            let mut sink = sink(format);
            sink.take(&line).unwrap();
            sink.take(&parsed).unwrap();
            assert_eq!((sink.written(), sink.unwritten()), (0, 2));
            sink.flush().unwrap();
            assert_eq!(sink.output, wanted);
            assert_eq!((sink.written(), sink.unwritten()), (2, 0));
        }
        let mut sink = sink(LineFormat::Template(Template::parse("{b}={a}").unwrap()));
        sink.take(&parsed).unwrap();
        assert!(matches!(sink.take(&line), Err(WriteError::Template(_))));
        sink.flush().unwrap();
        assert_eq!(sink.output, b"x=1\n");
    }

    struct Broken(io::ErrorKind);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(self.0))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_are_told_apart_and_final() {
        let record = Record::from_line(Bytes::from_static(b"x"), 0);
        let mut full = LineSink::new(
            Broken(io::ErrorKind::StorageFull),
            PathBuf::from("/full"),
            LineFormat::Body,
        );
        full.take(&record).unwrap();
        assert!(full.flush().unwrap_err().to_string().contains("/full"));
        assert_eq!((full.written(), full.unwritten()), (0, 1));
        let mut pipe = LineSink::new(
            Broken(io::ErrorKind::BrokenPipe),
            PathBuf::from("-"),
            LineFormat::Body,
        );
        pipe.take(&record).unwrap();
        assert!(matches!(pipe.flush(), Err(WriteError::Closed)));
        assert!(matches!(pipe.flush(), Err(WriteError::Closed)));
    }

    #[test]
    fn the_real_full_disk() {
        if !Path::new("/dev/full").exists() {
            println!("skipped: there is no /dev/full");
            return;
        }
        let spec = WriteSpec {
            path: PathBuf::from("/dev/full"),
            append: true,
            format: LineFormat::Body,
        };
        let mut sink = LineSink::open(&spec).unwrap();
        sink.take(&Record::from_line(Bytes::from_static(b"x"), 0))
            .unwrap();
        assert!(matches!(sink.flush(), Err(WriteError::Output { .. })));
    }
}
