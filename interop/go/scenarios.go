package main

// Checks, how they are reported, and the scenarios that any protocol with these services must pass. Not here: scenarios
// of one protocol (tinyclient.go, netrpc.go).

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/rpc"
	"reflect"
	"sort"
	"strings"
)

// client is a *rpc.Client, whatever its wire.
type client interface {
	Call(method string, args, reply any) error
	Go(method string, args, reply any, done chan *rpc.Call) *rpc.Call
	Close() error
}

// peer is a server under test.
type peer interface {
	open() (client, error)
	isJSON() bool
	errorTexts() errorTexts
}

// errorTexts are one dialect's words for a name that cannot be called.
type errorTexts struct{ illFormed, noService, noMethod func(name string) string }

// runScenario runs one by its name, among those for all and those given.
func runScenario(p peer, name string, own map[string]func(*checks)) error {
	scenarios := map[string]func(*checks){
		"basic":      func(c *checks) { casesScenario(c, p, basicCases()) },
		"kinds":      func(c *checks) { casesScenario(c, p, kindCases()) },
		"interfaces": func(c *checks) { casesScenario(c, p, interfaceCases()) },
		"large":      func(c *checks) { casesScenario(c, p, largeCases()) },
		"errors":     func(c *checks) { errorsScenario(c, p) },
		"concurrent": func(c *checks) { concurrentScenario(c, p) },
	}
	for name, scenario := range own {
		scenarios[name] = scenario
	}
	scenario, ok := scenarios[name]
	if !ok {
		var names []string
		for name := range scenarios {
			names = append(names, name)
		}
		sort.Strings(names)
		return fmt.Errorf("%w: no scenario %q; there are %s", errUsage, name, strings.Join(names, ", "))
	}
	var c checks
	scenario(&c)
	if c.failed || c.passed == 0 {
		return errFailed
	}
	return nil
}

// checks prints what was checked and remembers whether any of it failed. It is for one goroutine.
type checks struct {
	passed int
	failed bool
}

func (c *checks) that(name string, ok bool, detail string) bool {
	emit(fields{"check": name, "ok": ok, "detail": detail})
	if ok {
		c.passed++
	} else {
		c.failed = true
	}
	return ok
}

func (c *checks) equal(name string, got, want any) bool {
	gotText, wantText := canonical(got), canonical(want)
	if gotText == wantText {
		return c.that(name, true, shortened(gotText))
	}
	return c.that(name, false, "got "+shortened(gotText)+", want "+shortened(wantText))
}

func (c *checks) noError(name string, err error) bool {
	if err == nil {
		return c.that(name, true, "")
	}
	return c.that(name, false, err.Error())
}

// noErrorQuietly prints failures alone: for what is checked before every other check.
func (c *checks) noErrorQuietly(name string, err error) bool {
	return err == nil || c.noError(name, err)
}

// fails checks that the server answered with an error, in exactly these words.
func (c *checks) fails(name string, err error, want string) bool {
	var fromServer rpc.ServerError
	if !errors.As(err, &fromServer) {
		return c.that(name, false, fmt.Sprintf("got %v, which is no error of the server's; want %q", err, want))
	}
	return c.equal(name, string(fromServer), want)
}

func shortened(text string) string {
	if len(text) <= 400 {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:400], ""), len(text))
}

// casesScenario makes the calls one after another on one connection.
func casesScenario(c *checks, p peer, cases []callCase) {
	opened, err := p.open()
	if !c.noError("connect", err) {
		return
	}
	defer opened.Close()
	for i, call := range cases {
		if call.gobOnly && p.isJSON() {
			continue
		}
		callAndCheck(c, opened, fmt.Sprintf("%d %s(%s)", i, call.method, shortened(canonical(call.args))), call)
	}
}

func largeCases() []callCase {
	const size = 4 << 20
	text := strings.Repeat("sixteen letters ", size/16)
	return []callCase{
		{method: "Echo.Echo", args: pattern(size), want: pattern(size)},
		{method: "Echo.String", args: text, want: text},
		{method: "Foo.Sum", args: Pair{1, 2}, want: 3},
	}
}

// callAndCheck makes one call and compares the reply.
func callAndCheck(c *checks, opened client, name string, call callCase) {
	reply := reflect.New(reflect.TypeOf(call.want))
	if err := opened.Call(call.method, call.args, reply.Interface()); err != nil {
		c.that(name, false, err.Error())
		return
	}
	c.equal(name, reply.Interface(), call.want)
}

// checkCall makes one call on a connection of its own.
func checkCall(c *checks, p peer, name string, call callCase) {
	opened, err := p.open()
	if !c.noErrorQuietly(name+": connect", err) {
		return
	}
	defer opened.Close()
	callAndCheck(c, opened, name, call)
}

// failingCall is a call that the server answers with an error: in the words of want, or, if undecodable, in words of its
// decoder, which no protocol fixes.
type failingCall struct {
	method      string
	args        any
	want        string
	undecodable bool
}

