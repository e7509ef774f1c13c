// One signer's part of a MuSig2 session by @scure/btc-signer, in µs of CPU time: for each number of signers a line with
// that number and the median. Arguments: the folder of the packages (tests/bitcoin/fetch-signers.sh), and the rounds.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, rounds] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const musig2 = await import(pathToFileURL(require.resolve('@scure/btc-signer/musig2.js')).href);

const secrets = (n) => Array.from({ length: n }, (_, index) => new Uint8Array(32).fill(0x11).fill(index + 1, 31));
const message = new Uint8Array(32).fill(9);

function session(n) {
  let spent = 0;
  const timed = (act) => {
    const start = process.cpuUsage();
    const result = act();
    const { user, system } = process.cpuUsage(start);
    spent += user + system;
    return result;
  };
  const own = secrets(n);
  const keys = musig2.sortKeys(own.map((secret) => musig2.IndividualPubkey(secret)));
  const aggregate = () => musig2.keyAggExport(musig2.keyAggregate(keys));
  const shared = aggregate();
  const nonce = (secret, key) => musig2.nonceGen(musig2.IndividualPubkey(secret), secret, key, message);
  const others = own.slice(1).map((secret) => nonce(secret, shared));
  const [mine, first] = timed(() => {
    const mine = nonce(own[0], aggregate());
    const sum = musig2.nonceAggregate([mine.public, ...others.map((one) => one.public)]);
    return [mine, new musig2.Session(sum, keys, message)];
  });
  const partials = others.map((one, index) => first.sign(one.secret, own[index + 1]));
  timed(() => {
    // Checks its own partial signature.
    const partial = first.sign(mine.secret, own[0]);
    first.partialSigAgg([partial, ...partials]);
  });
  return spent;
}

for (const n of [2, 5, 20]) {
  session(n);
  const samples = Array.from({ length: Number(rounds) }, () => session(n)).sort((a, b) => a - b);
  console.log(`${n} ${samples[Math.floor(samples.length / 2)]}`);
}
