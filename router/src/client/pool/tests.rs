#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A node that can be away, and counts who is connected.
#[derive(Clone, Default)]
struct Node {
    away: Arc<AtomicBool>,
    opened: Arc<AtomicU32>,
    closed: Option<mpsc::Sender<u32>>,
}

struct Connection {
    number: u32,
    over: bool,
    closed: Option<mpsc::Sender<u32>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(closed) = &self.closed {
            let _ = closed.try_send(self.number);
        }
    }
}

impl Open for Node {
    type Connection = Connection;

    async fn open(&self) -> Result<Connection, ConnectError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(ConnectError::Refused {
                address: "node:1".into(),
                reason: "it is away".into(),
            });
        }
        Ok(Connection {
            number: self.opened.fetch_add(1, Ordering::Relaxed),
            over: false,
            closed: self.closed.clone(),
        })
    }

    fn is_over(&self, connection: &Connection) -> bool {
        connection.over
    }
}

#[tokio::test(start_paused = true)]
async fn the_twenty_first_borrower_fails_after_3000_ms() {
    let node = Node::default();
    let pool = Pool::build(node.clone(), PoolConfig::default())
        .await
        .unwrap();
    assert_eq!(node.opened.load(Ordering::Relaxed), 5, "minIdle");
    let mut borrowed = Vec::new();
    for _ in 0..20 {
        borrowed.push(pool.get().await.unwrap());
    }
    assert_eq!(node.opened.load(Ordering::Relaxed), 20, "maxPoolSize");
    let asked = Instant::now();
    let error = pool.get().await.map(|_| ()).unwrap_err();
    let waited = asked.elapsed();
    assert!(
        (2950..=3050).contains(&waited.as_millis()),
        "connectionTimeout is 3000 ms, waited {waited:?}"
    );
    assert_eq!(
        error,
        PoolError::Exhausted {
            max_pool_size: 20,
            after: Duration::from_millis(3000)
        }
    );
    assert!(error.to_string().contains("all 20 connections"), "{error}");
    borrowed.pop();
    assert!(pool.get().await.is_ok(), "one was given back");
    assert_eq!(node.opened.load(Ordering::Relaxed), 20);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_another_gives_back() {
    let config = PoolConfig::default().max_pool_size(1).min_idle(0);
    let pool = Pool::build(Node::default(), config).await.unwrap();
    let first = pool.get().await.unwrap();
    let number = first.number;
    let other = pool.clone();
    let waiting = tokio::spawn(async move { other.get().await.unwrap().number });
    tokio::time::advance(Duration::from_millis(2900)).await;
    drop(first);
    assert_eq!(waiting.await.unwrap(), number);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_over_is_not_lent_again() {
    let config = PoolConfig::default().max_pool_size(1).min_idle(0);
    let pool = Pool::build(Node::default(), config).await.unwrap();
    let mut first = pool.get().await.unwrap();
    first.over = true;
    drop(first);
    assert_eq!(pool.get().await.unwrap().number, 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_is_named() {
    let node = Node::default();
    let config = PoolConfig::default().min_idle(0);
    let pool = Pool::build(node.clone(), config.clone()).await.unwrap();
    node.away.store(true, Ordering::Relaxed);
    let error = pool.get().await.map(|_| ()).unwrap_err();
    assert!(matches!(error, PoolError::Connect(_)), "{error}");
    assert!(error.to_string().contains("it is away"), "{error}");
    let short = config
        .min_idle(5)
        .connection_timeout(Duration::from_millis(50));
    let all = Pool::build(node, short).await.map(|_| ());
    assert!(matches!(all.unwrap_err(), PoolError::Connect(_)));
}

#[tokio::test]
async fn what_nobody_uses_is_closed_down_to_min_idle() {
    let (closed, mut closes) = mpsc::channel(64);
    let node = Node {
        closed: Some(closed),
        ..Node::default()
    };
    let config = PoolConfig::default()
        .min_idle(2)
        .idle_timeout(Duration::from_millis(20));
    let pool = Pool::build(node, config).await.unwrap();
    let mut borrowed = Vec::new();
    for _ in 0..6 {
        borrowed.push(pool.get().await.unwrap());
    }
    drop(borrowed);
    // Each of them is heard of when it is closed; the two that stay are closed too, and opened anew.
    for _ in 0..6 {
        closes.recv().await.unwrap();
    }
    assert!(pool.state().connections <= 6);
    assert!(pool.get().await.is_ok());
}

#[tokio::test]
async fn limits_that_cannot_be_are_refused() {
    let refused = async |config: PoolConfig| {
        let pool = Pool::build(Node::default(), config).await;
        pool.map(|_| ()).unwrap_err().to_string()
    };
    let config = PoolConfig::default;
    assert!(refused(config().max_pool_size(0)).await.contains("is 0"));
    assert!(
        refused(config().min_idle(21))
            .await
            .contains("minIdle is 21")
    );
    assert!(
        refused(config().connection_timeout(Duration::ZERO))
            .await
            .contains("above 0")
    );
}
