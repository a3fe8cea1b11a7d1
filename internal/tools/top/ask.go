package top

import (
	"context"
	"sync"
	"time"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/internal/secret"
	"github.com/kumofs/kumofs/internal/tools"
)

// answerLimit is how long a daemon may take: a dead one must not stop the table.
const answerLimit = 1500 * time.Millisecond

// asker asks managers, servers and gateways. Its methods may be called from anywhere, and block
// for answerLimit at most.
type asker struct {
	managers *tools.Client // nil: none is asked
	secret   *secret.Secret
	mu       sync.Mutex
	clients  map[string]*tools.Client // by kind and address
}

// newAsker asks the managers at addrs, if managed.
func newAsker(addrs []string, managed bool, sec *secret.Secret) *asker {
	a := &asker{secret: sec, clients: map[string]*tools.Client{}}
	if managed {
		a.managers = tools.NewClient("manager", addrs...).WithSecret(sec)
	}
	return a
}

// client keeps one connection to each.
func (a *asker) client(kind, addr string, sec *secret.Secret) *tools.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.clients[kind+addr]
	if c == nil {
		c = tools.NewClient(kind, addr).WithSecret(sec)
		a.clients[kind+addr] = c
	}
	return c
}

// status asks a manager.
func (a *asker) status(ctx context.Context) (*control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return a.managers.Status(ctx)
}

// server asks one server.
func (a *asker) server(ctx context.Context, addr string) answer {
	return stats(ctx, a.client("server", addr, a.secret))
}

// gateway asks one gateway. Its port for monitoring asks nobody for the cluster secret.
func (a *asker) gateway(ctx context.Context, addr string) answer {
	return stats(ctx, a.client("gateway", addr, nil))
}

func stats(ctx context.Context, c *tools.Client) answer {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	values, err := c.Stat(ctx, "stats", nil)
	return answer{at: time.Now(), values: values, err: err}
}

// hotKeys asks one server for n of each kind.
func (a *asker) hotKeys(ctx context.Context, addr string, n int) (*control.HotKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return a.client("server", addr, a.secret).HotKeys(ctx, n)
}

// look asks all at once, and puts what they answer on the board: for who does not
// watch. It blocks for twice answerLimit at most.
func (a *asker) look(ctx context.Context, b *board, gateways bool, hotKeys int) {
	if a.managers != nil {
		b.takeStatus(a.status(ctx))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // of the board
	ask := func(addrs []string, all map[string]*daemon, ask func(context.Context, string) answer) {
		for _, addr := range addrs {
			wg.Go(func() {
				got := ask(ctx, addr)
				mu.Lock()
				defer mu.Unlock()
				of(all, addr).take(got)
			})
		}
	}
	servers := b.serverAddrs()
	ask(servers, b.servers, a.server)
	if gateways {
		ask(b.gatewayAddrs(), b.gateways, a.gateway)
	}
	for _, addr := range servers {
		if hotKeys > 0 {
			wg.Go(func() {
				hot, err := a.hotKeys(ctx, addr, hotKeys)
				mu.Lock()
				defer mu.Unlock()
				b.takeHotKeys(addr, hot, err)
			})
		}
	}
	wg.Wait()
	b.beat()
}
