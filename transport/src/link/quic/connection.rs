//! A link over one QUIC connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, VarInt};
use rustls_pki_types::CertificateDer;

use super::lane::{QuicLaneReader, QuicLaneWriter, write_error};
use super::refusal::link_error;
use crate::identity::{CertificateError, PeerIdentity, peer_name};
use crate::link::contract::{CloseCode, LaneId, Link, LinkError, SeenLanes, short_reason};

/// Above the priority of every data lane, which is 0. quinn obeys priorities strictly.
const CONTROL_PRIORITY: i32 = 1;

/// What an acceptor writes on its first stream, which is no lane, once it has verified the dialer.
const CONFIRMATION: u8 = 0xff;

/// A link to a verified peer over one QUIC connection. Dropping it closes the connection.
pub struct QuicLink {
    connection: Connection,
    peer: PeerIdentity,
    highest_lane: LaneId,
    opened: Mutex<SeenLanes>,
    accepted: tokio::sync::Mutex<Accepted>,
}

#[derive(Default)]
struct Accepted {
    seen: SeenLanes,
    /// A stream whose lane number has not arrived. It stands here so that a cancelled accept does not lose it.
    unnumbered: Option<RecvStream>,
}

impl QuicLink {
    /// Reads the peer's name from the certificate that TLS has verified.
    pub(super) fn new(
        connection: Connection,
        highest_lane: LaneId,
    ) -> Result<Self, CertificateError> {
        let name = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .and_then(|chain| chain.first().map(peer_name))
            .unwrap_or(Err(CertificateError::NoName));
        match name {
            Ok(name) => Ok(Self {
                connection,
                peer: PeerIdentity { name },
                highest_lane,
                opened: Mutex::default(),
                accepted: tokio::sync::Mutex::default(),
            }),
            Err(error) => {
                let code = VarInt::from_u32(CloseCode::UNNAMED_PEER.0);
                connection.close(code, error.to_string().as_bytes());
                Err(error)
            }
        }
    }

    /// Tells a dialer that it has been verified.
    pub(super) async fn confirm(&self) -> Result<(), LinkError> {
        let mut stream = self.connection.open_uni().await.map_err(link_error)?;
        let written = stream
            .write_chunk(Bytes::from_static(&[CONFIRMATION]))
            .await;
        written.map_err(|error| write_error(error, LaneId::CONTROL))?;
        // An error says that the stream has ended already, with its connection.
        let _ = stream.finish();
        Ok(())
    }

    /// Waits until the acceptor has verified this end.
    pub(super) async fn confirmed(&self) -> Result<(), LinkError> {
        let mut stream = self.connection.accept_uni().await.map_err(link_error)?;
        match stream.read_chunk(1, true).await {
            Ok(Some(chunk)) if chunk.bytes[..] == [CONFIRMATION] => Ok(()),
            Err(quinn::ReadError::ConnectionLost(error)) => Err(link_error(error)),
            _ => {
                Err(self
                    .violation("the peer opened a lane before it confirmed the link".to_owned()))
            }
        }
    }

    /// The peer's address now; it may change when the peer moves to another network.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// How many bytes may be under way before congestion control holds the sender back.
    pub fn congestion_window(&self) -> u64 {
        self.connection.stats().path.cwnd
    }

    async fn open(&self, lane: LaneId) -> Result<QuicLaneWriter, LinkError> {
        let mut stream = self.connection.open_uni().await.map_err(link_error)?;
        if lane.is_control() {
            // An error says that the stream has ended already; writing the number below reports it.
            let _ = stream.set_priority(CONTROL_PRIORITY);
        }
        // A new stream takes one byte at once unless the connection's windows are full.
        let number = Bytes::copy_from_slice(&[lane.number()]);
        stream
            .write_chunk(number)
            .await
            .map_err(|error| write_error(error, lane))?;
        Ok(QuicLaneWriter::new(stream, lane))
    }

    async fn accept(&self) -> Result<(LaneId, QuicLaneReader), LinkError> {
        let mut accepted = self.accepted.lock().await;
        if accepted.unnumbered.is_none() {
            accepted.unnumbered = Some(self.connection.accept_uni().await.map_err(link_error)?);
        }
        let number = match accepted.unnumbered.as_mut() {
            Some(stream) => stream.read_chunk(1, true).await,
            None => Ok(None),
        };
        let stream = accepted.unnumbered.take();
        let number = match number {
            Ok(Some(chunk)) => chunk.bytes.first().copied(),
            Ok(None) | Err(quinn::ReadError::Reset(_)) => None,
            Err(quinn::ReadError::ConnectionLost(error)) => return Err(link_error(error)),
            Err(error) => return Err(self.violation(format!("a lane cannot be read: {error}"))),
        };
        let (Some(stream), Some(number)) = (stream, number) else {
            return Err(self.violation("the peer opened a lane without a number".to_owned()));
        };
        let Some(lane) = LaneId::new(number).filter(|lane| *lane <= self.highest_lane) else {
            let highest = self.highest_lane;
            return Err(self.violation(format!(
                "the peer opened lane {number}, but {highest} is the highest"
            )));
        };
        if !accepted.seen.insert(lane) {
            return Err(self.violation(format!("the peer opened {lane} twice")));
        }
        Ok((lane, QuicLaneReader::new(stream, lane)))
    }

    /// Ends the link because the peer broke the protocol.
    fn violation(&self, problem: String) -> LinkError {
        self.close(CloseCode::PROTOCOL, &problem);
        LinkError::Violation { problem }
    }
}

impl fmt::Debug for QuicLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QuicLink")
            .field("peer", &self.peer)
            .field("remote_address", &self.remote_address())
            .field("highest_lane", &self.highest_lane)
            .finish_non_exhaustive()
    }
}

impl Drop for QuicLink {
    fn drop(&mut self) {
        // Lanes hold the connection too, so quinn alone would keep it open until the last of them is gone.
        self.connection
            .close(VarInt::from_u32(CloseCode::NORMAL.0), b"");
    }
}

impl Link for QuicLink {
    type Writer = QuicLaneWriter;
    type Reader = QuicLaneReader;

    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    fn highest_lane(&self) -> LaneId {
        self.highest_lane
    }

    async fn open_lane(&self, lane: LaneId) -> Result<QuicLaneWriter, LinkError> {
        if lane > self.highest_lane {
            return Err(LinkError::NoSuchLane {
                lane,
                highest: self.highest_lane,
            });
        }
        let new = self
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane);
        if !new {
            return Err(LinkError::LaneTaken { lane });
        }
        self.open(lane).await
    }

    async fn accept_lane(&self) -> Result<(LaneId, QuicLaneReader), LinkError> {
        self.accept().await
    }

    fn round_trip_time(&self) -> Option<Duration> {
        Some(self.connection.rtt())
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.connection
            .close(VarInt::from_u32(code.0), short_reason(reason).as_bytes());
    }

    async fn closed(&self) -> LinkError {
        link_error(self.connection.closed().await)
    }
}
