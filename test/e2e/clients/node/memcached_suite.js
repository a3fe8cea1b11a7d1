// Everything that the package memcached offers, which is the text protocol; see suite.js.
'use strict';
const assert = require('assert');
const Memcached = require('memcached');
const { address, key, test, eventually, run } = require('./suite');

const options = { timeout: 30000, retries: 1, poolSize: 5, idle: 60000 };
const client = new Memcached(address, options);

// c.get(...) is client.get(..., callback) as a promise.
const promised = (of) => new Proxy({}, {
  get: (_, method) => (...args) => new Promise((done, fail) => {
    of[method](...args, (err, result) => (err ? fail(err) : done(result)));
  }),
});
const c = promised(client);
const notStored = { notStored: true };

test('set and get', async () => {
  const k = key('a');
  assert.strictEqual(await c.get(k), undefined);
  assert.strictEqual(await c.set(k, 'one', 0), true);
  assert.strictEqual(await c.get(k), 'one');
  assert.strictEqual(await c.set(k, '', 0), true);
  assert.strictEqual(await c.get(k), '');
});

test('values by their flags', async () => {
  for (const value of ['text \u4e16', 7, -1.5, true, null, { a: [1, { b: null }] }, [1, 2], 'two\r\nlines']) {
    await c.set(key('flags'), value, 0);
    assert.deepStrictEqual(await c.get(key('flags')), value);
  }
  await c.set(key('flags'), Buffer.from([1, 2, 127]), 0);
  assert.deepStrictEqual(await c.get(key('flags')), Buffer.from([1, 2, 127]));
});

test('add, replace', async () => {
  const k = key('add');
  await assert.rejects(c.replace(k, 'no', 0), notStored);
  assert.strictEqual(await c.add(k, 'one', 0), true);
  await assert.rejects(c.add(k, 'two', 0), notStored);
  assert.strictEqual(await c.get(k), 'one');
  assert.strictEqual(await c.replace(k, 'three', 0), true);
  assert.strictEqual(await c.get(k), 'three');
});

test('append, prepend', async () => {
  const k = key('append');
  await assert.rejects(c.append(k, 'no'), notStored);
  await assert.rejects(c.prepend(k, 'no'), notStored);
  await c.set(k, 'm', 0);
  assert.strictEqual(await c.append(k, 'r'), true);
  assert.strictEqual(await c.prepend(k, 'l'), true);
  assert.strictEqual(await c.get(k), 'lmr');
});

test('gets and cas', async () => {
  const k = key('cas');
  assert.strictEqual(await c.gets(k), undefined);
  assert.strictEqual(await c.cas(k, 'none', '1', 0), false);
  await c.set(k, 'one', 0);
  const got = await c.gets(k);
  assert.strictEqual(got[k], 'one');
  assert.strictEqual(await c.cas(k, 'two', got.cas, 0), true);
  assert.strictEqual(await c.cas(k, 'three', got.cas, 0), false);
  assert.strictEqual(await c.get(k), 'two');
});

test('incr, decr', async () => {
  const k = key('n');
  assert.strictEqual(await c.incr(k, 1), false);
  assert.strictEqual(await c.decr(k, 1), false);
  await c.set(k, 10, 0);
  assert.strictEqual(await c.incr(k, 5), 15);
  assert.strictEqual(await c.decr(k, 6), 9);
  assert.strictEqual(await c.get(k), 9);
  assert.strictEqual(await c.decr(k, 100), 0);
  await c.set(key('word'), 'word', 0);
  await assert.rejects(c.incr(key('word'), 1), /non-numeric/);
  await assert.rejects(c.incr(key('word'), -1), /invalid numeric delta/);
});

test('del', async () => {
  const k = key('delete');
  assert.strictEqual(await c.del(k), false);
  await c.set(k, 'x', 0);
  assert.strictEqual(await c.del(k), true);
  assert.strictEqual(await c.get(k), undefined);
});

