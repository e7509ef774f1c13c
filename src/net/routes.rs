//! Routes: the outboxes of each signer's connected peers. The handle sends by them from any thread.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::outbox::Outbox;
use crate::types::SignerKey;

/// See the module.
#[derive(Default)]
pub(super) struct Routes(RwLock<HashMap<SignerKey, Vec<Arc<Outbox>>>>);

impl Routes {
    /// Queues a frame for every connected peer of a signer. Returns how many took it, and how many had no room.
    pub(super) fn send(&self, to: &SignerKey, frame: &Arc<[u8]>) -> (usize, usize) {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let outboxes = routes.get(to).map_or(&[][..], Vec::as_slice);
        let taken = outboxes.iter().filter(|outbox| outbox.push(frame.clone())).count();
        (taken, outboxes.len() - taken)
    }

    /// Adds a peer of a signer.
    pub(super) fn add(&self, signer: SignerKey, outbox: Arc<Outbox>) {
        self.write().entry(signer).or_default().push(outbox);
    }

    /// Removes a peer of a signer.
    pub(super) fn remove(&self, signer: &SignerKey, outbox: &Arc<Outbox>) {
        let mut routes = self.write();
        if let Some(outboxes) = routes.get_mut(signer) {
            outboxes.retain(|other| !Arc::ptr_eq(other, outbox));
            if outboxes.is_empty() {
                routes.remove(signer);
            }
        }
    }

    /// Removes all.
    pub(super) fn clear(&self) {
        self.write().clear();
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<SignerKey, Vec<Arc<Outbox>>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::signer;

    #[test]
    fn a_frame_goes_to_each_peer_of_its_signer_and_to_nobody_else() {
        let (known, other) = (signer(1), signer(2));
        let routes = Routes::default();
        let frame: Arc<[u8]> = vec![7; 100].into();
        assert_eq!(routes.send(&known, &frame), (0, 0));

        let (large, small) = (Arc::new(Outbox::new(1000)), Arc::new(Outbox::new(10)));
        routes.add(known, large.clone());
        routes.add(known, small.clone());
        routes.add(other, Arc::new(Outbox::new(1000)));
        assert_eq!(routes.send(&known, &frame), (1, 1));

        routes.remove(&known, &large);
        assert_eq!(routes.send(&known, &frame), (0, 1));
        routes.remove(&known, &small);
        assert_eq!(routes.send(&known, &frame), (0, 0));
        assert_eq!(routes.send(&other, &frame), (1, 0));
        routes.clear();
        assert_eq!(routes.send(&other, &frame), (0, 0));
    }
}
