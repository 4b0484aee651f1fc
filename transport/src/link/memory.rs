//! A link between two ends in one process, also on different threads.
//!
//! It is for peers that live in the node's own process and for simulation. Each lane is a pipe bounded in bytes; the
//! chunks themselves are handed over, not copied. Nothing here depends on a clock or a runtime.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::contract::{
    CloseCode, CutCause, LaneId, LaneReader, LaneWriter, Link, LinkError, SeenLanes, short_reason,
};
use crate::identity::PeerIdentity;

/// The bounds of an in-memory link. All are finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLinkConfig {
    /// How many bytes a lane holds before its writer waits. At least 1. By default 256 KiB.
    pub lane_bytes: usize,
    /// The highest lane. By default 8: one control lane and eight data lanes.
    pub highest_lane: LaneId,
}

impl Default for MemoryLinkConfig {
    fn default() -> Self {
        Self {
            lane_bytes: 256 * 1024,
            highest_lane: LaneId::new(8).unwrap_or(LaneId::MAX),
        }
    }
}

/// Makes a link and returns its two ends. The first end belongs to `first`, so its peer is `second`.
pub fn pair(
    first: PeerIdentity,
    second: PeerIdentity,
    config: MemoryLinkConfig,
) -> (MemoryLink, MemoryLink) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        opened: [Notify::new(), Notify::new()],
        ended: Notify::new(),
    });
    let config = MemoryLinkConfig {
        lane_bytes: config.lane_bytes.max(1),
        ..config
    };
    let end = |side, peer| MemoryLink {
        shared: Arc::clone(&shared),
        side,
        peer,
        config,
    };
    (end(0, second), end(1, first))
}

/// One end of an in-memory link. When an end is dropped, the link is cut.
pub struct MemoryLink {
    shared: Arc<Shared>,
    /// Which end this is: 0 or 1. Lanes of side `s` are those that side `s` writes.
    side: usize,
    peer: PeerIdentity,
    config: MemoryLinkConfig,
}

struct Shared {
    state: Mutex<State>,
    /// Told when the given side has opened a lane.
    opened: [Notify; 2],
    ended: Notify,
}

#[derive(Default)]
struct State {
    end: Option<End>,
    seen: [SeenLanes; 2],
    /// Opened and not yet accepted; at most one entry per lane, because lanes are single use.
    waiting: [VecDeque<(LaneId, Arc<Pipe>)>; 2],
    /// Every pipe whose two ends may still be in use: at most one per lane and side.
    pipes: Vec<Arc<Pipe>>,
}

#[derive(Clone)]
enum End {
    Closed {
        by: usize,
        code: CloseCode,
        reason: String,
    },
    Cut,
}

impl End {
    fn seen_from(&self, side: usize) -> LinkError {
        match self {
            Self::Closed { by, .. } if *by == side => LinkError::ClosedHere,
            Self::Closed { code, reason, .. } => LinkError::ClosedByPeer {
                code: *code,
                reason: reason.clone(),
            },
            Self::Cut => LinkError::Cut {
                cause: CutCause::Severed,
            },
        }
    }
}

/// A lock is held for a few moves only, none of which can panic half-way, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryLink {
    /// Cuts the link as a failing network would: both ends see [`LinkError::Cut`], and what is under way is lost.
    pub fn cut(&self) {
        self.shared.end(End::Cut);
    }
}

impl Shared {
    fn end(&self, end: End) {
        let pipes = {
            let mut state = lock(&self.state);
            if state.end.is_some() {
                return;
            }
            state.end = Some(end.clone());
            state.waiting = Default::default();
            std::mem::take(&mut state.pipes)
        };
        for pipe in pipes {
            pipe.end(end.clone());
        }
        self.ended.notify_waiters();
        self.opened.iter().for_each(Notify::notify_waiters);
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.cut();
    }
}

impl fmt::Debug for MemoryLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryLink")
            .field("peer", &self.peer)
            .field("config", &self.config)
            .finish()
    }
}

