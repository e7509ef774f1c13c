// A signer by @scure/btc-signer: adds nonces and partial signatures to PSBTs, one on each line of its input.
//
// A line is `nonces`, `partials` or `wrong` (partial signatures that do not verify), then a PSBT in base64; the answer is
// one line of base64. The secret key is the first argument, in hexadecimal. Secret nonces stay in memory, and are used
// once. The library has the fields and the arithmetic; the way from the aggregate key to the output key is here.

import { createInterface } from 'node:readline';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { ripemd160 } from '@noble/hashes/legacy.js';
import { Transaction } from '@scure/btc-signer';
import * as musig2 from '@scure/btc-signer/musig2.js';

const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'));
const hex = (array) => Buffer.from(array).toString('hex');
const join = (...parts) => Uint8Array.from(Buffer.concat(parts));
const tagged = (tag, ...parts) => {
  const half = sha256(new TextEncoder().encode(tag));
  return sha256(join(half, half, ...parts));
};

const secret = bytes(process.argv[2]);
const own = musig2.IndividualPubkey(secret);
const nonces = new Map();

// The chain code of BIP-328.
const CHAIN_CODE = bytes('868087ca02a6f974c4598924c36b57762d32cb45717167e300622c7167e38965');

const key = (participants, tweaks, xOnly) =>
  musig2.keyAggregate(participants, tweaks, xOnly).aggPublicKey.toBytes(true);

/** What is signed in an input, and by which tweaks of the aggregate key. */
function spend(tx, index) {
  const input = tx.getInput(index);
  const found = (input.musig2ParticipantPubkeys ?? []).find(([, keys]) => keys.some((one) => hex(one) === hex(own)));
  if (!found) return undefined;
  const [aggregate, participants] = found;
  const [tweaks, xOnly] = [[], []];
  const fingerprint = new DataView(ripemd160(sha256(aggregate)).buffer).getUint32(0);
  const internal = input.tapInternalKey;
  const derived = (input.tapBip32Derivation ?? []).find(
    ([at, { der }]) => hex(at) === hex(internal) && der.fingerprint === fingerprint
  );
  let chainCode = CHAIN_CODE;
  for (const number of derived ? derived[1].der.path : []) {
    const index4 = new Uint8Array(4);
    new DataView(index4.buffer).setUint32(0, number);
    const both = hmac(sha512, chainCode, join(key(participants, tweaks, xOnly), index4));
    tweaks.push(both.slice(0, 32));
    xOnly.push(false);
    chainCode = both.slice(32);
  }
  tweaks.push(tagged('TapTweak', internal, input.tapMerkleRoot ?? new Uint8Array()));
  xOnly.push(true);
  const spent = Array.from({ length: tx.inputsLength }, (_, at) => tx.getInput(at).witnessUtxo);
  const type = input.sighashType ?? 0;
  const scripts = spent.map((output) => output.script);
  const digest = tx.preimageWitnessV1(index, scripts, type, spent.map((output) => output.amount));
  return { input, participants, tweaks, xOnly, digest, final: key(participants, tweaks, xOnly) };
}

function answer(command, tx) {
  for (let index = 0; index < tx.inputsLength; index++) {
    const spending = spend(tx, index);
    if (!spending) continue;
    const { input, participants, tweaks, xOnly, digest, final } = spending;
    const slot = { participantPubkey: own, aggregatePubkey: final };
    if (command === 'nonces') {
      const nonce = musig2.nonceGen(own, secret, final.slice(1), digest);
      nonces.set(hex(nonce.public), nonce.secret);
      tx.updateInput(index, { musig2PubNonce: [[slot, nonce.public]] });
      continue;
    }
    const all = participants.map((participant) => {
      const of = ([at]) =>
        hex(at.participantPubkey) === hex(participant) && hex(at.aggregatePubkey) === hex(final);
      return input.musig2PubNonce.find(of)[1];
    });
    const mine = hex(all[participants.findIndex((one) => hex(one) === hex(own))]);
    const session = new musig2.Session(musig2.nonceAggregate(all), participants, digest, tweaks, xOnly);
    const partial = session.sign(nonces.get(mine), secret);
    nonces.delete(mine);
    if (command === 'wrong') partial[31] ^= 1;
    tx.updateInput(index, { musig2PartialSig: [[slot, partial]] });
  }
  return tx;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, text] = line.split(' ');
  const tx = Transaction.fromPSBT(Uint8Array.from(Buffer.from(text, 'base64')));
  console.log(Buffer.from(answer(command, tx).toPSBT()).toString('base64'));
}
