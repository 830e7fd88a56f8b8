package main

// A client of TinyRPC's protocol, and the scenarios that need its bytes: handshake, timeout, half-close, pipelining.
// Not here: scenarios for any protocol (scenarios.go).

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"reflect"
	"strings"
	"sync"
	"time"
)

func tinyClientCommand(args []string) error {
	target, args, err := splitTarget(args)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("tiny-client", flag.ContinueOnError)
	overHTTP := flags.Bool("http", false, "connect by CONNECT "+tinyPath+", or "+geePath)
	gee := flags.Bool("gee", false, "speak geerpc, which waits for no acknowledgement")
	unix := flags.Bool("unix", false, "the address is a socket's path")
	byteByByte := flags.Bool("byte-by-byte", false, "write each byte by itself")
	useJSON := flags.Bool("json", false, "use codec "+tinyJSON)
	within := flags.Duration("within", time.Minute, "the longest this may take")
	var scenario string
	if err := parse(flags, args, &scenario); err != nil {
		return err
	}

	peer := tinyPeer{endpoint: endpoint{network: "tcp", address: target, byteByByte: *byteByByte}, codecType: tinyGob, gee: *gee}
	switch {
	case *overHTTP && *gee:
		peer.connectPath, peer.connected = geePath, geeConnected
	case *overHTTP:
		peer.connectPath, peer.connected = tinyPath, tinyConnected
	}
	if *unix {
		peer.network = "unix"
	}
	if *useJSON {
		peer.codecType = tinyJSON
	}
	limitRun(*within)
	return runScenario(peer, scenario, map[string]func(*checks){
		"handshake": peer.handshakeScenario,
		"timeout":   peer.timeoutScenario,
		"halfclose": peer.halfCloseScenario,
		"pipelined": peer.pipelinedScenario,
		"http":      func(c *checks) { httpScenario(c, target, tinyPath) },
	})
}

// tinyPeer is a server of TinyRPC's protocol, and how to talk to it.
type tinyPeer struct {
	endpoint
	codecType string
	gee       bool
}

func (p tinyPeer) wish(handleTimeout time.Duration) option {
	return option{
		MagicNumber:    tinyMagic,
		CodecType:      p.codecType,
		ConnectTimeout: handshakeWithin,
		HandleTimeout:  handleTimeout,
	}
}

func (p tinyPeer) isJSON() bool { return p.codecType == tinyJSON }

