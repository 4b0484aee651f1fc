//! Numbered lines through any number of lives of `mcpbus pub`.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::{DEADLINE, Ended, Running, count_lines, to_node};
use crate::wait::wait_until;

/// Lines that were given to the publisher and have no receipt yet, at most: its duplicates if it is killed.
pub(super) const IN_FLIGHT: u64 = 256;
/// Lines that are written in one piece.
const PIECE: u64 = 16;
/// Keys, each with a subject of its own.
pub(super) const KEYS: u64 = 7;

/// Line `number`: its number, its key, and an end that shows whether it is whole.
pub(super) fn line(number: u64) -> String {
    let filling = "x".repeat((number % 61) as usize);
    format!("{number} k{} {filling}.\n", number % KEYS)
}

/// The number of a whole line.
pub(super) fn number(line: &str) -> Option<u64> {
    let number = line.split(' ').next()?.parse().ok()?;
    (format!("{line}\n") == self::line(number)).then_some(number)
}

/// Publishes line 0, 1, 2 and so on until it is told to stop. A new life goes on behind the last line that an earlier one
/// printed a receipt for, so lines in flight are sent again.
pub(super) struct Publisher {
    folder: PathBuf,
    address: String,
    level: &'static str,
    life: Option<Life>,
    /// Lines that are acknowledged by earlier lives: all before this one.
    first: u64,
    /// Nothing from this line on is published; known once the test has seen enough.
    end: Arc<AtomicU64>,
    /// Nothing from this line on is published yet.
    limit: Arc<AtomicU64>,
}

struct Life {
    running: Running,
    writer: JoinHandle<()>,
    /// Lines that were written to it, those of earlier lives included.
    written: Arc<AtomicU64>,
}

impl Publisher {
    pub(super) fn start(folder: &Path, address: &str, level: &'static str) -> Self {
        let mut publisher = Self {
            folder: folder.to_owned(),
            address: address.to_owned(),
            level,
            life: None,
            first: 0,
            end: Arc::new(AtomicU64::new(u64::MAX)),
            limit: Arc::new(AtomicU64::new(u64::MAX)),
        };
        // The link between the nodes may not be up yet. Later lives rely on what is remembered.
        publisher.live(&["--wait-for-subscribers", "1"]);
        publisher.wait_for_more(1);
        publisher
    }

    /// Another life.
    pub(super) fn restart(&mut self) {
        self.live(&[]);
    }

    fn live(&mut self, more: &[&str]) {
        let arguments = [
            "--delimiter",
            " ",
            "--subject",
            "d.{2}",
            "--key",
            "{2}",
            "--receipts",
            "--timeout",
            "60s",
            "--ack",
            self.level,
        ];
        let mut command = to_node(&self.folder, "pub", &self.address, &arguments);
        command.args(more);
        let (running, mut input) = Running::start_with_input(command);
        let (receipts, end, first) = (running.shared_out(), Arc::clone(&self.end), self.first);
        let limit = Arc::clone(&self.limit);
        let written = Arc::new(AtomicU64::new(first));
        let count = Arc::clone(&written);
        let writer = std::thread::spawn(move || {
            let (mut next, mut counted) = (first, (0, 0));
            while next < end.load(Ordering::Acquire) {
                let goes_on =
                    || next < limit.load(Ordering::Acquire) || end.load(Ordering::Acquire) == 0;
                if !wait_until(DEADLINE, goes_on) {
                    // The test looks at nothing any more.
                    return;
                }
                let wanted = (next + PIECE).saturating_sub(first + IN_FLIGHT) as usize;
                if receipts.wait_lines_or_end(&mut counted, wanted) < wanted {
                    // It was killed.
                    return;
                }
                let text: String = (next..next + PIECE).map(line).collect();
                next += PIECE;
                // Counted before: what is killed meanwhile may have it.
                count.store(next, Ordering::Release);
                if input.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
        });
        self.life = Some(Life {
            running,
            writer,
            written,
        });
    }

    /// Publishes no more than so many further lines, until it is allowed more.
    pub(super) fn allow(&self, lines: u64) {
        self.limit.store(self.written() + lines, Ordering::Release);
    }

    /// As `kill -9` does. Returns how many lines were in flight: written, and without a receipt.
    pub(super) fn kill(&mut self) -> u64 {
        let life = self.life.take().unwrap();
        let receipts = life.running.kill();
        life.writer.join().unwrap();
        self.first += acknowledged(&receipts);
        life.written.load(Ordering::Acquire) - self.first
    }

    /// Lines that are acknowledged: all before this one.
    pub(super) fn acknowledged(&self) -> u64 {
        let life = self.life.as_ref();
        self.first + life.map_or(0, |life| acknowledged(&life.running.out().so_far()))
    }

    /// Lines that were given to a publisher: all before this one.
    pub(super) fn written(&self) -> u64 {
        let life = self.life.as_ref();
        life.map_or(self.first, |life| life.written.load(Ordering::Acquire))
    }

    /// Waits until so many lines more are acknowledged.
    pub(super) fn wait_for_more(&self, lines: u64) {
        let out = self.life.as_ref().unwrap().running.out();
        let now = count_lines(&out.so_far());
        out.wait_lines(now + lines as usize);
    }

    /// Publishes no more lines than it has begun, waits for their receipts, and returns how many lines there are.
    pub(super) fn finish(mut self) -> (u64, Ended) {
        // The writer adds a piece at a time: it ends behind the one it is at.
        let life = self.life.take().unwrap();
        self.end.store(0, Ordering::Release);
        life.writer.join().unwrap();
        let ended = life.running.ended();
        let lines = self.first + acknowledged(&ended.out);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert_eq!(
            lines,
            life.written.load(Ordering::Acquire),
            "every line has a receipt"
        );
        (lines, ended)
    }

    /// What it said in this life.
    pub(super) fn said(&self) -> String {
        let life = self.life.as_ref();
        life.map(|life| life.running.said()).unwrap_or_default()
    }
}

/// How many lines have a receipt. They come in the order of the lines, and nothing here is refused.
fn acknowledged(receipts: &[u8]) -> u64 {
    let whole = receipts
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&receipts[..whole]);
    let mut count = 0;
    for receipt in text.lines() {
        count += 1;
        assert_eq!(receipt, format!("{count} ok"));
    }
    count
}