impl Link for MemoryLink {
    type Writer = MemoryLaneWriter;
    type Reader = MemoryLaneReader;

    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    fn highest_lane(&self) -> LaneId {
        self.config.highest_lane
    }

    async fn open_lane(&self, lane: LaneId) -> Result<MemoryLaneWriter, LinkError> {
        if lane > self.config.highest_lane {
            return Err(LinkError::NoSuchLane {
                lane,
                highest: self.config.highest_lane,
            });
        }
        let pipe = {
            let mut state = lock(&self.shared.state);
            if let Some(end) = &state.end {
                return Err(end.seen_from(self.side));
            }
            if !state.seen[self.side].insert(lane) {
                return Err(LinkError::LaneTaken { lane });
            }
            let pipe = Arc::new(Pipe::new(lane, self.side, self.config.lane_bytes));
            state.waiting[self.side].push_back((lane, Arc::clone(&pipe)));
            state.pipes.push(Arc::clone(&pipe));
            pipe
        };
        self.shared.opened[self.side].notify_waiters();
        Ok(MemoryLaneWriter { pipe })
    }

    async fn accept_lane(&self) -> Result<(LaneId, MemoryLaneReader), LinkError> {
        let from = 1 - self.side;
        loop {
            // Made before the state is examined, so that a lane opened in between is not missed.
            let opened = self.shared.opened[from].notified();
            {
                let mut state = lock(&self.shared.state);
                if let Some((lane, pipe)) = state.waiting[from].pop_front() {
                    return Ok((lane, MemoryLaneReader { pipe }));
                }
                if let Some(end) = &state.end {
                    return Err(end.seen_from(self.side));
                }
            }
            opened.await;
        }
    }

    fn round_trip_time(&self) -> Option<Duration> {
        None
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.shared.end(End::Closed {
            by: self.side,
            code,
            reason: short_reason(reason).to_owned(),
        });
    }

    async fn closed(&self) -> LinkError {
        loop {
            let ended = self.shared.ended.notified();
            if let Some(end) = &lock(&self.shared.state).end {
                return end.seen_from(self.side);
            }
            ended.await;
        }
    }
}

/// One lane: chunks under way from one writer to one reader.
struct Pipe {
    lane: LaneId,
    /// The side that writes.
    side: usize,
    capacity: usize,
    state: Mutex<PipeState>,
    /// Told when the reader may go on. It has one waiter, so a stored permit suffices.
    readable: Notify,
    /// Told when the writer may go on.
    writable: Notify,
}

#[derive(Default)]
struct PipeState {
    chunks: VecDeque<Bytes>,
    /// The bytes in `chunks`; never above the capacity.
    bytes: usize,
    finished: bool,
    reset: bool,
    stopped: bool,
    end: Option<End>,
}

impl Pipe {
    fn new(lane: LaneId, side: usize, capacity: usize) -> Self {
        Self {
            lane,
            side,
            capacity,
            state: Mutex::default(),
            readable: Notify::new(),
            writable: Notify::new(),
        }
    }

    fn end(&self, end: End) {
        {
            let mut state = lock(&self.state);
            state.end = Some(end);
            state.chunks = VecDeque::new();
            state.bytes = 0;
        }
        self.readable.notify_one();
        self.writable.notify_one();
    }

    /// Takes from `chunks` what there is room for; `None` where the writer must wait.
    fn give(&self, chunks: &mut VecDeque<Bytes>) -> Option<Result<usize, LinkError>> {
        let mut state = lock(&self.state);
        if let Some(end) = &state.end {
            return Some(Err(end.seen_from(self.side)));
        }
        if state.finished {
            return Some(Err(LinkError::LaneFinished { lane: self.lane }));
        }
        if state.stopped {
            return Some(Err(LinkError::LaneStopped { lane: self.lane }));
        }
        let before = state.bytes;
        let mut nothing_to_write = true;
        while let Some(chunk) = chunks.front_mut() {
            let room = self.capacity - state.bytes;
            if chunk.is_empty() {
                chunks.pop_front();
                continue;
            }
            nothing_to_write = false;
            if room == 0 {
                break;
            }
            let part = chunk.split_to(chunk.len().min(room));
            state.bytes += part.len();
            state.chunks.push_back(part);
        }
        let given = state.bytes - before;
        drop(state);
        if given > 0 {
            self.readable.notify_one();
        }
        (given > 0 || nothing_to_write).then_some(Ok(given))
    }

