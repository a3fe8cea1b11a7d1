// Everything that memjs offers, which is the binary protocol; see suite.js.
'use strict';
const assert = require('assert');
const memjs = require('memjs');
const { address, key, test, eventually, run } = require('./suite');

const quiet = { log: () => {} };
const options = { timeout: 30, conntimeout: 10, retries: 1, logger: quiet };
const c = memjs.Client.create(address, options);
const text = async (k) => {
  const { value } = await c.get(k);
  return value === null ? null : value.toString();
};
const stats = (name) => new Promise((done, fail) => {
  c.statsWithKey(name, (err, server, s) => (err ? fail(err) : done([server, s])));
});

test('set and get', async () => {
  const k = key('a');
  assert.strictEqual(await text(k), null);
  assert.strictEqual(await c.set(k, 'one', {}), true);
  assert.strictEqual(await text(k), 'one');
  assert.strictEqual(await c.set(k, '', {}), true);
  assert.strictEqual(await text(k), '');
});

test('callbacks', () => new Promise((done, fail) => {
  c.set(key('cb'), 'x', { expires: 100 }, (err, ok) => {
    if (err || !ok) return fail(err || new Error('not set'));
    c.get(key('cb'), (err, value, flags) => {
      try {
        assert.ifError(err);
        assert.strictEqual(value.toString(), 'x');
        assert.strictEqual(flags.readUInt32BE(0), 0);
        done();
      } catch (e) {
        fail(e);
      }
    });
  });
}));

test('all bytes', async () => {
  const value = Buffer.from([...Array(256).keys()]);
  await c.set(key('bytes'), value, {});
  assert.deepStrictEqual((await c.get(key('bytes'))).value, value);
});

test('flags of a serializer', async () => {
  const s = memjs.Client.create(address, Object.assign({
    serializer: {
      serialize: (opcode, value, extras) => {
        if (opcode === 1) extras.writeUInt32BE(0xfffffffe, 0);
        return { value: JSON.stringify(value), extras };
      },
      deserialize: (opcode, value, extras) => ({ value: JSON.parse(value), extras }),
    },
  }, options));
  await s.set(key('json'), { a: [1, null] }, {});
  const { value, flags } = await s.get(key('json'));
  assert.deepStrictEqual(value, { a: [1, null] });
  assert.strictEqual(flags.readUInt32BE(0), 0xfffffffe);
  s.close();
});

test('add, replace', async () => {
  const k = key('add');
  assert.strictEqual(await c.replace(k, 'no', {}), false);
  assert.strictEqual(await c.add(k, 'one', {}), true);
  assert.strictEqual(await c.add(k, 'two', {}), false);
  assert.strictEqual(await text(k), 'one');
  assert.strictEqual(await c.replace(k, 'three', {}), true);
  assert.strictEqual(await text(k), 'three');
});

test('append, prepend', async () => {
  const k = key('append');
  await assert.rejects(c.append(k, 'no'), /not stored/);
  await assert.rejects(c.prepend(k, 'no'), /not stored/);
  await c.set(k, 'm', {});
  assert.strictEqual(await c.append(k, 'r'), true);
  assert.strictEqual(await c.prepend(k, 'l'), true);
  // memjs 1.3.2 sends APPEND for its prepend; one that is right would make lmr.
  assert(['mrl', 'lmr'].includes(await text(k)), await text(k));
});

test('increment, decrement', async () => {
  const k = key('n');
  assert.deepStrictEqual(await c.increment(k, 5, { initial: 10 }), { success: true, value: 10 });
  assert.deepStrictEqual(await c.increment(k, 5, { initial: 10 }), { success: true, value: 15 });
  assert.deepStrictEqual(await c.decrement(k, 6, {}), { success: true, value: 9 });
  assert.deepStrictEqual(await c.decrement(k, 100, {}), { success: true, value: 0 });
  assert.deepStrictEqual(await c.decrement(key('n2'), 1, { initial: 7, expires: 100 }), { success: true, value: 7 });
  await c.set(key('word'), 'word', {});
  await assert.rejects(c.increment(key('word'), 1, {}));
  assert.strictEqual(await text(key('word')), 'word');
});

