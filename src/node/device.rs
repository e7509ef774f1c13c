//! A signer whose keys are in a device: it is waited for until the session expires, and keeps its records in the node's
//! store.

#[cfg(feature = "bitcoin")]
mod with_psbt {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use crate::chain::psbt::{NonceId, PsbtHost, PsbtSigner};
    use crate::error::{Error, SignerError};
    use crate::event::delivery::Delivery;
    use crate::protocol::event::{Event, SessionEvent};
    use crate::signer::KeyCheck;
    use crate::store::schema;
    use crate::store::thread::StoreThread;
    use crate::store::{Change, Durability};
    use crate::types::SessionId;

    /// The device's signer.
    #[derive(Clone)]
    pub(crate) struct Device(pub Arc<PsbtSigner>);

    impl Device {
        /// Hands it what it left in the store.
        ///
        /// Errors: it is at another node.
        pub fn attach(
            &self,
            records: Vec<(SessionId, Vec<u8>)>,
            nonces: Vec<NonceId>,
            store: Arc<StoreThread>,
            delivery: Arc<Delivery>,
        ) -> Result<(), Error> {
            let host = Arc::new(Host { store, delivery });
            self.0.attach(host, records, nonces).map_err(|why| Error::Config(why.into()))
        }

        /// Ends all waiting for it.
        pub fn detach(&self) {
            self.0.detach();
        }

        /// Whether this thread is in a call of it.
        pub fn is_current_thread(&self) -> bool {
            self.0.is_current_thread()
        }

        /// Waits until no call of it runs, after [`detach`](Self::detach).
        pub fn join(&self) {
            self.0.join();
        }

        /// Why it does not sign a proposal.
        pub fn refuses(&self, check: &KeyCheck) -> Option<SignerError> {
            self.0.refuses(&check.proposal)
        }
    }

    struct Host {
        store: Arc<StoreThread>,
        delivery: Arc<Delivery>,
    }

    impl Host {
        fn commit_all(&self, changes: Vec<Change>) -> Result<(), String> {
            let (done, committed) = mpsc::channel();
            let done = Box::new(move |result| drop(done.send(result)));
            self.store.commit(changes, Durability::Synced, done);
            match committed.recv() {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("the node is stopping".into()),
            }
        }
    }

    impl PsbtHost for Host {
        fn commit(&self, session: SessionId, record: Vec<u8>, nonces: Vec<NonceId>) -> Result<(), String> {
            let nonces = nonces.into_iter().map(schema::put_nonce);
            self.commit_all(nonces.chain([schema::put_psbt(session, record)]).collect())
        }

        fn remove(&self, session: SessionId) {
            self.store.commit(vec![schema::drop_psbt(session)], Durability::Eventual, Box::new(|_| {}));
        }

        fn waiting(&self, session: SessionId, round: u32, since: Duration) {
            let event = Event::SignerWaiting { round, since };
            self.delivery.push(SessionEvent { session: Some(session), event, durable: None });
        }
    }
}

#[cfg(not(feature = "bitcoin"))]
mod without {
    use std::convert::Infallible;
    use std::sync::Arc;

    use crate::error::{Error, SignerError};
    use crate::event::delivery::Delivery;
    use crate::signer::KeyCheck;
    use crate::store::thread::StoreThread;
    use crate::types::SessionId;

    /// There is none: PSBTs need the feature `bitcoin`.
    #[derive(Clone)]
    pub(crate) struct Device(Infallible);

    impl Device {
        pub fn attach(
            &self,
            _: Vec<(SessionId, Vec<u8>)>,
            _: Vec<[u8; 16]>,
            _: Arc<StoreThread>,
            _: Arc<Delivery>,
        ) -> Result<(), Error> {
            match self.0 {}
        }

        pub fn detach(&self) {
            match self.0 {}
        }

        pub fn is_current_thread(&self) -> bool {
            match self.0 {}
        }

        pub fn join(&self) {
            match self.0 {}
        }

        pub fn refuses(&self, _: &KeyCheck) -> Option<SignerError> {
            match self.0 {}
        }
    }
}

#[cfg(feature = "bitcoin")]
pub(crate) use with_psbt::Device;
#[cfg(not(feature = "bitcoin"))]
pub(crate) use without::Device;