    /// Lets `take` have the chunks under way; `None` where the reader must wait.
    ///
    /// `take` also says how many bytes it took.
    fn take<T>(
        &self,
        take: impl FnOnce(&mut VecDeque<Bytes>) -> (T, usize),
    ) -> Option<Result<Option<T>, LinkError>> {
        let mut state = lock(&self.state);
        if let Some(end) = &state.end {
            return Some(Err(end.seen_from(1 - self.side)));
        }
        if state.reset {
            return Some(Err(LinkError::LaneReset { lane: self.lane }));
        }
        if state.chunks.is_empty() {
            return state.finished.then_some(Ok(None));
        }
        let (taken, bytes) = take(&mut state.chunks);
        state.bytes -= bytes;
        drop(state);
        self.writable.notify_one();
        Some(Ok(Some(taken)))
    }
}

/// The sending end of a lane of an in-memory link.
pub struct MemoryLaneWriter {
    pipe: Arc<Pipe>,
}

impl LaneWriter for MemoryLaneWriter {
    async fn write_chunks(&mut self, chunks: &mut VecDeque<Bytes>) -> Result<usize, LinkError> {
        loop {
            if let Some(result) = self.pipe.give(chunks) {
                return result;
            }
            self.pipe.writable.notified().await;
        }
    }

    fn finish(&mut self) {
        lock(&self.pipe.state).finished = true;
        self.pipe.readable.notify_one();
    }

    async fn finished(&mut self) -> Result<(), LinkError> {
        loop {
            {
                let state = lock(&self.pipe.state);
                if state.finished
                    && state.chunks.is_empty()
                    && state.end.is_none()
                    && !state.stopped
                {
                    return Ok(());
                }
                if let Some(end) = &state.end {
                    return Err(end.seen_from(self.pipe.side));
                }
                if state.stopped {
                    return Err(LinkError::LaneStopped {
                        lane: self.pipe.lane,
                    });
                }
            }
            self.pipe.writable.notified().await;
        }
    }
}

impl Drop for MemoryLaneWriter {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.pipe.state);
            if state.finished {
                return;
            }
            state.reset = true;
            state.chunks = VecDeque::new();
            state.bytes = 0;
        }
        self.pipe.readable.notify_one();
    }
}

/// The receiving end of a lane of an in-memory link.
pub struct MemoryLaneReader {
    pipe: Arc<Pipe>,
}

impl MemoryLaneReader {
    async fn take<T>(
        &mut self,
        mut take: impl FnMut(&mut VecDeque<Bytes>) -> (T, usize),
    ) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(result) = self.pipe.take(&mut take) {
                return result;
            }
            self.pipe.readable.notified().await;
        }
    }
}

impl LaneReader for MemoryLaneReader {
    async fn read_chunk(&mut self, max_bytes: usize) -> Result<Option<Bytes>, LinkError> {
        let chunk = self
            .take(|chunks| {
                let chunk = match chunks.front_mut() {
                    Some(first) if first.len() > max_bytes => Some(first.split_to(max_bytes)),
                    _ => chunks.pop_front(),
                };
                let bytes = chunk.as_ref().map_or(0, Bytes::len);
                (chunk, bytes)
            })
            .await?;
        Ok(chunk.flatten())
    }

    async fn read_chunks(
        &mut self,
        into: &mut VecDeque<Bytes>,
        max_chunks: usize,
    ) -> Result<Option<usize>, LinkError> {
        self.take(|chunks| {
            let count = chunks.len().min(max_chunks);
            let before = into.len();
            into.extend(chunks.drain(..count));
            (count, into.iter().skip(before).map(Bytes::len).sum())
        })
        .await
    }
}

