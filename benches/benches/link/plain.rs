//! The same way on quinn alone: records of a length and a body in one stream, in blocks of 64 KiB.
//!
//! The relay hands chunks on and never looks at a record; nothing is routed, acknowledged or accounted for. Transport
//! settings and cryptography are those of the links of the product.

use crate::run::Run;
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus::identity::LocalAuthority;
use mcpbus_benches::failed::Failed;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

const BLOCK: usize = 64 * 1024;
/// Chunks read at once.
const CHUNKS: usize = 64;
const NAME: &str = "plain";

/// What an end of the way presents and trusts.
struct Tls {
    server: Arc<QuicServerConfig>,
    client: Arc<QuicClientConfig>,
}

impl Tls {
    /// From an identity that the authority issues and leaves in its directory.
    fn issue(authority: &LocalAuthority) -> Result<Self, Failed> {
        let directory = authority.directory().join(NAME);
        authority
            .credentials(NAME, SystemTime::now())
            .map_err(Failed::at("credentials"))?
            .save(&directory)
            .map_err(Failed::at("credentials"))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&directory.join("trust.pem"))? {
            roots.add(certificate).map_err(Failed::at("trust.pem"))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&directory.join("identity.pem"))?;
        let key = PrivateKeyDer::from_pem_file(directory.join("identity.key"))
            .map_err(Failed::at("identity.key"))?;
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(Failed::at("TLS"))?;
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(Failed::at("TLS"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(Failed::at("TLS"))?;
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(Failed::at("TLS"))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(Failed::at("TLS"))?;
        Ok(Self {
            server: Arc::new(server.try_into().map_err(Failed::at("TLS"))?),
            client: Arc::new(client.try_into().map_err(Failed::at("TLS"))?),
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Failed> {
        let mut server = ServerConfig::with_crypto(self.server.clone());
        server.transport_config(transport());
        let mut client = ClientConfig::new(self.client.clone());
        client.transport_config(transport());
        let runtime = Arc::new(TokioRuntime);
        let mut endpoint =
            Endpoint::new(EndpointConfig::default(), Some(server), socket()?, runtime)
                .map_err(Failed::at("an endpoint"))?;
        endpoint.set_default_client_config(client);
        Ok(endpoint)
    }
}

/// With the buffers that the product's links ask for; the system may give less.
fn socket() -> Result<UdpSocket, Failed> {
    let at = || Failed::at("a socket");
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).map_err(at())?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&address.into()).map_err(at())?;
    socket.set_recv_buffer_size(4 << 20).map_err(at())?;
    socket.set_send_buffer_size(4 << 20).map_err(at())?;
    Ok(socket.into())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failed> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(Failed::at("certificates"))
}

/// The defaults of the product's links.
fn transport() -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(1452);
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(16 << 20))
        .send_window(8 << 20)
        .initial_rtt(Duration::from_millis(100))
        .mtu_discovery_config(Some(discovery))
        .send_fairness(false)
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

pub(crate) fn start(authority: &LocalAuthority, size: usize) -> Result<Run, Failed> {
    let tls = Arc::new(Tls::issue(authority)?);
    let (to_relay, subscriber_address) = oneshot::channel();
    let (to_publisher, relay_address) = oneshot::channel();
    let mut run = Run::new();
    let own = tls.clone();
    run.thread(move |shared| async move {
        let endpoint = own.endpoint()?;
        let _ = to_relay.send(endpoint.local_addr().map_err(Failed::at("an address"))?);
        let connection = accept(&endpoint).await?;
        let mut stream = connection
            .accept_uni()
            .await
            .map_err(Failed::at("a stream"))?;
        let (mut cutter, mut places) = (Cutter::new(size), places());
        while let Some(chunks) = read(&mut stream, &mut places).await? {
            chunks
                .iter_mut()
                .for_each(|chunk| cutter.push(std::mem::take(chunk)));
            cutter.check()?;
            shared.received(cutter.records);
        }
        connection.close(VarInt::from_u32(0), b"");
        endpoint.wait_idle().await;
        Ok(())
    });
    let own = tls.clone();
    run.thread(move |_| async move {
        let endpoint = own.endpoint()?;
        let onward = subscriber_address
            .await
            .map_err(Failed::at("the subscriber"))?;
        let _ = to_publisher.send(endpoint.local_addr().map_err(Failed::at("an address"))?);
        let to = dial(&endpoint, onward).await?;
        let from = accept(&endpoint).await?;
        let mut stream = from.accept_uni().await.map_err(Failed::at("a stream"))?;
        let mut writer = to.open_uni().await.map_err(Failed::at("a stream"))?;
        let mut places = places();
        while let Some(chunks) = read(&mut stream, &mut places).await? {
            writer
                .write_all_chunks(chunks)
                .await
                .map_err(Failed::at("the relay"))?;
        }
        finish(writer).await?;
        from.close(VarInt::from_u32(0), b"");
        to.closed().await;
        // Or the publisher would never hear that this end is done.
        endpoint.wait_idle().await;
        Ok(())
    });
    run.thread(move |shared| async move {
        let endpoint = tls.endpoint()?;
        let onward = relay_address.await.map_err(Failed::at("the relay"))?;
        let connection = dial(&endpoint, onward).await?;
        let mut writer = connection
            .open_uni()
            .await
            .map_err(Failed::at("a stream"))?;
        let (body, mut block) = (vec![7; size], BytesMut::new());
        while !shared.stopped() {
            block.reserve(BLOCK);
            while block.len() + 4 + size <= BLOCK {
                block.put_u32_le(size as u32);
                block.put_slice(&body);
            }
            let full = block.split().freeze();
            writer
                .write_chunk(full)
                .await
                .map_err(Failed::at("the publisher"))?;
        }
        finish(writer).await?;
        connection.closed().await;
        Ok(())
    });
    Ok(run)
}

async fn accept(endpoint: &Endpoint) -> Result<Connection, Failed> {
    let incoming = endpoint.accept().await;
    let incoming = incoming.ok_or_else(|| Failed::new("accept", "the endpoint is closed"))?;
    incoming.await.map_err(Failed::at("accept"))
}

async fn dial(endpoint: &Endpoint, address: SocketAddr) -> Result<Connection, Failed> {
    let connecting = endpoint
        .connect(address, mcpbus::identity::COMMON_DNS_NAME)
        .map_err(Failed::at("dial"))?;
    connecting.await.map_err(Failed::at("dial"))
}

fn places() -> Vec<Bytes> {
    vec![Bytes::new(); CHUNKS]
}

async fn read<'a>(
    stream: &mut RecvStream,
    places: &'a mut [Bytes],
) -> Result<Option<&'a mut [Bytes]>, Failed> {
    let count = stream
        .read_chunks(places)
        .await
        .map_err(Failed::at("read"))?;
    Ok(count.map(|count| &mut places[..count]))
}

