package main

// A fixed list of calls, printed with what came back and without judging it: two servers offer the same service if their
// transcripts are the same, line by line.

import (
	"errors"
	"net/rpc"
	"reflect"
)

// transcriptScenario makes every call there is, in order, on one connection.
func transcriptScenario(c *checks, p netrpcPeer) {
	opened, err := p.open()
	if err != nil {
		c.noError("connect", err)
		return
	}
	defer opened.Close()
	for _, cases := range [][]callCase{basicCases(), kindCases()} {
		for _, call := range cases {
			if call.gobOnly && p.useJSON {
				continue
			}
			reply := reflect.New(reflect.TypeOf(call.want))
			err := opened.Call(call.method, call.args, reply.Interface())
			c.record(call.method, call.args, reply.Interface(), err, false)
		}
	}
	for i, call := range failingCalls(p) {
		var nothing struct{}
		err := opened.Call(call.method, call.args, &nothing)
		c.record(call.method, call.args, nil, err, call.undecodable)
		var sum int
		err = opened.Call("Foo.Sum", Pair{Num1: i, Num2: 1}, &sum)
		c.record("Foo.Sum", Pair{Num1: i, Num2: 1}, &sum, err, false)
	}
}

// record prints one call. That the arguments could not be decoded is comparable, but not the words for it.
func (c *checks) record(method string, args, reply any, err error, undecodable bool) {
	line := fields{"call": method, "args": shortened(canonical(args)), "reply": nil, "error": nil}
	var fromServer rpc.ServerError
	switch {
	case err == nil:
		line["reply"] = shortened(canonical(reply))
	case undecodable && errors.As(err, &fromServer):
		line["error"] = "(undecodable)"
	default:
		line["error"] = err.Error()
	}
	emit(line)
	c.passed++
}
