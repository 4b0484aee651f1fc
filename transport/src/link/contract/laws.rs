//! The laws of links as tests, for whoever writes a link.
//!
//! A failed law panics and names itself: this module is called from tests only.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{CloseCode, LaneId, LaneReader, LaneWriter, Link, LinkError};

/// No lane may take more bytes than this without its reader taking some.
pub const LANE_BOUND: usize = 64 * 1024 * 1024;

/// Runs every law, each against a fresh pair of connected ends that have at least three lanes.
///
/// Runs on the caller's runtime; the ends may live on it too.
///
/// # Panics
///
/// When a law is broken; the message names the law.
pub async fn uphold<L, P, F>(mut pair: P)
where
    L: Link,
    P: FnMut() -> F,
    F: Future<Output = (L, L)>,
{
    order(pair().await).await;
    end(pair().await).await;
    bound_and_independence(pair().await).await;
    cancelled_writes(pair().await).await;
    cancelled_reads_and_accepts(pair().await).await;
    single_use(pair().await).await;
    closing(pair().await).await;
    stopping(pair().await).await;
}

fn lane(number: u8) -> LaneId {
    LaneId::new(number).unwrap_or(LaneId::MAX)
}

fn law<T>(result: Result<T, LinkError>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// A lane from `from` to `to`.
async fn open<L: Link>(from: &L, to: &L, id: LaneId) -> (L::Writer, L::Reader) {
    let (writer, accepted) = tokio::join!(from.open_lane(id), to.accept_lane());
    let (accepted_id, reader) = law(accepted, "a lane is accepted");
    assert_eq!(accepted_id, id, "the accepted lane is the opened one");
    (law(writer, "a lane is opened"), reader)
}

/// Bytes that differ at each position within a long period, so that a loss, a repeat or a swap shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|position| (position.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// The pattern in chunks of many sizes, empty ones among them.
fn chunked(bytes: &[u8]) -> VecDeque<Bytes> {
    let sizes = [1, 0, 7, 1200, 64 * 1024, 3, 0, 17_000];
    let mut chunks = VecDeque::new();
    let mut rest = Bytes::copy_from_slice(bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return chunks;
        }
        chunks.push_back(rest.split_to(rest.len().min(*size)));
    }
    chunks
}

async fn write_all<W: LaneWriter>(
    writer: &mut W,
    mut chunks: VecDeque<Bytes>,
) -> Result<usize, LinkError> {
    let mut written = 0;
    while !chunks.is_empty() {
        written += writer.write_chunks(&mut chunks).await?;
    }
    Ok(written)
}

async fn read_all<R: LaneReader>(reader: &mut R) -> Result<Vec<u8>, LinkError> {
    let mut all = Vec::new();
    let mut chunks = VecDeque::new();
    loop {
        // Both ways of reading, in turns.
        match reader.read_chunk(1000).await? {
            Some(chunk) => {
                assert!(
                    !chunk.is_empty() && chunk.len() <= 1000,
                    "a chunk has 1 to max_bytes bytes"
                );
                all.extend_from_slice(&chunk);
            }
            None => return Ok(all),
        }
        match reader.read_chunks(&mut chunks, 4).await? {
            Some(count) => {
                assert!(
                    count == chunks.len() && (1..=4).contains(&count),
                    "between 1 and max_chunks chunks"
                );
                chunks
                    .drain(..)
                    .for_each(|chunk| all.extend_from_slice(&chunk));
            }
            None => return Ok(all),
        }
    }
}

/// Polls once.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn order<L: Link>((near, far): (L, L)) {
    let sent = pattern(3_000_000);
    for (from, to) in [(&near, &far), (&far, &near)] {
        for id in [LaneId::CONTROL, lane(1), lane(2)] {
            let (mut writer, mut reader) = open(from, to, id).await;
            let write = async {
                let written = write_all(&mut writer, chunked(&sent)).await;
                writer.finish();
                written
            };
            let (written, received) = tokio::join!(write, read_all(&mut reader));
            assert_eq!(
                law(written, "law 1, order"),
                sent.len(),
                "law 1: the number of written bytes is right"
            );
            assert!(
                law(received, "law 1, order") == sent,
                "law 1: bytes arrive complete and in order"
            );
        }
    }
    assert!(
        !near.peer().name.is_empty() && !far.peer().name.is_empty(),
        "a peer has a name"
    );
}

