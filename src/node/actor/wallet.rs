//! The application's own wallet: its descriptors.

use tokio::sync::oneshot;

use super::{Actor, Command};
use crate::chain::descriptor::Descriptor;
use crate::chain::wallet::{self, Known, OwnDescriptor, Wallet};
use crate::error::Error;
use crate::store::{Change, Durability, schema};

type Answer = oneshot::Sender<Result<(), Error>>;

/// What waits until the stored descriptors are derived.
pub(super) type Waiting = Vec<Box<dyn FnOnce(&mut Actor) + Send>>;

impl Actor {
    /// Derives what the stored descriptors make, beside everything else.
    pub(super) fn load_wallet(&mut self) {
        let records = std::mem::take(&mut self.stored_wallet);
        if records.is_empty() {
            return;
        }
        self.wallet_waits = Some(Vec::new());
        let commands = self.commands.clone();
        drop(tokio::task::spawn_blocking(move || {
            let wallet = Wallet::load(records);
            let loaded = |actor: &mut Self| {
                actor.engine.set_own_key_sets(wallet.key_sets());
                actor.wallet = wallet;
                actor.wallet_waits.take().into_iter().flatten().for_each(|call| call(actor));
            };
            drop(commands.send(Command::Call(Box::new(loaded))));
        }));
    }

    /// Calls this once the own wallet is known.
    pub(crate) fn beside_wallet(&mut self, call: impl FnOnce(&mut Self) + Send + 'static) {
        match &mut self.wallet_waits {
            Some(waiting) => waiting.push(Box::new(call)),
            None => call(self),
        }
    }

    /// Derives what a descriptor makes, then adds it.
    pub(crate) fn add_descriptor(&mut self, own: OwnDescriptor, reply: Answer) {
        let commands = self.commands.clone();
        drop(tokio::task::spawn_blocking(move || {
            let record = own.encode();
            let (id, known) = (wallet::id_of(&own.descriptor), Known::of(own));
            let add = move |actor: &mut Self| match known.and_then(|known| actor.add_known(known)) {
                Ok(()) => actor.store_wallet(schema::put_descriptor(id, record), reply),
                Err(error) => drop(reply.send(Err(error))),
            };
            drop(commands.send(Command::Call(Box::new(add))));
        }));
    }

    fn add_known(&mut self, known: Known) -> Result<(), Error> {
        if let Some(error) = self.refuses(true) {
            return Err(error);
        }
        self.wallet.add(known)
    }

    pub(crate) fn remove_descriptor(&mut self, descriptor: &Descriptor, reply: Answer) {
        if let Some(error) = self.refuses(true) {
            return drop(reply.send(Err(error)));
        }
        if !self.wallet.remove(descriptor) {
            return drop(reply.send(Ok(())));
        }
        self.store_wallet(schema::drop_descriptor(wallet::id_of(descriptor)), reply);
    }

    fn store_wallet(&mut self, change: Change, reply: Answer) {
        self.engine.set_own_key_sets(self.wallet.key_sets());
        let done = move |result: Result<(), _>| drop(reply.send(result.map_err(Error::Store)));
        self.store.commit(vec![change], Durability::Synced, Box::new(done));
    }
}
