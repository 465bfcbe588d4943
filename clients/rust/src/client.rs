//! The client: its connection, the rules of every call, tokens and keys. What all clients do is in
//! clients/CONTRACT.md.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tonic::{Code, Request, Response, Status};

use crate::Error;
use crate::turns::Turns;
use crate::v1::key_service_client::KeyServiceClient;
use crate::v1::{
    Key, ListKeysRequest, RevokeKeyRequest, RevokeKeyResponse, RotateKeysRequest, RotateKeysResponse,
};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(99_999_999);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets. A stream that nobody reads keeps its own window (2 MiB) of it: others must find some left.
const CONNECTION_WINDOW: u32 = 256 << 20;

/// A connection to a sidecar. It is made without I/O and serves any number of calls at once; clones share it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

struct Shared {
    /// None once the client is closed.
    turns: watch::Sender<Option<Arc<Turns>>>,
    key: Option<MetadataValue<Ascii>>,
    retries: u32,
}

/// One of a client's addresses.
struct Address {
    endpoint: Endpoint,
    /// Whether a key may go there as it is.
    local: bool,
    /// What several must have in common; empty for a name, which cannot be one of several.
    kind: String,
}

/// How a client is made.
#[derive(Clone, Default)]
pub struct Builder {
    target: String,
    tls: Option<ClientTlsConfig>,
    ca: Option<Vec<u8>>,
    key: Option<String>,
    timeout: Option<Duration>,
    retries: Option<u32>,
}

impl Builder {
    /// `host:port` or `unix:/path`, or several of these with commas between, which take turns; the variable
    /// `USHER_ADDRESS` or 127.0.0.1:50051 unless given.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Uses TLS 1.2 or later with the system's roots.
    pub fn tls(mut self) -> Self {
        self.tls.get_or_insert_default();
        self
    }

    /// Uses TLS with this authority, in PEM, instead of the system's roots.
    pub fn tls_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self.tls()
    }

    /// Uses TLS with a client certificate and its key, in PEM.
    pub fn tls_identity(mut self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let tls = self.tls.unwrap_or_default();
        self.tls = Some(tls.identity(Identity::from_pem(cert, key)));
        self
    }

    /// Sends a bearer key with every call. Without TLS it goes to this machine only.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Each call's deadline; 15 s unless given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often a call that changes nothing is repeated; 3 unless given.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// The client. Fails with `CLIENT_INVALID`, as for a key that would go to another machine in the clear, and
    /// outside of a Tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::invalid("a client is made inside a Tokio runtime"));
        }
        let (timeout, retries) = (self.timeout.unwrap_or(Duration::from_secs(15)), self.retries.unwrap_or(3));
        let given = Some(self.target.clone()).filter(|target| !target.is_empty());
        let target = given.or_else(|| env::var("USHER_ADDRESS").ok()).filter(|target| !target.is_empty());
        let target = target.unwrap_or_else(|| "127.0.0.1:50051".into());
        let found = target.split(',').map(|one| self.address(one)).collect::<Result<Vec<_>, _>>()?;
        if found.len() > 1 && found.iter().any(|one| one.kind.is_empty() || one.kind != found[0].kind) {
            return Err(Error::invalid(
                "target: several are all IPv4, all IPv6 or all Unix sockets, without names; by TLS all of one IP address",
            ));
        }
        let local = found.iter().all(|one| one.local);
        let key = self.key.map(|key| bearer(&key, local)).transpose()?;
        let endpoint = |one: Address| {
            one.endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(Duration::from_secs(60))
                .keep_alive_timeout(Duration::from_secs(20))
                .initial_connection_window_size(CONNECTION_WINDOW)
        };
        let turns = Turns::new(found.into_iter().map(endpoint).collect());
        let shared = Shared { turns: watch::Sender::new(Some(turns.into())), key, retries };
        Ok(Client { shared: Arc::new(shared), timeout })
    }

    fn address(&self, target: &str) -> Result<Address, Error> {
        let no_target =
            || Error::invalid("target: write host:port or unix:/path, or several with commas between");
        if target.starts_with("unix:") {
            if self.tls.is_some() {
                return Err(Error::invalid("tls: a Unix socket needs none"));
            }
            let endpoint = Endpoint::from_shared(target.to_owned()).map_err(|_| no_target())?;
            return Ok(Address { endpoint, local: true, kind: "unix".into() });
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{target}").parse().map_err(|_| no_target())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let whole = uri.authority().is_some_and(|authority| authority.as_str() == target);
        if host.is_empty() || uri.port_u16().is_none() || !whole || target.contains('@') {
            return Err(no_target());
        }
        let ip: Option<IpAddr> = host.parse().ok();
        let local = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
        let kind = match ip {
            None => String::new(),
            Some(ip) if self.tls.is_some() => ip.to_string(),
            Some(ip) => (if ip.is_ipv4() { "IPv4" } else { "IPv6" }).into(),
        };
        let Some(mut tls) = self.tls.clone() else {
            return Ok(Address { endpoint: Endpoint::from(uri), local, kind });
        };
        tls = match &self.ca {
            Some(pem) if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") => {
                return Err(Error::invalid("tls_ca: it must be a certificate in PEM"));
            }
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        let endpoint = Endpoint::from(uri).tls_config(tls.timeout(CONNECT_TIMEOUT));
        let trouble =
            "tls: certificates and key must be PEM, and a pair; the system must have roots unless given";
        Ok(Address { endpoint: endpoint.map_err(|_| Error::invalid(trouble))?, local: true, kind })
    }
}