async fn end<L: Link>((near, far): (L, L)) {
    let (mut writer, mut reader) = open(&near, &far, lane(1)).await;
    law(
        write_all(&mut writer, chunked(b"whole")).await,
        "law 2, end",
    );
    writer.finish();
    writer.finish();
    let (finished, received) = tokio::join!(writer.finished(), read_all(&mut reader));
    law(
        finished,
        "law 2: a finished lane is finished once the peer has all of it",
    );
    assert_eq!(law(received, "law 2, end"), b"whole");
    assert_eq!(
        reader.read_chunk(1).await,
        Ok(None),
        "law 2: the end is seen again and again"
    );
    let late = writer.write_chunks(&mut chunked(b"late")).await;
    assert_eq!(
        late,
        Err(LinkError::LaneFinished { lane: lane(1) }),
        "law 2: nothing after the end"
    );

    let (mut writer, mut reader) = open(&near, &far, lane(2)).await;
    law(
        write_all(&mut writer, chunked(b"half a rec")).await,
        "law 2, end",
    );
    drop(writer);
    let received = read_all(&mut reader).await;
    assert_eq!(
        received,
        Err(LinkError::LaneReset { lane: lane(2) }),
        "law 2: no end without finish"
    );
}

async fn bound_and_independence<L: Link>((near, far): (L, L)) {
    let (mut stalled, mut unread) = open(&near, &far, lane(1)).await;
    let (mut writer, mut reader) = open(&near, &far, lane(2)).await;
    let (mut control, mut control_reader) = open(&near, &far, LaneId::CONTROL).await;
    let block = Bytes::from(pattern(64 * 1024));
    let mut taken = 0;
    let mut pending = VecDeque::new();
    // Fill until the lane takes no more, giving the link time to carry: another lane's traffic is that time.
    let mut rounds_without_progress = 0;
    while rounds_without_progress < 20 {
        if pending.is_empty() {
            pending.push_back(block.clone());
        }
        match poll_once(stalled.write_chunks(&mut pending)) {
            Poll::Ready(written) => {
                taken += law(written, "law 3, bound");
                rounds_without_progress = 0;
            }
            Poll::Pending => rounds_without_progress += 1,
        }
        assert!(
            taken <= LANE_BOUND,
            "law 3: a lane that is not read takes a bounded number of bytes"
        );
        for (writer, reader) in [
            (&mut writer, &mut reader),
            (&mut control, &mut control_reader),
        ] {
            let mut message = VecDeque::from([Bytes::from_static(b"goes on")]);
            let write = async {
                law(
                    writer.write_chunks(&mut message).await,
                    "law 4, independence",
                )
            };
            let read = async {
                let mut got = Vec::new();
                while got.len() < 7 {
                    match law(reader.read_chunk(64).await, "law 4, independence") {
                        Some(chunk) => got.extend_from_slice(&chunk),
                        None => break,
                    }
                }
                got
            };
            let (_, got) = tokio::join!(write, read);
            assert_eq!(got, b"goes on", "law 4: a stalled lane delays no other");
        }
    }
    let held: usize = pending.iter().map(Bytes::len).sum();
    let mut read = 0;
    let write = async {
        law(
            write_all(&mut stalled, std::mem::take(&mut pending)).await,
            "law 3, bound",
        );
        stalled.finish();
    };
    let drain = async {
        while let Some(chunk) = law(unread.read_chunk(usize::MAX).await, "law 3, bound") {
            read += chunk.len();
        }
    };
    tokio::join!(write, drain);
    assert_eq!(
        read,
        taken + held,
        "law 3: a lane goes on when it is read again"
    );
}

async fn cancelled_writes<L: Link>((near, far): (L, L)) {
    let (mut writer, mut reader) = open(&near, &far, lane(1)).await;
    let sent = pattern(6_000_000);
    let write = async {
        let mut chunks = chunked(&sent);
        while !chunks.is_empty() {
            // Each first attempt is dropped as soon as it would wait.
            if poll_once(writer.write_chunks(&mut chunks)).is_pending() {
                tokio::task::yield_now().await;
                law(
                    writer.write_chunks(&mut chunks).await,
                    "law 5, cancel safety",
                );
            }
        }
        writer.finish();
    };
    let ((), received) = tokio::join!(write, read_all(&mut reader));
    assert!(
        law(received, "law 5, cancel safety") == sent,
        "law 5: a cancelled write loses and repeats nothing"
    );
}

