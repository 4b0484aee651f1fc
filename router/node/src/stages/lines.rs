//! `lines`: reads lines of bytes from a file or standard input, with a bound on their length, and follows a growing
//! file if asked to.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

/// What `lines` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesSpec {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// The first line is a header and is skipped.
    pub header: bool,
    /// At the end of the file, wait for more.
    pub follow: bool,
    /// Bytes of the longest line, without its line break.
    pub max_line: usize,
}

/// One line of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its `\n`; a `\r` before it belongs to the line.
    Whole {
        /// The bytes.
        bytes: Bytes,
        /// Its 1-based number in the input.
        number: u64,
    },
    /// A line longer than the bound: its beginning, for the dead letter. The rest was passed over.
    TooLong {
        /// The first bytes.
        beginning: Bytes,
        /// The length of the whole line.
        length: u64,
        /// Its 1-based number in the input.
        number: u64,
    },
}

/// Bytes of a line that is too long which are kept.
const BEGINNING: usize = 256;

/// Why lines could not be read. Whoever started the stage recovers: the input is not readable further.
#[derive(Debug)]
pub enum LinesError {
    /// The file could not be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// Reading failed after some lines.
    Read {
        /// The file.
        path: PathBuf,
        /// Lines read before.
        lines: u64,
        /// The system's words.
        cause: io::Error,
    },
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, cause } => write!(f, "cannot open {}: {cause}", path.display()),
            Self::Read { path, lines, cause } => {
                write!(
                    f,
                    "cannot read {} further after {lines} lines: {cause}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for LinesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { cause, .. } | Self::Read { cause, .. } => Some(cause),
        }
    }
}

/// Splits any reader into lines. Holds at most one line of `max_line` bytes beside the reader's own buffer.
#[derive(Debug)]
pub struct LineSplitter<R> {
    reader: R,
    max_line: usize,
    number: u64,
    partial: Vec<u8>,
    // Bytes of the current line so far, also those that were passed over.
    length: u64,
}

impl<R: BufRead> LineSplitter<R> {
    /// A splitter; `max_line` is at least 1.
    pub fn new(reader: R, max_line: usize) -> Self {
        Self {
            reader,
            max_line: max_line.max(1),
            number: 0,
            partial: Vec::new(),
            length: 0,
        }
    }

    /// Lines completed so far.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next complete line; none at the end of what there is now. A last line without a line break stays held,
    /// see [`LineSplitter::rest`].
    ///
    /// # Errors
    /// What the reader says; interruptions by signals are not errors.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            // One byte over the bound is kept as the mark of a line that is too long.
            let room = (self.max_line + 1).saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&piece[..piece.len().min(room)]);
            self.length += piece.len() as u64;
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.complete()));
            }
        }
    }

    /// At the end of the input: the last line, if it had no line break.
    pub fn rest(&mut self) -> Option<Line> {
        (self.length > 0).then(|| self.complete())
    }

    fn complete(&mut self) -> Line {
        self.number += 1;
        let length = std::mem::take(&mut self.length);
        let line = if self.partial.len() > self.max_line {
            let beginning = Bytes::copy_from_slice(&self.partial[..self.max_line.min(BEGINNING)]);
            Line::TooLong {
                beginning,
                length,
                number: self.number,
            }
        } else {
            Line::Whole {
                bytes: Bytes::copy_from_slice(&self.partial),
                number: self.number,
            }
        };
        self.partial.clear();
        // A single huge line must not keep its memory for ever.
        self.partial.shrink_to(64 << 10);
        line
    }

    /// The reader itself.
    pub fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }
}

/// Bytes read from the system at once.
const READ_BUFFER: usize = 256 << 10;
/// How often a followed file is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// The producer: blocks, so it belongs on its own thread.
pub struct LineSource {
    spec: LinesSpec,
    splitter: LineSplitter<BufReader<Box<dyn Read + Send>>>,
    identity: Option<(u64, u64)>,
    header_pending: bool,
    ended: bool,
}

impl fmt::Debug for LineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSource")
            .field("spec", &self.spec)
            .field("lines", &self.splitter.number())
            .finish()
    }
}

impl LineSource {
    /// Opens the input.
    ///
    /// # Errors
    /// [`LinesError::Open`].
    pub fn open(spec: LinesSpec) -> Result<Self, LinesError> {
        let (reader, identity) = open(&spec.path)?;
        let splitter =
            LineSplitter::new(BufReader::with_capacity(READ_BUFFER, reader), spec.max_line);
        Ok(Self {
            header_pending: spec.header,
            spec,
            splitter,
            identity,
            ended: false,
        })
    }

    /// The next line; none at the end of the input, or when `stopped` says so while a file is followed. Blocks until
    /// there is one.
    ///
    /// # Errors
    /// [`LinesError`] when the input cannot be read further; lines given before are good.
    pub fn next_line(
        &mut self,
        mut stopped: impl FnMut() -> bool,
    ) -> Result<Option<Line>, LinesError> {
        loop {
            let next = self
                .splitter
                .next_line()
                .map_err(|cause| LinesError::Read {
                    path: self.spec.path.clone(),
                    lines: self.splitter.number(),
                    cause,
                })?;
            let line = match next {
                Some(line) => Some(line),
                None if self.follows() => {
                    if stopped() {
                        return Ok(None);
                    }
                    self.wait_for_more()?;
                    continue;
                }
                None if self.ended => None,
                None => {
                    self.ended = true;
                    self.splitter.rest()
                }
            };
            if line.is_some() && std::mem::take(&mut self.header_pending) {
                continue;
            }
            return Ok(line);
        }
    }

