//! The application's own wallet: its descriptors.

use tokio::sync::oneshot;

use super::{Actor, Command};
use crate::chain::descriptor::Descriptor;
use crate::chain::wallet::{self, Known, OwnDescriptor};
use crate::error::Error;
use crate::store::{Change, Durability, schema};

type Answer = oneshot::Sender<Result<(), Error>>;

impl Actor {
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
