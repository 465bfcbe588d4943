//! The sidecars of a client, which take turns. One that cannot be reached is left out until it can be again.

use std::error::Error as StdError;
use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Status};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Turns {
    peers: Vec<Arc<Peer>>,
    next: AtomicUsize,
}

/// A sidecar, and the connection to it.
pub(crate) struct Peer {
    pub(crate) channel: Channel,
    endpoint: Endpoint,
    /// Whether it could not be reached when that was last tried.
    away: AtomicBool,
}

impl Turns {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        let peer = |endpoint: Endpoint| {
            Arc::new(Peer { channel: endpoint.connect_lazy(), endpoint, away: false.into() })
        };
        Self { peers: endpoints.into_iter().map(peer).collect(), next: 0.into() }
    }

    /// Those that are not away, or else all, from the next one on.
    pub(crate) fn in_turn(&self) -> Vec<Arc<Peer>> {
        let there = self.peers.iter().filter(|peer| !peer.away.load(Ordering::Relaxed));
        let mut found: Vec<_> = there.cloned().collect();
        if found.is_empty() {
            found.clone_from(&self.peers);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % found.len();
        found.rotate_left(first);
        found
    }

    /// Whether a call was not sent, as nobody was there: then the peer is left out, and the next one asked.
    pub(crate) fn passes(&self, peer: &Arc<Peer>, failed: &Status) -> bool {
        let unreached =
            successors(failed.source(), |&cause| cause.source()).any(|cause| cause.is::<ConnectError>());
        if unreached && self.peers.len() > 1 && !peer.away.swap(true, Ordering::Relaxed) {
            tokio::spawn(returned(peer.clone()));
        }
        unreached
    }
}

/// Has a peer take turns again once it can be reached. Ends with its client.
async fn returned(peer: Arc<Peer>) {
    let (endpoint, peer) = (peer.endpoint.clone(), Arc::downgrade(&peer));
    let mut wait = FIRST_WAIT;
    while peer.strong_count() > 0 {
        sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
        if endpoint.connect().await.is_ok() {
            peer.upgrade().inspect(|peer| peer.away.store(false, Ordering::Relaxed));
            return;
        }
    }
}
