//! What a link costs by itself: records of 64 bytes and 1 KiB through one and two hops on the loopback address.
//!
//! `raw_link [SECONDS] [LARGEST_DATAGRAM]`. Publisher, relay and subscriber are threads, each with a current-thread
//! runtime and an endpoint of its own, as three processes would be. Records are written in blocks of 64 KiB; nothing looks
//! at a record, so this is the ceiling for everything that is built on a link.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mcpbus_transport::identity::{Credentials, StateDirectory};
use mcpbus_transport::link::quic::{QuicConfig, QuicEndpoint, QuicLink};
use mcpbus_transport::link::{CloseCode, LaneId, LaneReader, LaneWriter, Link};
use tokio::runtime::Builder;

const BLOCK: usize = 64 * 1024;

fn on_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(work())
    })
}

fn endpoint(credentials: &Credentials, config: &QuicConfig) -> QuicEndpoint {
    QuicEndpoint::bind(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        credentials,
        config.clone(),
    )
    .expect("an endpoint")
}

/// Writes blocks until the time is over.
async fn publish(link: &QuicLink, duration: Duration) {
    let mut writer = link.open_lane(LaneId::CONTROL).await.expect("a lane");
    let block = Bytes::from(vec![7; BLOCK]);
    let began = Instant::now();
    let mut chunks = VecDeque::new();
    while began.elapsed() < duration {
        chunks.push_back(block.clone());
        while !chunks.is_empty() {
            writer.write_chunks(&mut chunks).await.expect("written");
        }
    }
    writer.finish();
    writer.finished().await.expect("delivered");
}

/// Hands chunks on as they come, without copying.
async fn relay(from: &QuicLink, to: &QuicLink) {
    let (lane, mut reader) = from.accept_lane().await.expect("a lane");
    let mut writer = to.open_lane(lane).await.expect("a lane");
    let mut chunks = VecDeque::new();
    while reader
        .read_chunks(&mut chunks, 64)
        .await
        .expect("read")
        .is_some()
    {
        while !chunks.is_empty() {
            writer.write_chunks(&mut chunks).await.expect("written");
        }
    }
    writer.finish();
    writer.finished().await.expect("delivered");
}

/// Counts bytes until the lane ends: bytes and seconds.
async fn subscribe(link: &QuicLink) -> (usize, f64) {
    let (_, mut reader) = link.accept_lane().await.expect("a lane");
    let mut chunks = VecDeque::new();
    let (mut bytes, mut began) = (0, None);
    while reader
        .read_chunks(&mut chunks, 64)
        .await
        .expect("read")
        .is_some()
    {
        began.get_or_insert_with(Instant::now);
        bytes += chunks.drain(..).map(|chunk| chunk.len()).sum::<usize>();
    }
    (
        bytes,
        began.map_or(0.0, |began| began.elapsed().as_secs_f64()),
    )
}

/// Publisher to subscriber, through `relays` relays.
fn through_links(
    credentials: &Credentials,
    config: &QuicConfig,
    relays: usize,
    duration: Duration,
) -> (usize, f64) {
    let (tell, mut address) = mpsc::channel();
    let (credentials_, config_) = (credentials.clone(), config.clone());
    let subscriber = on_thread(async move || {
        let endpoint = endpoint(&credentials_, &config_);
        tell.send(endpoint.local_address().expect("an address"))
            .expect("told");
        let link = endpoint.accept().await.expect("a link");
        let counted = subscribe(&link).await;
        link.close(CloseCode::NORMAL, "done");
        endpoint.wait_idle().await;
        counted
    });
    let mut threads = Vec::new();
    for _ in 0..relays {
        let (tell, next) = mpsc::channel();
        let onward = address.recv().expect("an address");
        let (credentials, config) = (credentials.clone(), config.clone());
        threads.push(on_thread(async move || {
            let endpoint = endpoint(&credentials, &config);
            tell.send(endpoint.local_address().expect("an address"))
                .expect("told");
            let to = endpoint.dial(onward, None).await.expect("a link");
            let from = endpoint.accept().await.expect("a link");
            relay(&from, &to).await;
            to.closed().await;
        }));
        address = next;
    }
    let onward = address.recv().expect("an address");
    let (credentials, config) = (credentials.clone(), config.clone());
    threads.push(on_thread(async move || {
        let endpoint = endpoint(&credentials, &config);
        let link = endpoint.dial(onward, None).await.expect("a link");
        publish(&link, duration).await;
        link.closed().await;
    }));
    let counted = subscriber.join().expect("a subscriber");
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("a thread"));
    counted
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2.0);
    let largest_datagram = arguments.next().and_then(|text| text.parse().ok());
    let mut config = QuicConfig::default();
    config.largest_datagram = largest_datagram.unwrap_or(config.largest_datagram);
    let place = std::env::temp_dir().join(format!("raw_link.{}", std::process::id()));
    let credentials = StateDirectory::at(&place)
        .local_credentials("bench", SystemTime::now())
        .expect("credentials");
    let duration = Duration::from_secs_f64(seconds);
    println!(
        "{:<28} {:>10} {:>16} {:>16}",
        "", "MiB/s", "64 B/s", "1 KiB/s"
    );
    for (name, relays) in [("link, one hop", 0), ("link, through one relay", 1)] {
        let (bytes, seconds) = through_links(&credentials, &config, relays, duration);
        let rate = bytes as f64 / seconds;
        println!(
            "{name:<28} {:>10.1} {:>16.0} {:>16.0}",
            rate / 1048576.0,
            rate / 64.0,
            rate / 1024.0
        );
    }
    // Best effort: the directory lies in the system's temporary folder.
    let _ = std::fs::remove_dir_all(place);
}
