package main

// Go's own net/rpc: servers and clients of its gob, HTTP and JSON forms, and the scenarios of its client alone.

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"strings"
	"time"
)

// goConnected answers CONNECT on rpc.DefaultRPCPath.
const goConnected = "200 Connected to Go RPC"

func netrpcServerCommand(args []string) error {
	flags := flag.NewFlagSet("netrpc-server", flag.ContinueOnError)
	network := flags.String("net", "tcp", "tcp or unix")
	address := flags.String("addr", "", "where to listen")
	overHTTP := flags.Bool("http", false, "serve CONNECT "+rpc.DefaultRPCPath)
	useJSON := flags.Bool("json", false, "serve JSON-RPC 1.0")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *overHTTP && *useJSON {
		return fmt.Errorf("%w: net/rpc has no JSON over HTTP", errUsage)
	}
	server := rpc.NewServer()
	for _, service := range everyService() {
		if err := server.Register(service); err != nil {
			return err
		}
	}
	listener, err := listen(*network, *address)
	if err != nil {
		return err
	}
	return serve(listener, nil, func(listener net.Listener) {
		switch {
		case *overHTTP:
			server.HandleHTTP(rpc.DefaultRPCPath, rpc.DefaultDebugPath)
			_ = http.Serve(listener, nil)
		case *useJSON:
			acceptAll(listener, func(conn net.Conn) { server.ServeCodec(jsonrpc.NewServerCodec(conn)) })
		default:
			acceptAll(listener, func(conn net.Conn) { server.ServeConn(conn) })
		}
	})
}

func netrpcClientCommand(args []string) error {
	target, args, err := splitTarget(args)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("netrpc-client", flag.ContinueOnError)
	overHTTP := flags.Bool("http", false, "connect by CONNECT "+rpc.DefaultRPCPath)
	useJSON := flags.Bool("json", false, "speak JSON-RPC 1.0")
	unix := flags.Bool("unix", false, "the address is a socket's path")
	within := flags.Duration("within", time.Minute, "the longest this may take")
	var scenario string
	if err := parse(flags, args, &scenario); err != nil {
		return err
	}
	peer := netrpcPeer{network: "tcp", address: target, overHTTP: *overHTTP, useJSON: *useJSON}
	if *unix {
		peer.network = "unix"
	}
	limitRun(*within)
	return runScenario(peer, scenario, map[string]func(*checks){
		"mismatch":   peer.mismatchScenario,
		"close":      peer.closeScenario,
		"transcript": func(c *checks) { transcriptScenario(c, peer) },
		"http":       func(c *checks) { httpScenario(c, target, rpc.DefaultRPCPath) },
	})
}

// netrpcPeer is a server of net/rpc, and how to talk to it.
type netrpcPeer struct {
	network, address  string
	overHTTP, useJSON bool
}

func (p netrpcPeer) isJSON() bool { return p.useJSON }

func (p netrpcPeer) errorTexts() errorTexts {
	return errorTexts{
		illFormed: func(name string) string { return "rpc: service/method request ill-formed: " + name },
		noService: func(name string) string { return "rpc: can't find service " + name },
		noMethod:  func(name string) string { return "rpc: can't find method " + name },
	}
}

// open uses net/rpc's own ways to connect.
func (p netrpcPeer) open() (client, error) {
	switch {
	case p.overHTTP && p.useJSON:
		return nil, errors.New("net/rpc has no JSON over HTTP")
	case p.overHTTP:
		return asClient(rpc.DialHTTP(p.network, p.address))
	case p.useJSON:
		return asClient(jsonrpc.Dial(p.network, p.address))
	default:
		return asClient(rpc.Dial(p.network, p.address))
	}
}

// asClient keeps a nil *rpc.Client from becoming a client that is not nil.
func asClient(dialled *rpc.Client, err error) (client, error) {
	if err != nil {
		return nil, err
	}
	return dialled, nil
}

// mismatchScenario: arguments of a wrong type fail a call; a reply of an unexpected type ends Go's client, but not the
// server.
func (p netrpcPeer) mismatchScenario(c *checks) {
	good := callCase{method: "Foo.Sum", args: Pair{1, 2}, want: 3}
	victim, err := p.open()
	if !c.noError("connect", err) {
		return
	}
	defer victim.Close()
	var product int
	err = victim.Call("Arith.Multiply", "text", &product)
	c.failsToDecode("a text for a struct", err, decoderPrefix(p))
	callAndCheck(c, victim, "a good call after it", good)

	var wrong struct{ Nothing, Fits []string }
	err = victim.Call("Foo.Sum", Pair{1, 2}, &wrong)
	c.that("a number for a struct fails the call", err != nil && strings.HasPrefix(err.Error(), "reading body "), fmt.Sprint(err))
	err = victim.Call("Foo.Sum", Pair{1, 2}, new(int))
	// With the same text or with ErrShutdown, as the client's end comes before or after the call.
	c.that("and ends the client", err != nil, fmt.Sprint(err))
	checkCall(c, p, "the server serves the next", good)
}

// closeScenario: closing a client ends the calls in flight, and leaves the server well.
func (p netrpcPeer) closeScenario(c *checks) {
	const inFlight = 8
	victim, err := p.open()
	if !c.noError("connect", err) {
		return
	}
	done := make(chan *rpc.Call, inFlight)
	for i := 0; i < inFlight; i++ {
		victim.Go("Foo.Sleep", Pair{Num1: 2, Num2: i}, new(int), done)
	}
	callAndCheck(c, victim, "a call beside them", callCase{method: "Foo.Sum", args: Pair{1, 2}, want: 3})
	c.noError("close", victim.Close())
	for i := 0; i < inFlight; i++ {
		call := <-done
		c.that("a call in flight ends with an error", call.Error != nil, fmt.Sprint(call.Error))
	}
	c.that("closing again says so", errors.Is(victim.Close(), rpc.ErrShutdown), "")
	checkCall(c, p, "the server serves the next", callCase{method: "Foo.Sum", args: Pair{3, 4}, want: 7})
}