async fn cancelled_reads_and_accepts<L: Link>((near, far): (L, L)) {
    for _ in 0..3 {
        assert!(
            poll_once(far.accept_lane()).is_pending(),
            "nothing to accept yet"
        );
        assert!(poll_once(far.closed()).is_pending(), "nothing closed yet");
    }
    let (mut writer, mut reader) = open(&near, &far, lane(1)).await;
    let sent = pattern(2_000_000);
    let write = async {
        law(
            write_all(&mut writer, chunked(&sent)).await,
            "law 5, cancel safety",
        );
        writer.finish();
    };
    let read = async {
        let mut all = Vec::new();
        loop {
            let chunk = match poll_once(reader.read_chunk(500)) {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    tokio::task::yield_now().await;
                    reader.read_chunk(500).await
                }
            };
            match law(chunk, "law 5, cancel safety") {
                Some(chunk) => all.extend_from_slice(&chunk),
                None => return all,
            }
        }
    };
    let ((), received) = tokio::join!(write, read);
    assert!(
        received == sent,
        "law 5: a cancelled read loses and repeats nothing"
    );
}

async fn single_use<L: Link>((near, far): (L, L)) {
    let (_writer, _reader) = open(&near, &far, lane(1)).await;
    let again = near.open_lane(lane(1)).await.err();
    assert_eq!(
        again,
        Some(LinkError::LaneTaken { lane: lane(1) }),
        "law 6: a lane is opened once"
    );
    let highest = near.highest_lane();
    if let Some(above) = LaneId::new(highest.number() + 1) {
        let refused = near.open_lane(above).await.err();
        assert_eq!(
            refused,
            Some(LinkError::NoSuchLane {
                lane: above,
                highest
            }),
            "law 6: no lane above the highest"
        );
    }
}

async fn closing<L: Link>((near, far): (L, L)) {
    let (mut writer, mut reader) = open(&near, &far, lane(1)).await;
    let code = CloseCode(CloseCode::FIRST_OF_SESSIONS.0 + 3);
    let close = async {
        tokio::task::yield_now().await;
        near.close(code, "gone fishing");
        near.close(CloseCode::NORMAL, "too late");
    };
    let ((), read, accepted, closed) =
        tokio::join!(close, reader.read_chunk(1), far.accept_lane(), far.closed());
    let expected = LinkError::ClosedByPeer {
        code,
        reason: "gone fishing".into(),
    };
    assert!(expected.ends_link());
    assert_eq!(
        read,
        Err(expected.clone()),
        "law 7: a waiting reader learns code and reason"
    );
    assert_eq!(
        accepted.err(),
        Some(expected.clone()),
        "law 7: a waiting acceptor learns code and reason"
    );
    assert_eq!(closed, expected, "law 7: the peer learns code and reason");
    assert_eq!(
        near.closed().await,
        LinkError::ClosedHere,
        "law 7: the closing end knows that it was itself"
    );
    let late = writer.write_chunks(&mut chunked(b"late")).await;
    assert_eq!(
        late,
        Err(LinkError::ClosedHere),
        "law 7: nothing is written after the end"
    );
    assert_eq!(
        near.open_lane(lane(2)).await.err(),
        Some(LinkError::ClosedHere),
        "law 7: nothing is opened after the end"
    );
}

async fn stopping<L: Link>((near, far): (L, L)) {
    let (mut writer, reader) = open(&near, &far, lane(1)).await;
    drop(reader);
    let block = Bytes::from(pattern(64 * 1024));
    let mut written = 0;
    let error = loop {
        match writer
            .write_chunks(&mut VecDeque::from([block.clone()]))
            .await
        {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        assert!(
            written <= LANE_BOUND,
            "law 8: a writer learns that nobody reads"
        );
        tokio::task::yield_now().await;
    };
    assert_eq!(
        error,
        LinkError::LaneStopped { lane: lane(1) },
        "law 8: a writer learns that nobody reads"
    );
    let (mut other, mut other_reader) = open(&near, &far, lane(2)).await;
    law(
        write_all(&mut other, chunked(b"alive")).await,
        "law 8: other lanes go on",
    );
    other.finish();
    assert_eq!(
        law(
            read_all(&mut other_reader).await,
            "law 8: other lanes go on"
        ),
        b"alive"
    );
}
