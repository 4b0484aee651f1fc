//! The QUIC endpoint of a node: where it listens, and what it dials.

use super::builder::{NodeBuilder, StartError};
use super::core::NodeCore;
use super::links::{accept, keep_link};
use crate::dial::quic::QuicDial;
use mcpbus_transport::bridge::Hub;
use mcpbus_transport::link::CloseCode;
use mcpbus_transport::link::quic::{QuicConfig, QuicEndpoint};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

type Started = (Option<SocketAddr>, Option<Rc<QuicEndpoint>>);

pub(super) fn start(
    hub: &Hub<NodeCore>,
    builder: &NodeBuilder,
    highest_lane: u8,
    stopping: &watch::Sender<bool>,
) -> Result<Started, StartError> {
    if builder.listen.is_none() && builder.links.is_empty() {
        return Ok((None, None));
    }
    let setup = |reason: String| StartError::Setup { reason };
    let Some(credentials) = &builder.credentials else {
        return Err(setup(String::from(
            "links to other processes need credentials",
        )));
    };
    let config = QuicConfig::default();
    let endpoint = match builder.listen {
        Some(address) => QuicEndpoint::bind(address, credentials, config).map_err(|error| {
            StartError::Listen {
                address,
                reason: error.to_string(),
            }
        })?,
        None => {
            QuicEndpoint::dialer(credentials, config).map_err(|error| setup(error.to_string()))?
        }
    };
    let endpoint = Rc::new(endpoint);
    let address = builder.listen.and_then(|_| endpoint.local_address());
    if builder.listen.is_some() {
        let (hub, endpoint) = (hub.clone(), endpoint.clone());
        tokio::task::spawn_local(async move {
            while let Ok(link) = endpoint.accept().await {
                accept(&hub, link, highest_lane);
            }
        });
    }
    for (index, address) in builder.links.iter().enumerate() {
        let dial = QuicDial {
            endpoint: endpoint.clone(),
            address: address.clone(),
        };
        tokio::task::spawn_local(keep_link(
            hub.clone(),
            dial,
            index,
            highest_lane,
            stopping.subscribe(),
        ));
    }
    Ok((address, Some(endpoint)))
}

pub(super) async fn stop(endpoint: &QuicEndpoint) {
    endpoint.close(CloseCode::NORMAL, "the node shuts down");
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}
