//! Tumbling windows: by count, by the time in a field, by arrival, or the whole run.

use std::time::Duration;

use mcpbus_actors::Time;

use crate::record::Record;
use crate::stages::event_time::TimeFormat;

/// How records are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// One window from start to finish.
    Whole,
    /// A window of this many records.
    Count {
        /// Records per window, at least 1.
        records: u64,
    },
    /// Windows of this length by a field's time, aligned to 1970. A window is complete when a record arrives whose
    /// time is `lateness` past its end; later records for it are refused as `rejected`.
    Event {
        /// The field that holds the time.
        field: String,
        /// How to read it.
        format: TimeFormat,
        /// The window's length, at least 1 ms.
        size: Duration,
        /// How far behind the newest time a record may be.
        lateness: Duration,
    },
    /// Windows of this length by when records arrive.
    Arrival {
        /// The window's length, at least 1 ms.
        size: Duration,
    },
}

/// Whole milliseconds of a duration, at least 1 so that nothing is divided by zero.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}

/// Where a record belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Into the window with this start: milliseconds since 1970, or a 0-based index.
    Window(i64),
    /// Its time cannot be read.
    Unreadable(String),
    /// Its window is complete.
    Late(String),
}

/// The decisions about windows; holds no records.
#[derive(Debug)]
pub(super) struct Windows {
    window: Window,
    taken: u64,
    origin: Option<Time>,
    newest: i64,
    current: i64,
}

impl Windows {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            taken: 0,
            origin: None,
            newest: i64::MIN,
            current: 0,
        }
    }

    /// Windows that start before this are complete, going by the clock.
    pub(super) fn complete_by_clock(&mut self, now: Time) -> Option<i64> {
        let Window::Arrival { size } = self.window else {
            return None;
        };
        let index = self.arrival_index(now, size);
        let advanced = index > self.current;
        self.current = self.current.max(index);
        advanced.then_some(self.current)
    }

    fn arrival_index(&self, now: Time, size: Duration) -> i64 {
        let since = now.saturating_since(self.origin.unwrap_or(now));
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) / milliseconds(size)
    }

    /// Where the record belongs.
    pub(super) fn admit(&mut self, record: &Record, now: Time) -> Admission {
        match &self.window {
            Window::Whole => Admission::Window(0),
            Window::Count { records } => {
                Admission::Window(i64::try_from(self.taken / records).unwrap_or(i64::MAX))
            }
            Window::Arrival { size } => {
                let size = *size;
                self.origin.get_or_insert(now);
                Admission::Window(self.arrival_index(now, size))
            }
            Window::Event {
                field,
                size,
                lateness,
                ..
            } => match self.event_time(record) {
                Err(detail) => Admission::Unreadable(detail),
                Ok(at) => {
                    let size = milliseconds(*size);
                    let start = at.div_euclid(size).saturating_mul(size);
                    if start.saturating_add(size) <= self.watermark(*lateness) {
                        let behind = self.newest.saturating_sub(at);
                        Admission::Late(format!(
                            "has a time in `{field}` that is {behind} ms behind the newest"
                        ))
                    } else {
                        Admission::Window(start)
                    }
                }
            },
        }
    }

    /// Called after the record was added: windows that start before the answer are complete.
    pub(super) fn counted(&mut self, record: &Record, _now: Time) -> Option<i64> {
        self.taken += 1;
        match &self.window {
            Window::Whole | Window::Arrival { .. } => None,
            Window::Count { records } => self
                .taken
                .is_multiple_of(*records)
                .then(|| i64::try_from(self.taken / records).unwrap_or(i64::MAX)),
            Window::Event { .. } => self.observed(record),
        }
    }

    /// The time of a record has come, whether or not it was added: windows that start before the answer are complete. `None` where
    /// windows do not go by the time of records.
    pub(super) fn observed(&mut self, record: &Record) -> Option<i64> {
        let Window::Event { size, lateness, .. } = &self.window else {
            return None;
        };
        let at = self.event_time(record).ok()?;
        let (size, lateness) = (milliseconds(*size), *lateness);
        self.newest = self.newest.max(at);
        // The first start whose end lies beyond the watermark.
        let watermark = self.watermark(lateness);
        Some(watermark.div_euclid(size).saturating_mul(size))
    }

    fn watermark(&self, lateness: Duration) -> i64 {
        self.newest
            .saturating_sub(i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX))
    }

    fn event_time(&self, record: &Record) -> Result<i64, String> {
        let Window::Event { field, format, .. } = &self.window else {
            return Ok(0);
        };
        let value = record
            .get(field)
            .ok_or_else(|| format!("has no field `{field}`"))?;
        format.read(value).ok_or_else(|| {
            format!(
                "has `{}` in `{field}`, which is no time in the format {}",
                value.as_text(),
                format.text()
            )
        })
    }

    /// When the clock completes the current window.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let Window::Arrival { size } = self.window else {
            return None;
        };
        let next = u32::try_from(self.current + 1).ok()?;
        Some(
            self.origin?
                + Duration::from_millis(milliseconds(size).unsigned_abs()).checked_mul(next)?,
        )
    }
}
