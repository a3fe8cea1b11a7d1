"""Everything that pymemcache offers, which is the text protocol; see suite.py."""
import json
import time

from pymemcache import serde
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import (MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError,
                                   MemcacheUnknownCommandError)

from common import tests_of
from suite import HOST, PORT, eventually, key, raises, run, same, test


def connect(kind=Client, **options):
    return kind((HOST, PORT), connect_timeout=10, timeout=30, **options)


# c waits for answers unless a call says noreply; quiet is the library's default.
c = connect(default_noreply=False)
tests_of(c)
quiet = connect()


@test
def version():
    assert c.version().startswith(b'1.'), c.version()


@test
def all_bytes():
    value = bytes(range(256)) * 3 + b'\r\nEND\r\nVALUE x 0 1\r\n'
    same(c.set(key('bytes'), value), True)
    same(c.get(key('bytes')), value)


@test
def quiet_is_the_default():
    k = key('quiet')
    same(quiet.set(k, 'one'), True)
    same(quiet.get(k), b'one')
    same(quiet.add(k, 'two'), True)  # it is not told that this was not stored
    same(quiet.get(k), b'one')
    quiet.replace(k, 'three')
    quiet.append(k, '>')
    quiet.prepend(k, '<')
    same(quiet.get(k), b'<three>')
    quiet.touch(k, 1000)
    quiet.delete(k)
    same(quiet.get(k), None)
    quiet.delete(k)
    same(quiet.get(k), None)


@test
def add_replace():
    k = key('add')
    same(c.replace(k, 'no'), False)
    same(c.add(k, 'one'), True)
    same(c.add(k, 'two'), False)
    same(c.get(k), b'one')
    same(c.replace(k, 'three'), True)
    same(c.get(k), b'three')


@test
def cas_quietly():
    k = key('cas2')
    same(c.cas(k, 'none', b'1'), None)
    c.set(k, 'one')
    _, token = c.gets(k)
    same(c.cas(k, 'quiet', token, noreply=True), True)
    same(c.cas(k, 'quiet, too late', token, noreply=True), True)
    same(c.get(k), b'quiet')


@test
def tokens_change_with_every_write():
    k = key('tokens')
    seen = set()
    for write in (lambda: c.set(k, '1'), lambda: c.replace(k, '2'), lambda: c.append(k, '3'), lambda: c.incr(k, 1),
                  lambda: c.set(k, '1')):
        write()
        token = c.gets(k)[1]
        assert token not in seen
        seen.add(token)
    c.touch(k, 1000)
    same(c.cas(k, 'after touch', token), True)


@test
def incr_decr():
    k = key('n')
    same(c.incr(k, 1), None)
    same(c.decr(k, 1), None)
    c.set(k, '10')
    same(c.incr(k, 5), 15)
    same(c.decr(k, 6), 9)
    same(c.get(k).rstrip(), b'9')
    same(c.decr(k, 100), 0)
    c.set(k, str(2**64 - 1))
    same(c.incr(k, 1), 0)
    same(c.incr(k, 2**64 - 1), 2**64 - 1)
    same(c.incr(k, 1, noreply=True), None)
    same(c.decr(k, 1, noreply=True), None)
    same(c.incr(k, 7), 7)


@test
def incr_of_no_number():
    c.set(key('word'), 'word')
    e = raises(MemcacheClientError, c.incr, key('word'), 1)
    assert b'non-numeric' in e.args[0], e
    raises(MemcacheClientError, c.incr, key('word'), -1)
    same(c.get(key('word')), b'word')


@test
def many():
    pairs = {key('m%d' % i): b'v%d' % i for i in range(1000)}
    same(c.set_many(pairs), [])
    same(c.get_many(list(pairs)), pairs)
    same(c.get_many([key('none')] + list(pairs)[:3] + [key('none2')]), {k: pairs[k] for k in list(pairs)[:3]})
    tokens = c.gets_many(list(pairs)[:10])
    same({k: v for k, (v, _) in tokens.items()}, {k: pairs[k] for k in list(pairs)[:10]})
    for k, (_, token) in tokens.items():
        same(c.cas(k, 'swapped', token), True)
    same(c.delete_many(list(pairs)[:500]), True)
    same(c.get_many(list(pairs)[:501]), {k: pairs[k] for k in list(pairs)[500:501]})
    same(quiet.set_many({k: 'again' for k in pairs}), [])
    same(len(quiet.get_many(list(pairs))), 1000)
    same(quiet.delete_many(list(pairs)), True)
    same(quiet.get_many(list(pairs)), {})
    same(c.get_many([]), {})


@test
def many_large():
    pairs = {key('L%d' % i): bytes([i]) * 200000 for i in range(50)}
    same(c.set_many(pairs), [])
    same(c.get_many(list(pairs)), pairs)
    c.delete_many(list(pairs))


@test
def flags():
    k = key('flags')
    for flags in (0, 1, 0xffff, 0xffffffff):
        sent = []
        f = connect(default_noreply=False, serializer=lambda k, v: (v, flags),
                    deserializer=lambda k, v, got: sent.append(got) or v)
        f.set(k, 'x')
        same(f.get(k), b'x')
        f.append(k, 'y')
        same(f.get(k), b'xy')
        same(sent, [flags, flags])
        f.close()


