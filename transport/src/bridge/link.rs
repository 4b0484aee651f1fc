//! One link's lanes: a reader for each lane the peer opened, a writer for each lane of ours.

use super::hub::Hub;
use super::owner::{LinkHandle, Owner};
use crate::link::{CloseCode, LaneId, LaneReader, LaneWriter, Link};
use crate::telemetry::LinkTelemetry;
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mcpbus_actors::Time;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes asked of a session for one write.
const WRITE_BUDGET: usize = 128 * 1024;
/// Chunks read before others get their turn.
const READ_CHUNKS: usize = 32;
/// How long a goodbye may take to reach the peer.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// What the tasks of one link wait for.
pub(super) struct LinkWakes {
    writers: Vec<Notify>,
    gate: Notify,
    telemetry: LinkTelemetry,
}

impl LinkWakes {
    pub(super) fn new(highest_lane: u8) -> Self {
        Self {
            writers: (0..=highest_lane).map(|_| Notify::new()).collect(),
            gate: Notify::new(),
            telemetry: LinkTelemetry::new(),
        }
    }

    pub(super) fn wake<O: Owner>(&self, owner: &O, handle: LinkHandle, now: Time) {
        for (number, writer) in self.writers.iter().enumerate() {
            if let Some(lane) = LaneId::new(number as u8)
                && owner.wants_transmit(handle, lane, now)
            {
                writer.notify_one();
            }
        }
        if owner.wants_close(handle).is_some() {
            self.writers[0].notify_one();
        }
        if owner.reads_data(handle) {
            self.gate.notify_waiters();
        }
    }
}

/// What one part of a link has come to.
enum Part<R> {
    Accepted(LaneId, R),
    Ended(String),
}

type PartFuture<'a, R> = LocalBoxFuture<'a, Part<R>>;

/// Drives a link until it ends, then tells the owner.
pub(super) async fn run_link<O: Owner, L: Link>(
    hub: Hub<O>,
    link: L,
    handle: LinkHandle,
    wakes: Rc<LinkWakes>,
) {
    let reason = {
        let mut parts: FuturesUnordered<PartFuture<'_, L::Reader>> = FuturesUnordered::new();
        for number in 0..wakes.writers.len() {
            if let Some(lane) = LaneId::new(number as u8) {
                parts.push(Box::pin(write_lane(&hub, &link, handle, lane, &wakes)));
            }
        }
        parts.push(Box::pin(accept(&link)));
        parts.push(Box::pin(async {
            Part::Ended(link.closed().await.to_string())
        }));
        loop {
            match parts.next().await {
                Some(Part::Accepted(lane, reader)) => {
                    parts.push(Box::pin(read_lane(&hub, handle, lane, reader, &wakes)));
                    parts.push(Box::pin(accept(&link)));
                }
                Some(Part::Ended(reason)) => break reason,
                None => break String::from("nothing left to do"),
            }
        }
    };
    link.close(CloseCode::NORMAL, "the session left this link");
    hub.shared.links.borrow_mut().remove(&handle);
    hub.with(|owner, now| owner.link_down(handle, &reason, now));
}

async fn accept<L: Link>(link: &L) -> Part<L::Reader> {
    match link.accept_lane().await {
        Ok((lane, reader)) => Part::Accepted(lane, reader),
        Err(error) => Part::Ended(error.to_string()),
    }
}

async fn read_lane<O: Owner, R: LaneReader>(
    hub: &Hub<O>,
    handle: LinkHandle,
    lane: LaneId,
    mut reader: R,
    wakes: &LinkWakes,
) -> Part<R> {
    let mut chunks = VecDeque::new();
    loop {
        if !lane.is_control() {
            loop {
                // Registered before the question, so that an answer in between is not missed.
                let open = wakes.gate.notified();
                tokio::pin!(open);
                open.as_mut().enable();
                if hub.shared.owner.borrow().reads_data(handle) {
                    break;
                }
                open.await;
            }
        }
        match reader.read_chunks(&mut chunks, READ_CHUNKS).await {
            Ok(Some(_)) => hub.with(|owner, now| {
                let bytes = chunks.iter().map(bytes::Bytes::len).sum();
                wakes.telemetry.received(lane, bytes);
                for chunk in chunks.drain(..) {
                    owner.receive(handle, lane, chunk, now);
                }
            }),
            // A lane ends when its peer leaves; the link's end says the rest.
            Ok(None) => std::future::pending().await,
            Err(error) => return Part::Ended(format!("{lane}: {error}")),
        }
        tokio::task::yield_now().await;
    }
}

async fn write_lane<O: Owner, L: Link>(
    hub: &Hub<O>,
    link: &L,
    handle: LinkHandle,
    lane: LaneId,
    wakes: &LinkWakes,
) -> Part<L::Reader> {
    let wake = &wakes.writers[usize::from(lane.number())];
    // A data lane costs the peer a stream, so it is opened with the first byte for it.
    let mut writer: Option<L::Writer> = None;
    let mut buffer = BytesMut::new();
    let mut chunks = VecDeque::new();
    loop {
        let mut bytes = 0;
        {
            let mut owner = hub.shared.owner.borrow_mut();
            let now = hub.now();
            // Frame by frame, so that none is moved when the next one needs more memory.
            while bytes < WRITE_BUDGET && owner.wants_transmit(handle, lane, now) {
                owner.transmit(handle, lane, 1, now, &mut buffer);
                if buffer.is_empty() {
                    break;
                }
                bytes += buffer.len();
                chunks.push_back(buffer.split().freeze());
            }
        }
        // Writing may have moved the session's next timeout.
        hub.wake();
        if chunks.is_empty() {
            let close = hub.shared.owner.borrow().wants_close(handle);
            if let Some(reason) = close.filter(|_| lane.is_control()) {
                if let Some(writer) = &mut writer {
                    writer.finish();
                    let _ = tokio::time::timeout(GOODBYE_WAIT, writer.finished()).await;
                }
                link.close(CloseCode::NORMAL, &reason);
                return Part::Ended(reason);
            }
            // A link at rest holds no memory to write to.
            buffer = BytesMut::new();
            wake.notified().await;
            continue;
        }
        wakes.telemetry.sent(lane, bytes);
        let writer = match &mut writer {
            Some(writer) => writer,
            none => match link.open_lane(lane).await {
                Ok(opened) => none.insert(opened),
                Err(error) => return Part::Ended(format!("{lane}: {error}")),
            },
        };
        while !chunks.is_empty() {
            if let Err(error) = writer.write_chunks(&mut chunks).await {
                return Part::Ended(format!("{lane}: {error}"));
            }
        }
    }
}