test('getMulti', async () => {
  const keys = [...Array(300).keys()].map((i) => key('m' + i));
  await Promise.all(keys.map((k, i) => c.set(k, 'v' + i, 0)));
  const want = Object.fromEntries(keys.map((k, i) => [k, 'v' + i]));
  assert.deepStrictEqual(await c.getMulti(keys), want);
  assert.deepStrictEqual(await c.getMulti([key('none'), keys[0]]), { [keys[0]]: 'v0' });
});

test('many at once', async () => {
  const keys = [...Array(300).keys()].map((i) => key('p' + i));
  await Promise.all(keys.map((k, i) => c.set(k, i, 0)));
  assert.deepStrictEqual(await Promise.all(keys.map((k) => c.incr(k, 1000))), keys.map((_, i) => i + 1000));
  await Promise.all(keys.map((k) => c.del(k)));
  assert.deepStrictEqual(await Promise.all(keys.map((k) => c.get(k))), keys.map(() => undefined));
});

test('keys', async () => {
  const longest = key('').padEnd(250, 'k');
  await c.set(longest, 'x', 0);
  assert.strictEqual(await c.get(longest), 'x');
  // Longer ones are hashed by the client.
  await c.set(longest + 'k', 'y', 0);
  assert.strictEqual(await c.get(longest + 'k'), 'y');
  const named = new Memcached(address, Object.assign({ namespace: key('ns-') }, options));
  const n = promised(named);
  await n.set('a', 'x', 0);
  assert.strictEqual(await n.get('a'), 'x');
  assert.strictEqual(await c.get(key('ns-a')), 'x');
  named.end();
});

test('large values', async () => {
  for (const size of [1000, 4096, 65536, 300000, 1000000]) {
    const value = String.fromCharCode(97 + (size % 26)).repeat(size);
    await c.set(key('large'), value, 0);
    assert(await c.get(key('large')) === value, 'size ' + size);
  }
  await assert.rejects(c.set(key('large'), 'x'.repeat(1024 * 1024 + 1), 0)); // refused by the client
});

test('touch and expiry', async () => {
  const k = (name) => key('expiry-' + name);
  assert.strictEqual(await c.touch(k('none'), 100), false);
  // Exptimes are whole seconds of the clock: of 1 an item may live for no time at all.
  await c.set(k('soon'), 'x', 3);
  await c.set(k('later'), 'x', 60);
  await c.set(k('touched'), 'x', 60);
  assert.strictEqual(await c.touch(k('touched'), 1), true);
  await c.set(k('never'), 'x', 2);
  assert.strictEqual(await c.touch(k('never'), 0), true);
  await c.set(k('past'), 'x', -1);
  assert.strictEqual(await c.get(k('past')), undefined);
  await eventually(10, async () => !(await c.get(k('soon'))) && !(await c.get(k('touched'))));
  assert.deepStrictEqual(await c.getMulti(['soon', 'later', 'touched', 'never'].map(k)), { [k('later')]: 'x', [k('never')]: 'x' });
});

test('version', async () => {
  const [v] = await c.version();
  assert.strictEqual(v.server, address);
  assert.strictEqual(v.major, '1');
  assert.strictEqual(v.minor, '6');
});

test('stats', async () => {
  const [s] = await c.stats();
  assert(s.pid > 0 && s.curr_connections >= 1, JSON.stringify(s));
  const [settings] = await c.settings();
  assert(settings.evictions !== undefined, JSON.stringify(settings));
  await c.slabs();
  await c.items();
});

test('cachedump', async () => {
  await c.set(key('dumped'), 'x', 0);
  const [items] = await c.items();
  for (const slab of Object.keys(items).filter((name) => name !== 'server')) {
    // The client takes the END that follows the items of one as its own answer.
    await c.cachedump(address, Number(slab), 10);
  }
});

test('flush', async () => {
  await c.set(key('f'), 'x', 0);
  assert.deepStrictEqual(await c.flush(), [true]);
  assert.strictEqual(await c.get(key('f')), undefined);
  await c.set(key('f'), 'x', 0);
  assert.strictEqual(await c.get(key('f')), 'x');
});

test('end', async () => {
  client.end();
  const again = new Memcached(address, options);
  assert.strictEqual(await promised(again).get(key('f')), 'x');
  again.end();
});

run();
