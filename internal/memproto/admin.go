package memproto

import "github.com/kumofs/kumofs/internal/item"

// parseAdmin parses the commands that are not about keys, and what is none.
func (p *Parser) parseAdmin(word, args []byte, cmd *Command) {
	switch string(word) {
	case "version":
		cmd.Kind = KindVersion
	case "quit":
		cmd.Kind = KindQuit
	case "stats":
		cmd.Kind = KindStats
		parseArguments(args, cmd)
	case "shutdown":
		cmd.Kind = KindShutdown
		parseArguments(args, cmd)
	case "flush_all":
		parseFlushAll(args, cmd)
	case "verbosity":
		parseVerbosity(args, cmd)
	case "cache_memlimit":
		parseMemlimit(args, cmd)
	case "watch": // as memcached started with -W
		cmd.fail(ReplyWatchNotAllowed)
	default:
		if isHTTP(args) {
			p.err = ErrHTTP
			return
		}
		cmd.fail(ReplyError)
	}
}

func parseArguments(args []byte, cmd *Command) {
	for {
		var word []byte
		if word, args = nextToken(args); len(word) == 0 {
			return
		}
		cmd.Keys = append(cmd.Keys, word)
	}
}

// parseFlushAll is flush_all: [delay] [noreply]. A negative delay is none.
func parseFlushAll(args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n > 2 {
		cmd.fail(ReplyError)
		return
	}
	cmd.Quiet = t.noReply()
	delay := int64(0)
	if t.n == 2 || t.n == 1 && !cmd.Quiet {
		var ok bool
		if delay, ok = parseInt(t.word[0]); !ok {
			cmd.fail(ReplyBadExptime)
			return
		}
	}
	cmd.Kind = KindFlushAll
	cmd.Request.Op = item.OpFlush
	cmd.Request.Exptime = max(delay, 0)
}

// parseVerbosity is verbosity: <level> [noreply].
func parseVerbosity(args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n != 1 && t.n != 2 {
		cmd.fail(ReplyError)
		return
	}
	cmd.Quiet = t.noReply()
	level, ok := parseUint(t.word[0])
	if !ok {
		cmd.fail(ReplyBadFormat)
		return
	}
	cmd.Kind = KindVerbosity
	cmd.Request.Delta = level
}

// parseMemlimit is cache_memlimit: <MiB> [noreply], within memcached's bounds.
func parseMemlimit(args []byte, cmd *Command) {
	var t tokens
	t.tokenize(args)
	if t.n != 1 && t.n != 2 {
		cmd.fail(ReplyError)
		return
	}
	cmd.Quiet = t.noReply()
	mib, ok := parseUint(t.word[0])
	switch {
	case !ok:
		cmd.fail(ReplyError)
	case mib < 8:
		cmd.fail(ReplyMemlimitTooSmall)
	case mib > 1000000000:
		cmd.fail(ReplyMemlimitNotBytes)
	default:
		cmd.Kind = KindCacheMemlimit
		cmd.Request.Delta = mib
	}
}