test('delete', async () => {
  const k = key('delete');
  assert.strictEqual(await c.delete(k), false);
  await c.set(k, 'x', {});
  assert.strictEqual(await c.delete(k), true);
  assert.strictEqual(await text(k), null);
});

test('many at once', async () => {
  const keys = [...Array(500).keys()].map((i) => key('m' + i));
  const set = await Promise.all(keys.map((k, i) => c.set(k, 'v' + i, {})));
  assert(set.every((ok) => ok === true));
  assert.deepStrictEqual(await Promise.all(keys.map(text)), keys.map((_, i) => 'v' + i));
  await Promise.all(keys.map((k) => c.delete(k)));
  assert.deepStrictEqual(await Promise.all(keys.map(text)), keys.map(() => null));
});

test('keys', async () => {
  const longest = key('').padEnd(250, 'k');
  await c.set(longest, 'x', {});
  assert.strictEqual(await text(longest), 'x');
  await c.set(key('with space\r\nand more'), 'y', {});
  assert.strictEqual(await text(key('with space\r\nand more')), 'y');
  await c.set(key('\u4e16\u754c'), 'z', {});
  assert.strictEqual(await text(key('\u4e16\u754c')), 'z');
});

test('large values', async () => {
  for (const size of [1000, 4096, 65536, 300000, 1000000]) {
    const value = Buffer.alloc(size, size % 251);
    await c.set(key('large'), value, {});
    assert((await c.get(key('large'))).value.equals(value), 'size ' + size);
  }
  await assert.rejects(c.set(key('large'), Buffer.alloc(1024 * 1024 + 1), {}));
  assert.strictEqual(await text(key('large')), null); // the old value is gone
  await c.set(key('large'), 'in step', {});
  assert.strictEqual(await text(key('large')), 'in step');
});

test('touch and expiry', async () => {
  const k = (name) => key('expiry-' + name);
  assert.strictEqual(await c.touch(k('none'), 100), false);
  await c.set(k('soon'), 'x', { expires: 1 });
  await c.set(k('later'), 'x', { expires: 60 });
  await c.set(k('touched'), 'x', { expires: 60 });
  assert.strictEqual(await c.touch(k('touched'), 1), true);
  await c.set(k('never'), 'x', { expires: 1 });
  assert.strictEqual(await c.touch(k('never'), 0), true);
  await c.increment(k('n'), 1, { initial: 3, expires: 1 });
  await eventually(10, async () => !(await text(k('soon'))) && !(await text(k('touched'))) && !(await text(k('n'))));
  assert.strictEqual(await text(k('later')), 'x');
  assert.strictEqual(await text(k('never')), 'x');
});

test('stats', async () => {
  const [server, s] = await new Promise((done, fail) => {
    c.stats((err, server, s) => (err ? fail(err) : done([server, s])));
  });
  assert.strictEqual(server, address);
  assert(Number(s.pid) > 0 && Number(s.curr_connections) >= 1, JSON.stringify(s));
  assert((await stats('settings'))[1].evictions !== undefined);
  await stats('items');
  await stats('slabs');
  await new Promise((done, fail) => c.resetStats((err) => (err ? fail(err) : done())));
  assert.strictEqual(await c.set(key('after stats'), 'x', {}), true);
});

test('flush', async () => {
  await c.set(key('f'), 'x', {});
  assert.deepStrictEqual(await c.flush(), { [address]: true });
  assert.strictEqual(await text(key('f')), null);
  await c.set(key('f'), 'x', {});
  assert.strictEqual(await text(key('f')), 'x');
});

test('quit', async () => {
  await c.set(key('q'), 'x', {});
  c.quit();
  const other = memjs.Client.create(address, options);
  assert.strictEqual((await other.get(key('q'))).value.toString(), 'x');
  other.close();
});

run();
