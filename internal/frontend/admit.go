package frontend

import (
	"bytes"

	"github.com/kumofs/kumofs/internal/item"
	"github.com/kumofs/kumofs/internal/memproto"
)

// maxStrangerBytes bounds a value of a client that has not authenticated.
const maxStrangerBytes = 4096

// admit takes a command of a client that has to authenticate first: in text by a
// set of any key to "user password", as in memcached's protocol; in the binary
// protocol by SASL PLAIN. A stranger may ask for the version and the mechanisms,
// in binary, and is told of everything else that it may not.
func (cl *client) admit(cmd *memproto.Command) {
	binary := cmd.Proto == memproto.Binary
	switch {
	case binary && cmd.Kind == memproto.KindVersion:
		cl.say(memproto.AppendVersion(nil, &cmd.Form, MemcachedVersion))
	case binary && cmd.Kind == memproto.KindAuthList:
		cl.say(memproto.AppendMechanisms(nil, &cmd.Form))
	case binary && cmd.Kind == memproto.KindAuth:
		user, password, ok := plain(cmd.Request.Key, cmd.Request.Value)
		cl.authenticate(cmd, ok, user, password)
	case cmd.Kind == memproto.KindQuit:
		cl.say(memproto.AppendQuit(nil, &cmd.Form))
		cl.closing = true
	case binary:
		cl.say(memproto.Say(nil, &cmd.Form, memproto.ReplyUnauthenticated))
		cl.closing = true
	case cmd.Proto == memproto.Text && cmd.Kind == memproto.KindRequest && cmd.Request.Op == item.OpSet:
		words := bytes.Fields(cmd.Request.Value)
		if len(words) < 2 {
			cl.say([]byte(memproto.ReplyAuthFormat))
			return
		}
		cl.authenticate(cmd, true, words[0], words[1])
	default:
		cl.say([]byte(memproto.ReplyUnauthenticated))
	}
}

// authenticate answers who says that it is user. ok is false if it said so wrongly.
func (cl *client) authenticate(cmd *memproto.Command, ok bool, user, password []byte) {
	f := cl.f
	f.counters.AuthCmds++
	if !ok || !f.opt.Auth(user, password) {
		f.counters.AuthErrors++
		f.log.Debug("client is not let in", "addr", cl.conn.RemoteAddr())
		cl.say(memproto.Say(nil, &cmd.Form, memproto.ReplyAuthFailure))
		return
	}
	cl.stranger = false
	cl.parser.MaxItemSize = f.opt.MaxItemSize
	cl.say(memproto.AppendAuthenticated(nil, &cmd.Form))
}

// plain takes user and password from a message of SASL PLAIN (RFC 4616): the
// identity to act as, which is not used, then both, with a NUL before each.
func plain(mechanism, message []byte) (user, password []byte, ok bool) {
	_, rest, ok1 := bytes.Cut(message, []byte{0})
	user, password, ok2 := bytes.Cut(rest, []byte{0})
	return user, password, ok1 && ok2 && string(mechanism) == memproto.Mechanism
}