    fn follows(&self) -> bool {
        self.spec.follow && self.identity.is_some()
    }

    /// A file that was replaced or cut short is read from its beginning, as `tail -F` does.
    fn wait_for_more(&mut self) -> Result<(), LinesError> {
        std::thread::sleep(FOLLOW_INTERVAL);
        let Ok(metadata) = std::fs::metadata(&self.spec.path) else {
            // Between removal and re-creation there is no file; it comes back or it does not.
            return Ok(());
        };
        let (replaced, shrunk) = match self.identity {
            Some((identity, seen)) => (identity != inode(&metadata), metadata.len() < seen),
            None => (false, false),
        };
        if replaced || shrunk {
            tracing::info!(path = %self.spec.path.display(), "the followed file was replaced, reading from its beginning");
            let (reader, identity) = open(&self.spec.path)?;
            *self.splitter.reader_mut() = BufReader::with_capacity(READ_BUFFER, reader);
            self.identity = identity;
        } else if let Some((_, seen)) = &mut self.identity {
            *seen = metadata.len();
        }
        Ok(())
    }
}

fn inode(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.ino()
}

type Opened = (Box<dyn Read + Send>, Option<(u64, u64)>);

fn open(path: &Path) -> Result<Opened, LinesError> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let failed = |cause| LinesError::Open {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // Only a plain file can be followed: a pipe's end is its end.
    let identity = metadata.is_file().then(|| (inode(&metadata), 0));
    Ok((Box::new(file), identity))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn all(input: &[u8], buffer: usize, max_line: usize) -> Vec<Line> {
        let mut splitter = LineSplitter::new(BufReader::with_capacity(buffer, input), max_line);
        let mut lines = Vec::new();
        while let Some(line) = splitter.next_line().unwrap() {
            lines.push(line);
        }
        lines.extend(splitter.rest());
        lines
    }

    #[test]
    fn lines_pass_as_bytes() {
        let lines = all(b"a\r\n\n\xff\xfe\nlast", 3, 10);
        let bytes: Vec<&[u8]> = lines
            .iter()
            .map(|line| match line {
                Line::Whole { bytes, .. } => &bytes[..],
                Line::TooLong { .. } => b"too long",
            })
            .collect();
        assert_eq!(bytes, [b"a\r", &b""[..], b"\xff\xfe", b"last"]);
    }

    #[test]
    fn ten_mebibytes_do_not_fill_memory() {
        let mut input = vec![b'x'; 10 << 20];
        input.extend_from_slice(b"\nshort\n");
        let mut splitter = LineSplitter::new(&input[..], 1000);
        let Some(Line::TooLong {
            beginning,
            length,
            number,
        }) = splitter.next_line().unwrap()
        else {
            panic!("the line is longer than the bound");
        };
        assert_eq!((beginning.len(), length, number), (BEGINNING, 10 << 20, 1));
        assert!(splitter.partial.capacity() <= 64 << 10);
        assert_eq!(
            splitter.next_line().unwrap(),
            Some(Line::Whole {
                bytes: Bytes::from_static(b"short"),
                number: 2
            })
        );
    }

    #[test]
    fn a_header_is_skipped_and_a_missing_file_named() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"head\none\n").unwrap();
        let spec = |path: &Path| LinesSpec {
            path: path.to_owned(),
            header: true,
            follow: false,
            max_line: 100,
        };
        let mut source = LineSource::open(spec(file.path())).unwrap();
        let line = source.next_line(|| false).unwrap().unwrap();
        assert_eq!(
            line,
            Line::Whole {
                bytes: Bytes::from_static(b"one"),
                number: 2
            }
        );
        assert_eq!(source.next_line(|| false).unwrap(), None);
        assert_eq!(source.next_line(|| false).unwrap(), None);
        let error = LineSource::open(spec(Path::new("/nonexistent/file"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/file"));
        assert!(LineSource::open(spec(Path::new("/"))).is_err());
    }

    #[test]
    fn a_followed_file_gives_what_is_appended_and_survives_replacement() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, b"one\npart").unwrap();
        let spec = LinesSpec {
            path: path.clone(),
            header: false,
            follow: true,
            max_line: 100,
        };
        let mut source = LineSource::open(spec).unwrap();
        let mut steps = 0;
        let mut lines = Vec::new();
        while let Some(line) = source
            .next_line(|| {
                steps += 1;
                match steps {
                    1 => {
                        let mut file = File::options().append(true).open(&path).unwrap();
                        file.write_all(b"ial\n").unwrap();
                    }
                    3 => {
                        std::fs::rename(&path, directory.path().join("log.1")).unwrap();
                        std::fs::write(&path, b"new\n").unwrap();
                    }
                    _ => {}
                }
                steps > 6
            })
            .unwrap()
        {
            let Line::Whole { bytes, .. } = line else {
                panic!("no line is long")
            };
            lines.push(bytes);
        }
        assert_eq!(lines, ["one", "partial", "new"]);
    }

    proptest! {
        #[test]
        fn splitting_equals_the_plain_way(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            buffer in 1usize..20,
        ) {
            let lines = all(&input, buffer, 1000);
            let mut wanted: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            if wanted.last().is_some_and(|last| last.is_empty()) {
                wanted.pop();
            }
            prop_assert_eq!(lines.len(), wanted.len());
            for (line, wanted) in lines.iter().zip(wanted) {
                match line {
                    Line::Whole { bytes, .. } => prop_assert_eq!(&bytes[..], wanted),
                    Line::TooLong { .. } => prop_assert!(false),
                }
            }
        }
    }
}
