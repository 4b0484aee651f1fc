//! Datagrams as quinn hands them over: split when several come as one, and given back one to a buffer.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};

/// What belongs to a datagram besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// To whom when it leaves, from whom when it arrives.
    pub(super) peer: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    /// This end's address, where it is known.
    pub(super) here: Option<IpAddr>,
}

/// The datagrams of a segmented send, each by itself.
pub(super) fn of_transmit(transmit: &Transmit<'_>) -> impl Iterator<Item = (Label, Bytes)> {
    let label = Label {
        peer: transmit.destination,
        ecn: transmit.ecn,
        here: transmit.src_ip,
    };
    let length = transmit.segment_size.unwrap_or(transmit.contents.len());
    let whole = Bytes::copy_from_slice(transmit.contents);
    split(whole, length).map(move |datagram| (label, datagram))
}

/// The datagrams of a buffer in which the system has put those of one sender together.
pub(super) fn of_buffer(buffer: &[u8], meta: &RecvMeta) -> impl Iterator<Item = (Label, Bytes)> {
    let label = Label {
        peer: meta.addr,
        ecn: meta.ecn,
        here: meta.dst_ip,
    };
    let whole = Bytes::copy_from_slice(&buffer[..meta.len.min(buffer.len())]);
    split(whole, meta.stride).map(move |datagram| (label, datagram))
}

fn split(mut whole: Bytes, length: usize) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if whole.is_empty() {
            return None;
        }
        let end = length.clamp(1, whole.len());
        Some(whole.split_to(end))
    })
}

/// Fills buffers with one datagram each for as long as `next` has some; returns how many. What is longer than its buffer is
/// cut off, as a socket does.
pub(super) fn fill(
    buffers: &mut [IoSliceMut<'_>],
    meta: &mut [RecvMeta],
    mut next: impl FnMut() -> Option<(Label, Bytes)>,
) -> usize {
    let mut count = 0;
    for (buffer, meta) in buffers.iter_mut().zip(meta) {
        let Some((label, datagram)) = next() else {
            break;
        };
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        *meta = RecvMeta {
            addr: label.peer,
            len: length,
            stride: length,
            ecn: label.ecn,
            dst_ip: label.here,
        };
        count += 1;
    }
    count
}