func (p tinyPeer) errorTexts() errorTexts {
	method := func(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
	service := func(name string) string { return name[:strings.LastIndexByte(name, '.')] }
	return errorTexts{
		illFormed: func(name string) string { return "rpc server: service/method request ill-formed: " + name },
		noService: func(name string) string { return "rpc server: can't find service " + service(name) },
		noMethod:  func(name string) string { return "rpc server: can't find method " + method(name) },
	}
}

func (p tinyPeer) open() (client, error) {
	opened, err := p.openWith(0)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (p tinyPeer) openWith(handleTimeout time.Duration) (*tinyClient, error) {
	conn, opened, err := p.openRaw(p.wish(handleTimeout), nil)
	if err != nil {
		return nil, err
	}
	adapter := &tinyAdapter{codec: opened, conn: conn, waiting: make(map[uint64]bool)}
	return &tinyClient{rpc.NewClientWithCodec(adapter), adapter}, nil
}

// openRaw connects and shakes hands. Requests go to redirect, if it is not nil, instead of the connection.
func (p tinyPeer) openRaw(wish option, redirect io.Writer) (net.Conn, codec, error) {
	conn, err := p.dial()
	if err != nil {
		return nil, nil, err
	}
	rest, err := p.shakeHands(conn, wish)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	if redirect == nil {
		redirect = conn
	}
	return conn, newCodec(p.codecType, rest, redirect), nil
}

// shakeHands answers what the replies are to be read from. geerpc waits for nothing, so its first request may even
// arrive with the Option.
func (p tinyPeer) shakeHands(conn net.Conn, wish option) (io.Reader, error) {
	if p.gee {
		return conn, json.NewEncoder(conn).Encode(wish)
	}
	echo, rest, err := offer(conn, wish)
	if err == nil && echo != wish {
		err = fmt.Errorf("the option %+v was echoed as %+v", wish, echo)
	}
	return rest, err
}

// tinyClient is net/rpc's client on TinyRPC's wire.
type tinyClient struct {
	*rpc.Client
	adapter *tinyAdapter
}

// faults answers what the server did wrong that no single call shows.
func (c *tinyClient) faults() []string {
	c.adapter.Lock()
	defer c.adapter.Unlock()
	return c.adapter.faults
}

// tinyAdapter is a rpc.ClientCodec. net/rpc counts its calls from 0, TinyRPC from 1.
type tinyAdapter struct {
	codec codec
	conn  net.Conn

	sync.Mutex // Of what follows: net/rpc reads and writes at the same time.
	waiting    map[uint64]bool
	faults     []string

	failed bool // Did the header just read carry an error? Of the reading side alone.
}

func (a *tinyAdapter) WriteRequest(request *rpc.Request, body any) error {
	seq := request.Seq + 1
	a.Lock()
	a.waiting[seq] = true
	a.Unlock()
	return a.codec.write(header{ServiceMethod: request.ServiceMethod, Seq: seq}, body)
}

func (a *tinyAdapter) ReadResponseHeader(response *rpc.Response) error {
	var reply header
	if err := a.codec.readHeader(&reply); err != nil {
		return err
	}
	a.Lock()
	defer a.Unlock()
	if !a.waiting[reply.Seq] {
		a.faults = append(a.faults, fmt.Sprintf("a reply to call %d, which does not wait", reply.Seq))
	}
	delete(a.waiting, reply.Seq)
	a.failed = reply.Error != ""
	response.ServiceMethod, response.Seq, response.Error = reply.ServiceMethod, reply.Seq-1, reply.Error
	return nil
}

func (a *tinyAdapter) ReadResponseBody(body any) error {
	if !a.failed {
		return a.codec.readBody(body)
	}
	// Gob reads any struct into one without fields, and nothing else.
	var empty struct{}
	if err := a.codec.readBody(&empty); err != nil {
		a.Lock()
		defer a.Unlock()
		a.faults = append(a.faults, "an error reply's body is no empty struct: "+err.Error())
	}
	return nil
}

func (a *tinyAdapter) Close() error { return a.conn.Close() }

// handshakeScenario: what opens a connection, and what must not.
func (p tinyPeer) handshakeScenario(c *checks) {
	ask := func(text string) (string, error) {
		conn, err := p.dial()
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(handshakeWithin)); err != nil {
			return "", err
		}
		// A server may refuse before it has heard us out; what it answered tells.
		_, _ = io.WriteString(conn, text)
		_ = closeWrite(conn)
		answer, err := io.ReadAll(conn)
		var reset *net.OpError
		if errors.As(err, &reset) && !reset.Timeout() {
			err = nil // A server that closes with bytes unread resets the connection: refused all the same.
		}
		return string(answer), err
	}
	for _, handshake := range []struct{ name, text, want string }{
		{
			"an option is echoed verbatim, with a line feed",
			`{"MagicNumber":3927900,"CodecType":"` + p.codecType + `","ConnectTimeout":10000000000,"HandleTimeout":1500000000}` + "\n",
			`{"MagicNumber":3927900,"CodecType":"` + p.codecType + `","ConnectTimeout":10000000000,"HandleTimeout":1500000000}` + "\n",
		},
		{
			"absent fields are echoed as zero",
			`{"MagicNumber":3927900,"CodecType":"` + p.codecType + `"}`,
			`{"MagicNumber":3927900,"CodecType":"` + p.codecType + `","ConnectTimeout":0,"HandleTimeout":0}` + "\n",
		},
		{
			"unknown fields are ignored, in any order",
			` { "Later": {"v": [1, {}]}, "CodecType":"` + p.codecType + `", "MagicNumber":3927900 }`,
			`{"MagicNumber":3927900,"CodecType":"` + p.codecType + `","ConnectTimeout":0,"HandleTimeout":0}` + "\n",
		},
		{"another magic number is refused in silence", `{"MagicNumber":3927901,"CodecType":"` + p.codecType + `"}` + "\n", ""},
		{"an unknown codec is refused in silence", `{"MagicNumber":3927900,"CodecType":"application/none"}` + "\n", ""},
	} {
		answer, err := ask(handshake.text)
		c.noError(handshake.name+": no failure", err)
		c.equal(handshake.name, answer, handshake.want)
	}
	checkCall(c, p, "a refused client harms nobody", callCase{method: "Foo.Sum", args: Pair{1, 2}, want: 3})
}

// timeoutScenario: the server ends calls that take longer than the client allows, and only those, and only once.
func (p tinyPeer) timeoutScenario(c *checks) {
	const limit = 600 * time.Millisecond
	opened, err := p.openWith(limit)
	if !c.noError("connect", err) {
		return
	}
	defer opened.Close()
	// The two take longer than the first one's handler, so a second answer from it would be seen.
	for i := 0; i < 2; i++ {
		var sum int
		err := opened.Call("Foo.Sleep", Pair{Num1: 1, Num2: i}, &sum)
		c.fails(fmt.Sprintf("slow call %d", i), err, "rpc server: request handle timeout: expect within 600ms")
	}
	callAndCheck(c, opened, "a fast call after them", callCase{method: "Foo.Sum", args: Pair{1, 2}, want: 3})
	c.equal("nothing stray from the server", opened.faults(), []string{})

	patient, err := p.openWith(30 * time.Second)
	if !c.noError("connect with a long limit", err) {
		return
	}
	defer patient.Close()
	callAndCheck(c, patient, "a call within its limit", callCase{method: "Foo.Sleep", args: Pair{1, 1}, want: 2})
}

// halfCloseScenario: a client that has said all it wants still gets its answers, and then the end.
func (p tinyPeer) halfCloseScenario(c *checks) {
	conn, opened, err := p.openRaw(p.wish(0), nil)
	if !c.noError("connect", err) {
		return
	}
	defer conn.Close()
	calls := []callCase{
		{method: "Foo.Sleep", args: Pair{1, 41}, want: 42},
		{method: "Foo.Sum", args: Pair{1, 2}, want: 3},
		{method: "Echo.String", args: "last words", want: "last words"},
	}
	for i, call := range calls {
		c.noError("send "+call.method, opened.write(header{ServiceMethod: call.method, Seq: uint64(i + 1)}, call.args))
	}
	c.noError("half-close", closeWrite(conn))
	readReplies(c, opened, calls)
	var extra header
	c.equal("then the connection ends", fmt.Sprint(opened.readHeader(&extra)), io.EOF.Error())
}

// pipelinedScenario: many requests in one write; answers in any order, each with its own number.
func (p tinyPeer) pipelinedScenario(c *checks) {
	var requests strings.Builder
	conn, opened, err := p.openRaw(p.wish(0), &requests)
	if !c.noError("connect", err) {
		return
	}
	defer conn.Close()
	calls := []callCase{{method: "Foo.Sleep", args: Pair{1, 1000}, want: 1001}}
	for i := 0; i < 100; i++ {
		calls = append(calls,
			callCase{method: "Foo.Sum", args: Pair{i, 1}, want: i + 1},
			callCase{method: "Echo.String", args: fmt.Sprint("text ", i), want: fmt.Sprint("text ", i)},
		)
	}
	// A call that fails in the middle must not take its neighbours along.
	calls[50] = callCase{method: "Foo.Nope", args: Line{Label: "skipped"}, want: errors.New(p.errorTexts().noMethod("Foo.Nope"))}
	calls[150] = callCase{method: "Arith.Divide", args: Operands{A: 1}, want: errors.New("divide by zero")}
	for i, call := range calls {
		if err := opened.write(header{ServiceMethod: call.method, Seq: uint64(i + 1)}, call.args); err != nil {
			c.noError("encode "+call.method, err)
			return
		}
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, requests.String())
		sent <- err
	}()
	order := readReplies(c, opened, calls)
	c.noError("send them all", <-sent)
	c.that("a slow call holds up none behind it", len(order) > 0 && order[len(order)-1] == 1, fmt.Sprint("finished in order ", order))
}

