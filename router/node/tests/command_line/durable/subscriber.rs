//! A file that any number of lives of `mcpbus sub --durable` append to.
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::support::{DEADLINE, Ended, Running, to_node};
use crate::wait::wait_until;

/// Every line of the publisher, under one durable name.
pub(super) struct Subscriber {
    folder: PathBuf,
    address: String,
    arguments: Vec<String>,
    file: PathBuf,
    life: Option<Running>,
}

impl Subscriber {
    /// A first life, which is ready.
    pub(super) fn start(folder: &Path, address: &str, arguments: &[&str]) -> Self {
        let mut subscriber = Self {
            folder: folder.to_owned(),
            address: address.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            file: folder.join("printed"),
            life: None,
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
        let printed = fs::read(&self.file).unwrap();
        if printed.last().is_some_and(|byte| *byte != b'\n') {
            let mut file = OpenOptions::new().append(true).open(&self.file).unwrap();
            file.write_all(b"(torn)\n").unwrap();
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
        let text = fs::read_to_string(&self.file).unwrap();
        let lines = text.split_inclusive('\n');
        // Parts of lines: the last one may be written just now, others were torn by a kill.
        lines
            .filter(|line| line.ends_with('\n'))
            .map(|line| line.trim_end_matches('\n'))
            .filter(|line| !line.ends_with("(torn)"))
            .map(|line| super::publisher::number(line).unwrap_or_else(|| panic!("{line:?}")))
            .collect()
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
        let mut length = 0;
        let there = wait_until(DEADLINE, || {
            let now = self.length();
            // Most of the time there is nothing new to look at.
            std::mem::replace(&mut length, now) != now && self.printed().contains(&number)
        });
        assert!(
            there,
            "line {number} is not printed\nsub: {}\n{}",
            self.said(),
            said()
        );
    }

    /// What it said in this life.
    pub(super) fn said(&self) -> String {
        self.life.as_ref().map(Running::said).unwrap_or_default()
    }
}
