//! The priority list.

use std::hint::black_box;

use libmusig::protocol::election::{ElectionMethod, priority_list};
use libmusig::signer::LocalSigner;
use libmusig::types::{SessionId, SignerKey};

use crate::harness::{Table, Target, median, micros, time};

pub fn run(table: &mut Table) {
    let session = SessionId([7; 32]);
    for (n, target) in [(10, 5.0), (100, 100.0)] {
        let keys: Vec<SignerKey> = (0..n).map(numbered).collect();
        let rounds = table.size.pick(1, 500, 2000);
        let (mut sorting, mut methods) = (Vec::new(), vec![Vec::new(); ElectionMethod::ALL.len()]);
        for _ in 0..rounds {
            let mut sorted = keys.clone();
            sorting.push(micros(time(|| black_box(&mut sorted).sort_unstable())));
            for (samples, method) in methods.iter_mut().zip(ElectionMethod::ALL) {
                samples.push(micros(time(|| drop(black_box(priority_list(&keys, method, &session))))));
            }
        }
        let sorting = median(&mut sorting);
        for (mut samples, method) in methods.into_iter().zip(ElectionMethod::ALL) {
            let id = format!("list_{method:?}_{n}").to_lowercase();
            let what = format!("priority list of {n} signers, {method:?}, and sorting their keys");
            table.against(&id, &what, (median(&mut samples), sorting), "µs", Target::AtMost(target));
        }
    }
}

fn numbered(number: u16) -> SignerKey {
    let mut secret = [0x22; 32];
    secret[30..].copy_from_slice(&(number + 1).to_be_bytes());
    LocalSigner::new(secret).expect("a valid secret").public_key()
}