@test
def serialisation():
    p = connect(default_noreply=False, serde=serde.pickle_serde)
    for value in ('text \u4e16', b'bytes', 7, 2**70, True, None, [1, {'a': (2, 3)}], 1.5):
        same(p.set(key('pickle'), value), True)
        same(p.get(key('pickle')), value)
    j = connect(default_noreply=False, serializer=lambda k, v: (json.dumps(v), 5),
                deserializer=lambda k, v, flags: json.loads(v) if flags == 5 else None)
    j.set(key('json'), {'a': [1, 2, None]})
    same(j.get(key('json')), {'a': [1, 2, None]})


@test
def keys():
    longest = key('').ljust(250, 'k')
    same(c.set(longest, 'x'), True)
    same(c.get(longest), b'x')
    raises(MemcacheIllegalInputError, c.set, longest + 'k', 'x')
    raises(MemcacheIllegalInputError, c.set, 'a b', 'x')
    u = connect(default_noreply=False, allow_unicode_keys=True, encoding='utf-8')
    same(u.set(key('\u4e16\u754c'), 'x'), True)
    same(u.get(key('\u4e16\u754c')), b'x')
    p = connect(default_noreply=False, key_prefix=key('prefix').encode())
    p.set('a', 'x')
    same(p.get_many(['a', 'b']), {'a': b'x'})
    same(c.get(key('prefixa')), b'x')


@test
def too_large():
    k = key('too-large')
    c.set(k, 'old')
    e = raises(MemcacheServerError, c.set, k, b'x' * (1024 * 1024 + 1))
    assert b'too large' in e.args[0], e
    same(c.get(k), None)  # the old value is gone
    same(c.set(k, 'in step'), True)
    same(c.get(k), b'in step')


@test
def touch():
    k = key('touch')
    same(c.touch(k, 1000), False)
    c.set(k, 'x', expire=1000)
    same(c.touch(k, 0), True)
    same(c.get(k), b'x')


@test
def expiry():
    soon, later, touched, never = key('soon'), key('later'), key('touched'), key('never')
    c.set(soon, 'x', expire=1)
    c.set(later, 'x', expire=60)
    c.set(touched, 'x', expire=60)
    c.touch(touched, 1)
    c.set(never, 'x', expire=1)
    c.touch(never, 0)
    c.set(key('past'), 'x', expire=-1)
    same(c.get(key('past')), None)
    c.set(key('absolute'), 'x', expire=int(time.time()) + 1000)
    same(c.get(key('absolute')), b'x')
    c.set(key('absolute'), 'x', expire=int(time.time()) - 1000)
    same(c.get(key('absolute')), None)
    eventually(10, lambda: c.get(soon) is None and c.get(touched) is None)
    same(c.get_many([soon, later, touched, never]), {later: b'x', never: b'x'})
    same(c.add(soon, 'again'), True)


@test
def stats():
    s = c.stats()
    assert s[b'pid'] > 0 and s[b'curr_connections'] >= 1 and s[b'version'].startswith(b'1.'), s
    assert c.stats('settings')
    c.stats('items')
    c.stats('slabs')
    same(c.cache_memlimit(64), True)


@test
def errors():
    e = raises(MemcacheUnknownCommandError, c._misc_cmd, [b'bogus\r\n'], b'bogus', False)
    assert e is not None
    c.set(key('after'), 'x')
    same(c.get(key('after')), b'x')
    gone = Client((HOST, 1), connect_timeout=1, timeout=1, ignore_exc=True)
    same(gone.get('a', 'default'), 'default')
    raises(Exception, connect(serializer=lambda k, v: (v, 'no number'), default_noreply=False).set, key('bad'), 'x')


@test
def pooled():
    p = connect(PooledClient, max_pool_size=3, default_noreply=False)
    same(p.set(key('pooled'), 'x'), True)
    same(p.get(key('pooled')), b'x')
    same(p.get_many([key('pooled')]), {key('pooled'): b'x'})
    same(p.incr(key('pooled-none'), 1), None)
    same(p.delete(key('pooled')), True)
    p.quit()


@test
def hashed():
    h = HashClient([(HOST, PORT)], connect_timeout=10, timeout=30, use_pooling=True, default_noreply=False)
    pairs = {key('h%d' % i): b'%d' % i for i in range(50)}
    same(h.set_many(pairs), [])
    same(h.get_many(list(pairs)), pairs)
    value, token = h.gets(key('h1'))
    same(h.cas(key('h1'), 'x', token), True)
    same(h.delete_many(list(pairs)), True)
    same(h.get_many(list(pairs)), {})
    h.quit()


@test
def flush_all():
    c.set(key('f'), 'x')
    same(c.flush_all(), True)
    same(c.get(key('f')), None)
    c.set(key('f'), 'x')
    same(c.get(key('f')), b'x')
    quiet.flush_all()
    same(quiet.get(key('f')), None)
    same(c.flush_all(delay=1000), True)
    same(c.flush_all(), True)  # takes the place of the one to come


@test
def quit():
    c.set(key('q'), 'x')
    c.quit()
    same(c.get(key('q')), b'x')  # connects again
    c.close()


run()
