package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/kumofs/kumofs/internal/control"
	"github.com/kumofs/kumofs/test/e2e/harness"
	"github.com/kumofs/kumofs/test/e2e/load"
)

var shots = flag.String("e2e.shots", "", "save pictures of the console's views in this directory")

// browser is one tab of a headless Chromium.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	bad      []string // what the page's own console complained of
	requests []string
}

// newBrowser starts Chromium; a test is skipped where that cannot be done.
func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("not run: chromium is not installed (scripts/deps installs it)")
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	actx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(actx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Log("closing chromium: ", err)
		}
		end()
	})
	b := &browser{t: t, ctx: ctx, base: base}
	// Without a limit: the browser lives as long as the context of the first call.
	if err := chromedp.Do(ctx); err != nil {
		t.Skip("not run: chromium does not run here: ", err)
	}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	do(b, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{})
		_, err2 := cdp.Call(ctx, t, log.Enable, cdp.Empty{})
		_, err3 := cdp.Call(ctx, t, runtime.Enable, cdp.Empty{})
		return chromedp.Void{}, errors.Join(err, err2, err3)
	})
	return b
}

func (b *browser) heard(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.bad = append(b.bad, "exception: "+e.ExceptionDetails.Text+" "+description(e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.bad = append(b.bad, fmt.Sprintf("console.%s", e.Type))
		}
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "status of 503") { // a busy manager: the page says so, and asks again
			break
		}
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.bad = append(b.bad, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

func description(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

// complaints are what the page's console complained of since the last call.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	bad := b.bad
	b.bad = nil
	return bad
}

// do carries out an action that must succeed.
func do[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// text is what an expression comes to.
func (b *browser) text(js string) string {
	b.t.Helper()
	return do(b, chromedp.Evaluate[string]("String("+js+")"))
}

// until waits for an expression to be true.
func (b *browser) until(what, js string) {
	b.t.Helper()
	_, err := harness.Poll(30*time.Second*harness.Patience, func() error {
		if b.text("!!("+js+")") != "true" {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		b.t.Fatalf("%s: %v; the page shows:\n%s\n%v", what, err, b.text("document.body.innerText"), b.complaints())
	}
}

// view goes to one of the views, and waits until it is there.
func (b *browser) view(name string) {
	b.t.Helper()
	b.text(fmt.Sprintf("location.hash = %q", name))
	b.until(name+" is shown", fmt.Sprintf(`document.querySelector('nav a[aria-current="page"]')?.dataset.view === %q && document.querySelector("main h1, main h2")`, strings.Split(name, "/")[0]))
}

// fresh waits until the page has asked the manager again, twice.
func (b *browser) fresh() {
	b.t.Helper()
	n := b.text("Number(document.body.dataset.polls || 0)") // none right after the page was loaded
	b.until("the page asks again", fmt.Sprintf("Number(document.body.dataset.polls) >= %s + 2", n))
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	do(b, chromedp.EmulateViewport(width, height))
}

// dark has the system prefer dark colours, or light ones.
func (b *browser) dark(on bool) {
	b.t.Helper()
	value := "light"
	if on {
		value = "dark"
	}
	do(b, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
		return chromedp.Void{}, err
	})
}

// shot saves a picture of what is seen, where -e2e.shots asks for it.
func (b *browser) shot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	img, err := png.Decode(bytes.NewReader(do(b, chromedp.CaptureScreenshot())))
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	img = fewColours(img)
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, img); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), out.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// fewColours is img in the 256 colours that most of it has: a fourth of the size, and looks the same.
func fewColours(img image.Image) image.Image {
	count := map[color.RGBA]int{}
	r := img.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	p := color.Palette{}
	for _, c := range most[:min(len(most), 256)] {
		p = append(p, c)
	}
	nearest := map[color.RGBA]uint8{}
	for c := range count {
		nearest[c] = uint8(p.Index(c))
	}
	out := image.NewPaletted(r, p)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	return out
}

const brightness = `(() => { const c = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number); return c[0] + c[1] + c[2]; })()`

// TestConsole drives the manager's page as a person does, in Chromium: each view, light
// and dark, on a phone, a server that dies, a command, a manager that goes away.
func TestConsole(t *testing.T) {
	t.Parallel()
	opt := options(4)
	if *shots != "" {
		opt.ServerArgs = []string{"--replace-rate", "250K"}
	}
	c := harness.New(t, opt)
	open := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	c.Manager.Args("--http", open, "--console-commands")
	base := "http://" + open + "/"
	b := newBrowser(t, base)
	c.StartAll()
	c.WaitNotAttached(4)

	// Before there is a cluster.
	b.size(1320, 900)
	b.dark(false)
	do(b, chromedp.Navigate(base))
	b.until("nothing is attached yet", `document.querySelector("h1")?.textContent === "No server is attached yet"`)
	c.Ctl("attach", "--wait")
	c.WaitReady(30 * time.Second)
	for i := range 4 {
		busy(t, c.Gateway.Addr, i)
	}

	b.until("all is well", `document.querySelector("h1")?.textContent === "All is well"`)
	b.until("operations are counted", `/[1-9].*\/s/.test(document.querySelector(".tile .value").textContent)`)
	b.until("the chart has lines", `document.querySelectorAll(".chart path.line")[0]?.getAttribute("d").length > 20`)
	if got := b.text(`document.querySelector(".health .said p").textContent`); got != "Every key survives 2 more crashes of servers." {
		t.Errorf("the overview says %q", got)
	}
	if *shots != "" {
		time.Sleep(70 * time.Second) // charts with something in them
	}
	b.shot("overview")

	b.consoleServers(c)
	b.consolePartitions(c)
	b.view("moves")
	b.until("nothing moves", `document.querySelector("h1").textContent === "Nothing is being moved"`)
	b.view("events")
	b.until("events are listed", `document.querySelector(".events").textContent.includes("this manager leads")`)
	b.text(`(() => { const s = document.querySelector("main select"); s.value = "ERROR"; s.dispatchEvent(new Event("change")); })()`)
	b.until("errors alone", `![...document.querySelectorAll(".events .pill")].some((p) => p.textContent === "info")`)
	b.text(`(() => { const s = document.querySelector("main select"); s.value = ""; s.dispatchEvent(new Event("change")); })()`)
	b.shot("events")
	if iso := b.text(`document.querySelector(".events time").title`); !strings.HasSuffix(iso, " UTC") {
		t.Errorf("on hover a time is %q", iso)
	}
	b.consoleColours()
	b.consolePhone()
	if bad := b.complaints(); len(bad) > 0 {
		t.Errorf("the page's console: %q", bad)
	}
	if *shots != "" {
		b.moveShot(c)
	}
	b.consoleFault(c)
	b.consoleAway(c, open)
	for _, r := range b.requests {
		if !strings.HasPrefix(r, base) {
			t.Errorf("the page asked for %s", r)
		}
	}
}

// pictured is few, or many where pictures are taken.
func pictured[T any](few, many T) T {
	if *shots != "" {
		return many
	}
	return few
}

// busy is a client that asks for this and that until the test ends, whatever it is answered.
func busy(t *testing.T, addr string, n int) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	value := strings.Repeat("v", pictured(100, 1000))
	wg.Go(func() {
		var c *load.Conn
		defer func() {
			if c != nil {
				c.Close()
			}
		}()
		tick := time.NewTicker(pictured(20*time.Millisecond, 4*time.Millisecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if c == nil {
				var err error
				if c, err = load.Dial(addr, 5*time.Second); err != nil {
					c = nil
					continue
				}
			}
			op := load.Op{Kind: load.Get, Key: fmt.Sprintf("key-%d-%d", n, i*7919%5000)}
			switch i % 7 {
			case 0, 3:
				op.Kind, op.Value = load.Set, value
			case 6:
				op.Kind = load.Delete
			}
			if _, err := c.Do(&op); err != nil {
				c.Close()
				c = nil
			}
		}
	})
}

func (b *browser) consoleServers(c *harness.Cluster) {
	b.view("servers")
	b.fresh()
	b.shot("servers")
	rows := func() []string {
		return strings.Split(b.text(`[...document.querySelectorAll("main section:first-child tbody tr td.lead")].map((e) => e.textContent).join()`), ",")
	}
	up := rows()
	if len(up) != 4 {
		b.t.Fatalf("servers: %q", up)
	}
	b.text(`document.querySelector("th button").click()`)
	if down := rows(); down[0] != up[3] || down[3] != up[0] {
		b.t.Errorf("sorted the other way: %q after %q", down, up)
	}
	b.text(`document.querySelector("th button").click()`)
	if got := b.text(`document.querySelector("main tbody tr").textContent`); !strings.Contains(got, "active") || !strings.Contains(got, "free") {
		b.t.Errorf("a server's row is %q", got)
	}
	b.text(`document.querySelector("main tbody a").click()`)
	b.until("a server's own page", fmt.Sprintf(`document.querySelector("h1")?.textContent === %q && document.querySelectorAll(".chart path.line").length >= 3`, up[0]))
	b.fresh()
	b.shot("server")
}

func (b *browser) consolePartitions(c *harness.Cluster) {
	b.view("partitions")
	b.until("the grid is drawn", `(() => { const c = document.querySelector("canvas"); return c.width > 100 && c.getContext("2d").getImageData(2, 2, 1, 1).data[3] === 255; })()`)
	b.text(`(() => { const c = document.querySelector("canvas"), r = c.getBoundingClientRect(); c.dispatchEvent(new MouseEvent("click", { clientX: r.left + 2, clientY: r.top + 2, bubbles: true })); })()`)
	m := c.Map()
	b.until("the first partition", fmt.Sprintf(`document.querySelector(".members li")?.textContent.startsWith(%q)`, m.Server(m.Partitions[0].Primary()).Addr+"primary"))
	b.text(`document.querySelector("canvas").focus()`)
	do(b, chromedp.KeyEvent(kb.ArrowRight))
	b.until("the next partition", `document.querySelectorAll("h2")[0].textContent === "Partition 1"`)
	b.text(`(() => { document.querySelector('form input').value = "the-key"; document.querySelector("form").requestSubmit(); })()`)
	b.until("where a key lives", fmt.Sprintf(`document.querySelectorAll("h2")[0].textContent === "Partition %d"`, m.PartitionOf([]byte("the-key"))))
	b.text(`document.querySelector('button[data-by="primary"]').click()`)
	b.until("a legend of servers", `document.querySelectorAll(".legend button").length === 4`)
	b.shot("partitions")
	b.text(`document.querySelector('button[data-by="health"]').click()`)
}

func (b *browser) consoleColours() {
	b.dark(true)
	b.view("overview")
	b.until("dark", brightness+" < 150")
	b.fresh()
	b.shot("overview-dark")
	b.text(`(() => { const t = document.getElementById("theme"); while (t.dataset.at !== "light") t.click(); })()`)
	b.until("light although the system is dark", brightness+" > 600")
	do(b, chromedp.Navigate(b.base)) // it is remembered
	b.until("light still", brightness+" > 600 && document.getElementById('theme').dataset.at === 'light'")
	b.text(`(() => { const t = document.getElementById("theme"); while (t.dataset.at !== "auto") t.click(); })()`)
	b.until("dark again", brightness+" < 150")
	b.dark(false)
}

func (b *browser) consolePhone() {
	b.size(390, 844)
	id := ""
	for _, v := range []string{"servers", "partitions", "moves", "events", "overview", "server"} {
		if v == "server" {
			v = "servers/" + id
		}
		b.view(v)
		b.fresh()
		if v == "servers" {
			id = b.text(`document.querySelector("main tbody tr").dataset.id`)
		}
		if wide := b.text("document.documentElement.scrollWidth"); wide != "390" {
			b.t.Errorf("%s is %s pixels wide on a phone; what sticks out: %s", v, wide, b.text(`[...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > 391).slice(0, 5).map((e) => e.outerHTML.slice(0, 120)).join("\n")`))
		}
		b.shot("phone-" + strings.Split(v, "/")[0] + map[bool]string{true: "-one"}[strings.Contains(v, "/")])
	}
	b.size(1320, 900)
}

// moveShot has a fifth server filled, for a picture.
func (b *browser) moveShot(c *harness.Cluster) {
	s := c.AddServer()
	s.Start()
	c.WaitNotAttached(1)
	c.Ctl("attach")
	b.view("moves")
	b.until("moves", `/to be made/.test(document.querySelector("h1").textContent) && document.querySelectorAll("main tbody tr").length > 6`)
	time.Sleep(20 * time.Second)
	b.shot("moves")
	harness.Until(b.t, 5*time.Minute, "moved", func() error {
		if st := c.Status(); st.Moving > 0 {
			return fmt.Errorf("%d to be made", st.Moving)
		}
		return nil
	})
}

// consoleFault kills a server, which the page shows, and has the page attach it again.
func (b *browser) consoleFault(c *harness.Cluster) {
	b.view("overview")
	s := c.Servers[1]
	s.Kill9()
	b.until("the fault is said", fmt.Sprintf(`document.querySelector(".health.error .problems")?.textContent.includes("Server %s is at fault")`, s.Addr))
	b.until("the fault is counted", `document.querySelector('nav a[data-view="servers"] .badge')?.textContent === "1"`)
	if got := b.text(`document.querySelector(".health .said p").textContent`); got != "Every key survives 1 more crash of servers." {
		b.t.Errorf("the overview says %q", got)
	}
	b.shot("fault")
	b.view("servers")
	b.until("the row says fault", fmt.Sprintf(`[...document.querySelectorAll("main tbody tr")].some((r) => r.textContent.includes(%q) && r.querySelector(".pill.error")?.textContent === "fault")`, s.Addr))
	if bad := b.complaints(); len(bad) > 0 {
		b.t.Errorf("the page's console: %q", bad)
	}

	s.Start()
	c.WaitNotAttached(1)
	b.view("overview")
	b.until("the buttons are there", `document.querySelectorAll("button[data-command]").length >= 3`)
	b.text(`document.querySelector('button[data-command="attach"]').click()`)
	b.until("the plan is shown", fmt.Sprintf(`document.getElementById("dialog").open && document.getElementById("dialog").textContent.includes(%q) && !document.querySelector("#dialog .primary").disabled`, s.Addr))
	b.shot("attach")
	b.text(`document.querySelector("#dialog .primary").click()`)
	b.until("it is done", fmt.Sprintf(`document.getElementById("dialog").textContent.includes("attached %s again")`, s.Addr))
	b.text(`document.querySelector("#dialog .button").click()`)
	c.WaitReady(60 * time.Second)
	b.until("no fault any more", `document.querySelector(".health") && !document.querySelector(".health.error")`)

	// What is not the page is kept out.
	for _, p := range []string{"/console/command", control.PathCommand} {
		req, err := http.NewRequest(http.MethodPost, "http://"+c.Manager.Addr+p, strings.NewReader(`{"command":"replace"}`))
		if err != nil {
			b.t.Fatal(err)
		}
		req.Header.Set("Origin", "http://elsewhere.example")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			b.t.Errorf("%s from another site: %s", p, resp.Status)
		}
	}
}

// consoleAway takes the manager away and back. The open port serves nothing else.
func (b *browser) consoleAway(c *harness.Cluster, open string) {
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/console/": 200, "/v1/status": 404, "/v1/map": 404} {
		resp, err := http.Get("http://" + open + path)
		if err != nil {
			b.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			b.t.Errorf("%s on the open port: %s", path, resp.Status)
		}
	}
	c.Manager.Kill9()
	b.until("the page says that the manager is away", `document.body.dataset.link === "lost" && !document.getElementById("banner").hidden && /No news since/.test(document.getElementById("banner").textContent)`)
	c.Manager.Start()
	b.until("it goes on by itself", `document.body.dataset.link === "ok" && document.getElementById("banner").hidden`)
	for _, bad := range b.complaints() {
		if !strings.Contains(bad, "Failed to load resource") { // what a browser says of a port that is closed
			b.t.Errorf("the page's console: %s", bad)
		}
	}
}