fn bearer(key: &str, local: bool) -> Result<MetadataValue<Ascii>, Error> {
    if !local {
        return Err(Error::invalid("key: it is sent to another machine by TLS only; use tls"));
    }
    let visible = !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_graphic());
    let header = visible.then(|| format!("Bearer {key}").parse().ok()).flatten();
    let mut header: MetadataValue<Ascii> =
        header.ok_or_else(|| Error::invalid("key: it holds characters that no key has"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Client {
    /// A client of `host:port` or `unix:/path`, without TLS and key.
    pub fn new(target: impl Into<String>) -> Result<Self, Error> {
        Self::builder().target(target).build()
    }

    /// How to make a client with more than a target.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same connection with another deadline for each call.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: self.shared.clone(), timeout }
    }

    /// Ends the connection, and the calls under way with `CLIENT_CLOSED`; of all clones too.
    pub fn close(&self) {
        self.shared.turns.send_replace(None);
    }

    /// Every published key; on the admin address.
    pub async fn list_keys(&self) -> Result<Vec<Key>, Error> {
        let call = |channel, request| async move { KeyServiceClient::new(channel).list_keys(request).await };
        Ok(self.call(true, ListKeysRequest {}, call).await?.keys)
    }

    /// Lets the prepared key sign now; on the admin address.
    pub async fn rotate_keys(&self, force: bool) -> Result<RotateKeysResponse, Error> {
        let call =
            |channel, request| async move { KeyServiceClient::new(channel).rotate_keys(request).await };
        self.call(false, RotateKeysRequest { force }, call).await
    }

    /// Takes a key out of the set at once; on the admin address.
    pub async fn revoke_key(&self, kid: impl Into<String>) -> Result<RevokeKeyResponse, Error> {
        let call = |channel, request| async move { KeyServiceClient::new(channel).revoke_key(request).await };
        self.call(false, RevokeKeyRequest { kid: kid.into(), delay: None }, call).await
    }

    /// Runs a call within its deadline, and again where that changes nothing.
    pub(crate) async fn call<Q: Clone, A, F: Future<Output = Result<Response<A>, Status>>>(
        &self,
        repeatable: bool,
        message: Q,
        method: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Error> {
        let ends = self.ends();
        tokio::select! {
            biased;
            error = self.ended(ends) => Err(error),
            answer = self.attempts(repeatable, message, method, ends) => answer,
        }
    }

    /// When a call that begins now must be over.
    pub(crate) fn ends(&self) -> Instant {
        Instant::now() + self.timeout.min(LONGEST_TIMEOUT)
    }

    /// What ends calls from this side: the client was closed, or it is later than that.
    pub(crate) fn ended(&self, ends: Instant) -> impl Future<Output = Error> + Send + use<> {
        let shared = self.shared.clone(); // dropping the client does not end what is under way
        async move {
            let mut state = shared.turns.subscribe();
            tokio::select! {
                biased;
                _ = state.wait_for(Option::is_none) => Error::closed(),
                () = sleep_until(ends) => Error::late(),
            }
        }
    }

    async fn attempts<Q: Clone, A, F: Future<Output = Result<Response<A>, Status>>>(
        &self,
        repeatable: bool,
        message: Q,
        method: impl Fn(Channel, Request<Q>) -> F,
        ends: Instant,
    ) -> Result<A, Error> {
        let mut left = if repeatable { self.shared.retries } else { 0 };
        let mut longest = FIRST_WAIT;
        loop {
            let turns = self.shared.turns.borrow().clone().ok_or_else(Error::closed)?;
            let mut error = Error::late();
            for peer in turns.in_turn() {
                let mut request = Request::new(message.clone());
                request.set_timeout(ends - Instant::now());
                if let Some(key) = &self.shared.key {
                    request.metadata_mut().insert("authorization", key.clone());
                }
                let failed = match method(peer.channel.clone(), request).await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(status) => status,
                };
                error = Error::from_status(&failed, repeatable);
                if !turns.passes(&peer, &failed) {
                    break;
                }
            }
            let wait = longest.mul_f64(fastrand::f64()).max(error.retry_delay.unwrap_or_default());
            if left == 0 || error.code != Code::Unavailable || wait >= ends - Instant::now() {
                return Err(error);
            }
            left -= 1;
            longest = LONGEST_WAIT.min(longest * 2);
            sleep(wait).await;
        }
    }
}

/// Shows neither target nor key.
impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").finish_non_exhaustive()
    }
}

pub(crate) fn duration(given: Duration) -> prost_types::Duration {
    given.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
