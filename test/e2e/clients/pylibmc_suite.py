"""Everything that pylibmc offers; "binary" as third argument: in that protocol. See suite.py."""
import sys
import threading
import time

import pylibmc

from common import tests_of
from suite import HOST, PORT, eventually, key, raises, run, same, test

BINARY = sys.argv[3:] == ['binary']


def connect(**behaviors):
    c = pylibmc.Client(['%s:%d' % (HOST, PORT)], binary=BINARY)
    c.behaviors = dict({'cas': True, 'connect_timeout': 10000, 'receive_timeout': 30000000, 'send_timeout': 30000000},
                       **behaviors)
    return c


c = connect()
tests_of(c)


@test
def texts():
    same(c.set(key('text'), 'one'), True)
    same(c.get(key('text')), 'one')
    assert key('text') in c
    assert key('none') not in c


@test
def serialisation():
    for value in ('text \u4e16', b'bytes\r\n\x00\xff', 7, -7, 2**40, True, False, None, [1, {'a': (2, 3)}], 1.5):
        same(c.set(key('pickle'), value), True)
        got = c.get(key('pickle'))
        same(got, value)
        same(type(got), int if isinstance(value, bool) else type(value))  # pylibmc sends bools as numbers


@test
def compression():
    value = 'compress me ' * 10000
    same(c.set(key('zip'), value, min_compress_len=100), True)
    same(c.get(key('zip')), value)
    same(c.set_multi({key('zip2'): value}, min_compress_len=100, compress_level=9), [])
    same(c.get_multi([key('zip2')]), {key('zip2'): value})


@test
def add_replace():
    k = key('add')
    try:
        same(c.replace(k, 'no'), False)
    except pylibmc.NotFound:
        assert BINARY  # there it has a status of its own
    same(c.add(k, 'one'), True)
    same(c.add(k, 'two'), False)
    same(c.get(k), 'one')
    same(c.replace(k, 'three'), True)
    same(c.get(k), 'three')