// readReplies reads as many replies as there were calls, numbered from 1, in any order; it answers that order.
// A call's want may be an error.
func readReplies(c *checks, opened codec, calls []callCase) (order []uint64) {
	seen := make(map[uint64]bool)
	for range calls {
		var reply header
		if !c.noErrorQuietly("read a header", opened.readHeader(&reply)) {
			return order
		}
		if reply.Seq == 0 || reply.Seq > uint64(len(calls)) || seen[reply.Seq] {
			c.that("each call is answered once", false, fmt.Sprintf("a reply to call %d of %d", reply.Seq, len(calls)))
			return order
		}
		seen[reply.Seq] = true
		order = append(order, reply.Seq)
		call := calls[reply.Seq-1]
		name := fmt.Sprintf("call %d, %s", reply.Seq, call.method)
		c.equal(name+": method echoed", reply.ServiceMethod, call.method)
		if failure, ok := call.want.(error); ok {
			c.equal(name, reply.Error, failure.Error())
			c.noError(name+": the error's body is an empty struct", opened.readBody(new(struct{})))
			continue
		}
		c.equal(name+": no error", reply.Error, "")
		body := reflect.New(reflect.TypeOf(call.want))
		c.noError(name+": body", opened.readBody(body.Interface()))
		c.equal(name, body.Interface(), call.want)
	}
	return order
}
