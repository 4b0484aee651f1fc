//! A file that any number of lives of `mcpbus sub --durable` append to.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::publisher::number;
use crate::support::{DEADLINE, Ended, Running, to_node};
use crate::wait::wait_until;

/// Every line of the publisher, under one durable name.
pub(super) struct Subscriber {
    folder: PathBuf,
    address: String,
    arguments: Vec<String>,
    file: PathBuf,
    life: Option<Running>,
    /// What of the file was read, and what it held.
    offset: Cell<u64>,
    numbers: RefCell<Vec<u64>>,
}

/// Ends a line of which only a part was written.
const TORN: &str = "(torn)";

impl Subscriber {
    /// A first life, which is ready.
    pub(super) fn start(folder: &Path, address: &str, arguments: &[&str]) -> Self {
        let mut subscriber = Self {
            folder: folder.to_owned(),
            address: address.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            file: folder.join("printed"),
            life: None,
            offset: Cell::new(0),
            numbers: RefCell::default(),
        };
        subscriber.restart();
        subscriber.wait_until_ready();
        subscriber
    }

    pub(super) fn durable(folder: &Path, address: &str) -> Self {
        Self::start(folder, address, &["--subject", "d.*", "--durable", "all"])
    }

    /// Another life, which may not be ready yet.
    pub(super) fn restart(&mut self) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.file)
            .unwrap();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let command = to_node(&self.folder, "sub", &self.address, &arguments);
        self.life = Some(Running::start_into(command, file));
    }

    pub(super) fn wait_until_ready(&self) {
        self.life.as_ref().unwrap().wait_for("ready");
    }

    /// As `kill -9` does. What it had begun to write is ended as a line of its own, which counts for nothing.
    pub(super) fn kill(&mut self) {
        self.life.take().unwrap().kill();
        self.read();
        if self.length() > self.offset.get() {
            let mut file = OpenOptions::new().append(true).open(&self.file).unwrap();
            writeln!(file, "{TORN}").unwrap();
        }
    }

    /// Interrupts it.
    pub(super) fn stop(&mut self) -> Ended {
        let ended = self.life.take().unwrap().stopped();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended
    }

    /// The numbers that were printed, in order, by all lives.
    pub(super) fn printed(&self) -> Vec<u64> {
        self.read();
        self.numbers.borrow().clone()
    }

    /// How many lines were printed.
    pub(super) fn lines(&self) -> usize {
        self.read();
        self.numbers.borrow().len()
    }

    /// Reads what was printed since it was last read, up to the last whole line.
    fn read(&self) {
        let mut file = fs::File::open(&self.file).unwrap();
        file.seek(SeekFrom::Start(self.offset.get())).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.offset.set(self.offset.get() + whole as u64);
        let lines = text[..whole].lines().filter(|line| !line.ends_with(TORN));
        let numbers = lines.map(|line| number(line).unwrap_or_else(|| panic!("{line:?}")));
        self.numbers.borrow_mut().extend(numbers);
    }

    /// Bytes that were printed.
    pub(super) fn length(&self) -> u64 {
        fs::metadata(&self.file).unwrap().len()
    }

    /// Waits until so many bytes more are printed.
    pub(super) fn wait_for_more(&self, bytes: u64, said: impl Fn() -> String) {
        let before = self.length();
        let more = wait_until(DEADLINE, || self.length() >= before + bytes);
        assert!(
            more,
            "nothing is printed any more\nsub: {}\n{}",
            self.said(),
            said()
        );
    }

    /// Waits until this line is printed.
    pub(super) fn wait_for(&self, number: u64, said: impl Fn() -> String) {
        let (mut seen, mut found) = (0, false);
        // However much lies before it: only that nothing comes at all is wrong.
        while !found {
            let before = self.lines();
            let more = wait_until(DEADLINE, || {
                let lines = self.lines();
                found = self.numbers.borrow()[seen..].contains(&number);
                seen = lines;
                found || lines > before
            });
            assert!(
                more,
                "line {number} is not printed\nsub: {}\n{}",
                self.said(),
                said()
            );
        }
    }

    /// What it said in this life.
    pub(super) fn said(&self) -> String {
        self.life.as_ref().map(Running::said).unwrap_or_default()
    }
}