impl Drop for MemoryLaneReader {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.pipe.state);
            if state.finished && state.chunks.is_empty() {
                return;
            }
            state.stopped = true;
            state.chunks = VecDeque::new();
            state.bytes = 0;
        }
        self.pipe.writable.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::contract::laws;
    use super::*;

    fn small_pair(lane_bytes: usize) -> (MemoryLink, MemoryLink) {
        let config = MemoryLinkConfig {
            lane_bytes,
            ..MemoryLinkConfig::default()
        };
        pair(PeerIdentity::new("near"), PeerIdentity::new("far"), config)
    }

    #[tokio::test]
    async fn upholds_the_laws_of_links() {
        for lane_bytes in [1000, 256 * 1024] {
            laws::uphold(|| async { small_pair(lane_bytes) }).await;
        }
    }

    #[tokio::test]
    async fn a_lane_of_one_byte_carries_everything() {
        let (near, far) = small_pair(0);
        let mut writer = near.open_lane(LaneId::CONTROL).await.unwrap();
        let (_, mut reader) = far.accept_lane().await.unwrap();
        let write = async {
            let mut chunks =
                VecDeque::from([Bytes::from_static(b"one by"), Bytes::from_static(b" one")]);
            while !chunks.is_empty() {
                assert_eq!(writer.write_chunks(&mut chunks).await, Ok(1));
            }
            writer.finish();
        };
        let read = async {
            let mut all = Vec::new();
            while let Some(chunk) = reader.read_chunk(100).await.unwrap() {
                all.extend_from_slice(&chunk);
            }
            all
        };
        let ((), all) = tokio::join!(write, read);
        assert_eq!(all, b"one by one");
    }

    #[tokio::test]
    async fn a_cut_loses_what_is_under_way_and_wakes_both_ends() {
        let (near, far) = small_pair(4);
        let mut writer = near.open_lane(LaneId::CONTROL).await.unwrap();
        let (_, mut reader) = far.accept_lane().await.unwrap();
        let mut chunks = VecDeque::from([Bytes::from_static(b"too much")]);
        assert_eq!(writer.write_chunks(&mut chunks).await, Ok(4));
        let cut = async {
            tokio::task::yield_now().await;
            far.cut();
        };
        let (written, closed, ()) =
            tokio::join!(writer.write_chunks(&mut chunks), near.closed(), cut);
        let severed = LinkError::Cut {
            cause: CutCause::Severed,
        };
        assert_eq!(written, Err(severed.clone()));
        assert_eq!(
            chunks,
            [Bytes::from_static(b"much")],
            "what was not taken comes back"
        );
        assert_eq!(closed, severed);
        assert_eq!(reader.read_chunk(1).await, Err(severed.clone()));
        assert_eq!(far.accept_lane().await.err(), Some(severed));
    }

    #[test]
    fn ends_may_live_on_different_threads() {
        let (near, far) = small_pair(64);
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
        };
        let total = 200_000_usize;
        let sender = std::thread::spawn(move || {
            runtime().block_on(async move {
                let mut writer = near.open_lane(LaneId::CONTROL).await.unwrap();
                let mut chunks: VecDeque<Bytes> = (0..total / 10)
                    .map(|number| Bytes::from(format!("{number:010}")))
                    .collect();
                while !chunks.is_empty() {
                    writer.write_chunks(&mut chunks).await.unwrap();
                }
                writer.finish();
                near.closed().await
            })
        });
        let received = runtime().block_on(async move {
            let (_, mut reader) = far.accept_lane().await.unwrap();
            let mut received = Vec::new();
            let mut chunks = VecDeque::new();
            while reader.read_chunks(&mut chunks, 3).await.unwrap().is_some() {
                chunks
                    .drain(..)
                    .for_each(|chunk| received.extend_from_slice(&chunk));
            }
            far.close(CloseCode::NORMAL, "done");
            received
        });
        let expected: String = (0..total / 10)
            .map(|number| format!("{number:010}"))
            .collect();
        assert!(received == expected.as_bytes());
        let closed = sender.join().unwrap();
        assert_eq!(
            closed,
            LinkError::ClosedByPeer {
                code: CloseCode::NORMAL,
                reason: "done".into()
            }
        );
    }
}