/// Ends a stream and waits until the other end has all of it.
async fn finish(mut writer: SendStream) -> Result<(), Failed> {
    writer.finish().map_err(Failed::at("finish"))?;
    writer.stopped().await.map_err(Failed::at("finish"))?;
    Ok(())
}

/// Cuts a stream into records and checks the length of each.
struct Cutter {
    size: usize,
    records: u64,
    /// Bytes of the record that has begun, its length included.
    begun: BytesMut,
    wrong: bool,
}

impl Cutter {
    fn new(size: usize) -> Self {
        Self {
            size,
            records: 0,
            begun: BytesMut::new(),
            wrong: false,
        }
    }

    fn push(&mut self, mut chunk: Bytes) {
        let whole = 4 + self.size;
        if !self.begun.is_empty() {
            let missing = (whole - self.begun.len()).min(chunk.len());
            self.begun.extend_from_slice(&chunk.split_to(missing));
            if self.begun.len() < whole {
                return;
            }
            let begun = self.begun.split().freeze();
            self.take(&begun);
        }
        while chunk.len() >= whole {
            let record = chunk.split_to(whole);
            self.take(&record);
        }
        self.begun.extend_from_slice(&chunk);
    }

    fn take(&mut self, record: &Bytes) {
        self.wrong |= record[..4] != (self.size as u32).to_le_bytes();
        self.records += 1;
    }

    fn check(&self) -> Result<(), Failed> {
        if self.wrong {
            return Err(Failed::new("a record", "it has another length"));
        }
        Ok(())
    }
}
