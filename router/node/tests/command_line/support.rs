//! Processes that a test starts, watches, interrupts and kills.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A condition that takes longer than this does not come true: far more than any takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const FILE_OF_A_ROUTER: &str =
    "[node]\nname = \"router\"\n[listen]\nquic = \"127.0.0.1:0\"\n";

/// The command, with its state in `folder`.
pub(crate) fn mcpbus(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpbus"));
    command
        .env("MCPBUS_STATE", folder)
        .env("LOG_LEVEL", "warn")
        .stdin(Stdio::null());
    command
}

/// A command that speaks to the node at `address`.
pub(crate) fn to_node(folder: &Path, name: &str, address: &str, arguments: &[&str]) -> Command {
    let mut command = mcpbus(folder);
    command.args([name, "--node", address]).args(arguments);
    command
}

/// What a process has written so far, read by a thread of its own so that the process never waits for the test.
#[derive(Default)]
pub(crate) struct Written {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Written {
    pub(crate) fn read(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let written = Arc::new(Self::default());
        let into = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut state = into.state.lock().unwrap();
                state.0.extend_from_slice(&buffer[..read]);
                state.1 = read == 0;
                into.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        written
    }

    /// Waits until `found` gives a value for what was written so far.
    pub(crate) fn wait<T>(&self, what: &str, found: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(value) = found(&state.0) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !state.1 && !left.is_zero(),
                "{what} did not come; it {} and wrote {}",
                if state.1 { "ended" } else { "goes on" },
                tail(&state.0)
            );
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for so many lines.
    pub(crate) fn wait_lines(&self, lines: usize) {
        self.wait(&format!("line {lines}"), |written| {
            (count_lines(written) >= lines).then_some(())
        });
    }

    /// Waits for so many lines, or for the end of the process. Returns how many there are. `counted` is what the caller has
    /// counted before: bytes, and lines in them.
    pub(crate) fn wait_lines_or_end(&self, counted: &mut (usize, usize), lines: usize) -> usize {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.lock().unwrap();
        loop {
            counted.1 += count_lines(&state.0[counted.0..]);
            counted.0 = state.0.len();
            if counted.1 >= lines || state.1 {
                return counted.1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "line {lines} did not come: {}",
                tail(&state.0)
            );
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Everything, once the process has closed its end.
    pub(crate) fn all(&self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.lock().unwrap();
        while !state.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not end; {}", tail(&state.0));
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
        state.0.clone()
    }

    /// What was written so far.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.state.lock().unwrap().0.clone()
    }
}

pub(crate) fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned()
}

/// A child that is killed when the test ends, however it ends.
pub(crate) struct Running {
    child: Child,
    out: Option<Arc<Written>>,
    errors: Arc<Written>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
}

impl Running {
    /// Starts a process and reads what it writes.
    pub(crate) fn start(command: Command) -> Self {
        let (mut running, out) = Self::start_unread(command);
        running.out = Some(Written::read(out));
        running
    }

    /// Starts a process that writes to a file.
    pub(crate) fn start_into(mut command: Command, file: fs::File) -> Self {
        let mut child = command.stdout(file).stderr(Stdio::piped()).spawn().unwrap();
        let errors = Written::read(child.stderr.take().unwrap());
        Self {
            child,
            out: None,
            errors,
        }
    }

    /// Starts a process whose standard output nobody reads but the test.
    pub(crate) fn start_unread(mut command: Command) -> (Self, ChildStdout) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let errors = Written::read(child.stderr.take().unwrap());
        let running = Self {
            child,
            out: None,
            errors,
        };
        (running, out)
    }

    /// Starts a process that the test gives its input.
    pub(crate) fn start_with_input(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut running = Self::start(command);
        let input = running.child.stdin.take().unwrap();
        (running, input)
    }

    /// Waits for a line on standard error that holds `words`.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.errors.wait(&format!("{words:?}"), |written| {
            let whole = written.iter().rposition(|byte| *byte == b'\n')?;
            let text = String::from_utf8_lossy(&written[..whole]);
            let line = text.lines().find(|line| line.contains(words))?;
            Some(line.to_owned())
        })
    }

    /// Its standard output.
    pub(crate) fn out(&self) -> &Written {
        self.out.as_ref().unwrap()
    }

    /// Its standard output, for another thread.
    pub(crate) fn shared_out(&self) -> Arc<Written> {
        Arc::clone(self.out.as_ref().unwrap())
    }

    /// What it wrote to standard error so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.errors.so_far()).into_owned()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Asks it to read its file again.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// As `kill -9` does; it is gone when this returns.
    pub(crate) fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.out.as_ref().map(|out| out.all()).unwrap_or_default()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kilobytes * 1024
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let errors = String::from_utf8_lossy(&self.errors.all()).into_owned();
        let out = self.out.as_ref().map(|out| out.all()).unwrap_or_default();
        let code = self.child.wait().unwrap().code();
        Ended { code, out, errors }
    }

    /// Interrupts it and waits for its end.
    pub(crate) fn stopped(self) -> Ended {
        self.interrupt();
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Ended {
    /// The number that stands after `word` in what it said, for example after `residual`.
    pub(crate) fn number(&self, word: &str) -> i64 {
        number_after(&self.errors, word)
    }
}

/// The number after the last `word` in a text.
pub(crate) fn number_after(text: &str, word: &str) -> i64 {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    let at = words.iter().rposition(|found| *found == word);
    let at = at.unwrap_or_else(|| panic!("no {word:?} in {text}"));
    words[at + 1].parse().unwrap()
}

/// Runs a command to its end with this input.
pub(crate) fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A process that ends before it has read everything is the test's to judge by its exit code.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts the node of a file, written to `folder` under the name that the file gives it, with further arguments.
pub(crate) fn start_node(folder: &Path, file: &str, arguments: &[&str]) -> Running {
    let name = file.split("name = \"").nth(1).unwrap().split('"').next();
    let path = folder.join(format!("{}.toml", name.unwrap()));
    fs::write(&path, file).unwrap();
    let mut command = mcpbus(folder);
    command.arg("run").arg(&path).args(arguments);
    Running::start(command)
}

/// Where a node listens, once it is ready.
pub(crate) fn address(node: &Running) -> String {
    let line = node.wait_for("listens on");
    line.trim().rsplit(' ').next().unwrap().to_owned()
}

/// A node and its address.
pub(crate) fn node(folder: &Path, file: &str) -> (Running, String) {
    let node = start_node(folder, file, &[]);
    let address = address(&node);
    (node, address)
}

/// A subscriber that is ready.
pub(crate) fn subscriber(folder: &Path, address: &str, arguments: &[&str]) -> Running {
    let subscriber = Running::start(to_node(folder, "sub", address, arguments));
    subscriber.wait_for("ready");
    subscriber
}

/// Numbered lines, each `number` and a filling of so many bytes.
pub(crate) fn numbered(numbers: std::ops::Range<u64>, filling: usize) -> Vec<u8> {
    let filling = "x".repeat(filling);
    numbers
        .flat_map(|number| format!("{number} {filling}\n").into_bytes())
        .collect()
}

/// The numbers of such lines.
pub(crate) fn numbers(lines: &[u8]) -> Vec<u64> {
    String::from_utf8_lossy(lines)
        .lines()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// A file of the real data, below `MCPBUS_TEST_DATA` or below `shared/data` next to any folder above this package.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("MCPBUS_TEST_DATA").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data"));
    let found = given
        .into_iter()
        .chain(above)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: {name} is not here; MCPBUS_TEST_DATA names the folder of the real data");
    }
    found
}

/// A file of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}