@test
def add_is_a_lock():
    won = []

    def take(client, name):
        if client.add(key('lock'), name):
            won.append(name)
    clients = [connect() for _ in range(8)]
    threads = [threading.Thread(target=take, args=(client, i)) for i, client in enumerate(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    same(len(won), 1)
    same(c.get(key('lock')), won[0])


@test
def cas_of_nothing():
    k = key('gone')
    c.set(k, 'one')
    _, token = c.gets(k)
    c.delete(k)
    raises(pylibmc.NotFound, c.cas, k, 'four', token)


@test
def incr_decr():
    k = key('n')
    raises(pylibmc.NotFound, c.incr, k)
    raises(pylibmc.NotFound, c.decr, k)
    same(c.get(k), None)  # no number was made
    c.set(k, 10)
    same(c.incr(k), 11)
    same(c.incr(k, 5), 16)
    same(c.decr(k, 7), 9)
    same(c.get(k), 9)
    same(c.decr(k, 100), 0)
    same(c.incr(k, 2**31 - 1), 2**31 - 1)
    c.set(key('word'), 'word')
    raises(pylibmc.Error, c.incr, key('word'))
    same(c.get(key('word')), 'word')


@test
def multi():
    pairs = {key('m%d' % i): i for i in range(500)}
    same(c.set_multi(pairs), [])
    same(c.get_multi(list(pairs)), pairs)
    same(c.get_multi([key('none')] + list(pairs)[:3]), {k: pairs[k] for k in list(pairs)[:3]})
    raises(pylibmc.Error, c.incr_multi, [key('none3')], delta=1)
    c.incr_multi(list(pairs), delta=1000)
    same(c.get_multi(list(pairs)), {k: v + 1000 for k, v in pairs.items()})
    same(sorted(c.add_multi({key('m0'): 1, key('new'): 2})), [key('m0')])
    same(c.get(key('new')), 2)
    same(c.delete_multi(list(pairs)), True)
    same(c.get_multi(list(pairs)), {})
    same(c.delete_multi([key('m0')]), False)
    same(c.set_multi({'a': 1, 'b': [2]}, key_prefix=key('p-')), [])
    same(c.get_multi(['a', 'b', 'c'], key_prefix=key('p-')), {'a': 1, 'b': [2]})
    same(c.delete_multi(['a', 'b'], key_prefix=key('p-')), True)


@test
def noreply():
    quiet = connect(_noreply=True, cas=False)
    k = key('noreply')
    quiet.set(k, 'one')
    quiet.add(k, 'two')
    quiet.replace(k, 'three')
    quiet.set_multi({key('nr%d' % i): i for i in range(100)})
    quiet.delete(key('nr0'))
    # libmemcached sends quiet commands together with the next one at the latest.
    same(quiet.get(k), 'three')
    same(len(quiet.get_multi([key('nr%d' % i) for i in range(100)])), 99)


@test
def keys():
    longest = key('').ljust(250, 'k')
    same(c.set(longest, 'x'), True)
    same(c.get(longest), 'x')
    raises((pylibmc.Error, ValueError), c.set, longest + 'k', 'x')
    u = key('\u4e16\u754c')
    same(c.set(u, 'x'), True)
    same(c.get(u), 'x')
    if not BINARY:
        v = connect(verify_keys=True)
        same(v.set('a b', 'x'), False)
        same(v.set(key('verified'), 'x'), True)


@test
def too_large():
    k = key('too-large')
    raises(pylibmc.Error, c.set, k, b'x' * (1024 * 1024 + 1))
    c.disconnect_all()  # libmemcached may have given the connection up in the middle
    same(c.set(k, 'in step'), True)
    same(c.get(k), 'in step')
    pairs = {key('L%d' % i): bytes([i]) * 200000 for i in range(30)}
    same(c.set_multi(pairs), [])
    same(c.get_multi(list(pairs)), pairs)
    same(c.delete_multi(list(pairs)), True)


@test
def expiry():
    soon, later, touched, never = key('soon'), key('later'), key('touched'), key('never')
    same(c.touch(key('none'), 100), False)
    c.set(soon, 'x', time=1)
    c.set(later, 'x', time=60)
    c.set(touched, 'x', time=60)
    same(c.touch(touched, 1), True)
    c.set(never, 'x', time=1)
    same(c.touch(never, 0), True)
    same(c.add(key('added'), 'x', time=1), True)
    c.set_multi({key('multi'): 'x'}, time=1)
    c.set(key('absolute'), 'x', time=int(time.time()) + 1000)
    same(c.get(key('absolute')), 'x')
    c.set(key('absolute'), 'x', time=int(time.time()) - 1000)
    same(c.get(key('absolute')), None)
    eventually(10, lambda: not any(c.get(k) for k in (soon, touched, key('added'), key('multi'))))
    same(c.get_multi([soon, later, touched, never]), {later: 'x', never: 'x'})
    same(c.add(soon, 'again'), True)


@test
def stats():
    (name, s), = c.get_stats()
    assert b'%d' % PORT in name, name
    assert int(s['pid']) > 0 and int(s['curr_connections']) >= 1, s
    (_, settings), = c.get_stats('settings')
    assert settings


@test
def pooled():
    pool = pylibmc.ClientPool(c, 3)
    for i in range(5):
        with pool.reserve() as mc:
            same(mc.set(key('pool'), i), True)
            same(mc.get(key('pool')), i)
    mapped = pylibmc.ThreadMappedPool(c)
    with mapped.reserve() as mc:
        same(mc.get(key('pool')), 4)
    clone = c.clone()
    same(clone.get(key('pool')), 4)


@test
def flush_all():
    c.set(key('f'), 'x')
    same(c.flush_all(), True)
    same(c.get(key('f')), None)
    same(c.flush_all(time=1000), True)
    same(c.flush_all(), True)  # takes the place of the one to come
    c.set(key('f'), 'x')
    same(c.get(key('f')), 'x')


@test
def disconnect():
    c.set(key('d'), 'x')
    c.disconnect_all()
    same(c.get(key('d')), 'x')


run()