func failingCalls(p peer) []failingCall {
	texts := p.errorTexts()
	calls := []failingCall{
		{method: "Arith.Divide", args: Operands{A: 1}, want: "divide by zero"},
		{method: "Kinds.Fail", args: "100% of %d, {} and grüße\nline two", want: "100% of %d, {} and grüße\nline two"},
		{method: "Arith.Multiply", args: "no struct", want: decoderPrefix(p), undecodable: true},
		{method: "Arith.Multiply", args: []int{1, 2}, want: decoderPrefix(p), undecodable: true},
		{method: "Echo.String", args: 5, want: decoderPrefix(p), undecodable: true},
		{method: "Echo.Echo", args: Point{1, 2}, want: decoderPrefix(p), undecodable: true},
		{method: "Kinds.Map", args: map[string]string{"a": "b"}, want: decoderPrefix(p), undecodable: true},
		{method: "Kinds.Int8", args: 128, undecodable: true},
		{method: "Kinds.Int8", args: -129, undecodable: true},
		{method: "Kinds.Uint8", args: uint(256), undecodable: true},
	}
	for _, name := range []string{"", "Sum", "FooSum"} {
		calls = append(calls, failingCall{method: name, args: Pair{1, 2}, want: texts.illFormed(name)})
	}
	for _, name := range []string{"Nope.Sum", "foo.Sum", ".Sum", ".", "net.rpc.Nope.Sum", "Foo.Sum.Sum", "100%d.Sum"} {
		calls = append(calls, failingCall{method: name, args: Line{Label: "to skip"}, want: texts.noService(name)})
	}
	for _, name := range []string{"Foo.Nope", "Foo.", "Foo.sum", "Foo.Sum ", "Foo.ÄÖÜ"} {
		calls = append(calls, failingCall{method: name, args: Line{Label: "to skip"}, want: texts.noMethod(name)})
	}
	return calls
}

// errorsScenario: each failing call fails alone; the connection serves on.
func errorsScenario(c *checks, p peer) {
	opened, err := p.open()
	if !c.noError("connect", err) {
		return
	}
	defer opened.Close()
	for i, call := range failingCalls(p) {
		name := fmt.Sprintf("%d %q with %s", i, call.method, canonical(call.args))
		var nothing struct{}
		err := opened.Call(call.method, call.args, &nothing)
		if call.undecodable {
			c.failsToDecode(name, err, call.want)
		} else {
			c.fails(name, err, call.want)
		}
		callAndCheck(c, opened, name+": a good call after it", callCase{method: "Foo.Sum", args: Pair{i, 1}, want: i + 1})
	}
	if tiny, ok := opened.(*tinyClient); ok {
		c.equal("nothing stray from the server", tiny.faults(), []string{})
	}
}

// decoderPrefix is how Go's gob begins what it says of types that do not match.
func decoderPrefix(p peer) string {
	if p.isJSON() {
		return ""
	}
	return "gob: "
}

// failsToDecode checks that the server said why it could not decode the arguments.
func (c *checks) failsToDecode(name string, err error, prefix string) {
	var fromServer rpc.ServerError
	ok := errors.As(err, &fromServer) && fromServer != "" && strings.HasPrefix(string(fromServer), prefix)
	c.that(name, ok, fmt.Sprint(err))
}

// concurrentScenario: many goroutines on one connection, half with Call, half with several calls in flight each; every
// call has arguments of its own, so a reply that finds the wrong caller is seen.
func concurrentScenario(c *checks, p peer) {
	const goroutines, calls, window = 16, 200, 8
	opened, err := p.open()
	if !c.noError("connect", err) {
		return
	}
	defer opened.Close()

	var slow int
	slowCall := opened.Go("Foo.Sleep", Pair{Num1: 1, Num2: 41}, &slow, make(chan *rpc.Call, 1))
	results := make(chan error, goroutines)
	for g := 0; g < goroutines; g++ {
		go func(g int) {
			if g%2 == 0 {
				results <- callInTurn(opened, g, calls)
			} else {
				results <- callInFlight(opened, g, calls, window)
			}
		}(g)
	}
	for g := 0; g < goroutines; g++ {
		c.noError(fmt.Sprintf("%d calls of one of %d goroutines", calls, goroutines), <-results)
	}
	c.noError("a slow call beside them", (<-slowCall.Done).Error)
	c.equal("the slow call's reply", slow, 42)
}

// callInTurn waits for each reply before the next call.
func callInTurn(opened client, g, calls int) error {
	for i := 0; i < calls; i++ {
		args, got := fmt.Sprintf("goroutine %d, call %d", g, i), ""
		if err := opened.Call("Echo.String", args, &got); err != nil {
			return err
		}
		if got != args {
			return fmt.Errorf("%q came back as %q", args, got)
		}
	}
	return nil
}

// callInFlight keeps a window of calls in flight.
func callInFlight(opened client, g, calls, window int) error {
	done := make(chan *rpc.Call, window)
	check := func(call *rpc.Call) error {
		args, got := call.Args.(Pair), *call.Reply.(*int)
		if call.Error == nil && got != args.Num1+args.Num2 {
			return fmt.Errorf("%+v was added up to %d", args, got)
		}
		return call.Error
	}
	for i := 0; i < calls; i++ {
		if i >= window {
			if err := check(<-done); err != nil {
				return err
			}
		}
		opened.Go("Foo.Sum", Pair{Num1: g * 1_000_000, Num2: i}, new(int), done)
	}
	for i := 0; i < window; i++ {
		if err := check(<-done); err != nil {
			return err
		}
	}
	return nil
}

// httpScenario: what the path of a CONNECT says to other methods.
func httpScenario(c *checks, address, path string) {
	response, err := http.Get("http://" + address + path)
	if !c.noError("GET "+path, err) {
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	c.noError("the body", err)
	c.equal("status", response.StatusCode, http.StatusMethodNotAllowed)
	c.equal("content type", response.Header.Get("Content-Type"), "text/plain; charset=utf-8")
	c.equal("text", string(body), "405 must CONNECT\n")
}
