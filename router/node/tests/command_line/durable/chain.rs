//! Two nodes with a spool each, that are killed and come back at their address.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crate::support::{Running, address, start_node};

/// A node with a spool in a folder of its own.
pub(super) struct Stored {
    folder: PathBuf,
    file: String,
    /// Where it listens, in each of its lives.
    pub(super) address: String,
    running: Option<Running>,
}

/// The file of a node with a spool, in `data` below `folder`; `more` is added to it.
pub(super) fn file(folder: &Path, name: &str, size: &str, more: &str) -> String {
    let data = folder.join(format!("data-{name}"));
    format!(
        "[node]\nname = \"{name}\"\ndata = \"{}\"\n[listen]\nquic = \"127.0.0.1:0\"\n[spool]\nsize = \"{size}\"\n{more}",
        data.display()
    )
}

impl Stored {
    /// Starts a node of this file.
    pub(super) fn start(folder: &Path, file: String) -> Self {
        let running = start_node(folder, &file, &[]);
        Self {
            folder: folder.to_owned(),
            address: address(&running),
            file,
            running: Some(running),
        }
    }

    /// As `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    /// Starts it again, at the same address and with the same data.
    pub(super) fn restart(&mut self) {
        let listen = format!("listen.quic={}", self.address);
        let node = start_node(&self.folder, &self.file, &["--set", &listen]);
        node.wait_for("listens on");
        self.running = Some(node);
    }

    /// Interrupts it; it must end well and account for everything.
    pub(super) fn stop(&mut self) {
        let ended = self.running.take().unwrap().stopped();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert_eq!(ended.number("residual"), 0, "{}", ended.errors);
        assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
    }

    /// What it said in this life.
    pub(super) fn said(&self) -> String {
        self.running.as_ref().map(Running::said).unwrap_or_default()
    }
}

/// The publisher's node A and the subscriber's node B; A dials B.
pub(super) struct Chain {
    pub(super) a: Stored,
    pub(super) b: Stored,
}

impl Chain {
    pub(super) fn start(folder: &Path) -> Self {
        let b = Stored::start(folder, file(folder, "b", "1GiB", ""));
        let to = b.address.clone();
        Self::with_way(folder, b, &to)
    }

    /// A reaches B at `to`, which may be a relay.
    pub(super) fn with_way(folder: &Path, b: Stored, to: &str) -> Self {
        let link = format!("[[link]]\nto = \"{to}\"\n");
        let a = Stored::start(folder, file(folder, "a", "1GiB", &link));
        Self { a, b }
    }

    /// What both said.
    pub(super) fn said(&self) -> String {
        format!("a: {}\nb: {}", self.a.said(), self.b.said())
    }
}
