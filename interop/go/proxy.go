package main

// A TCP proxy that forwards each byte with a write of its own, both ways: for peers that cannot be told to write so.

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
)

func proxyCommand(args []string) error {
	flags := flag.NewFlagSet("echo-proxy", flag.ContinueOnError)
	to := flags.String("to", "", "where to forward to")
	address := flags.String("addr", "", "where to listen")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *to == "" {
		return fmt.Errorf("%w: -to is needed", errUsage)
	}
	listener, err := listen("tcp", *address)
	if err != nil {
		return err
	}
	return serve(listener, nil, func(listener net.Listener) {
		acceptAll(listener, func(near net.Conn) { forward(near, *to) })
	})
}

// forward joins one connection with another, until both directions have ended.
func forward(near net.Conn, to string) {
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		log.Print(err)
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Add(2)
	pour := func(into, from net.Conn) {
		defer both.Done()
		if _, err := io.Copy(torn{into}, from); err != nil {
			// Neither end can be told of a broken one but by ending both.
			near.Close()
			far.Close()
			return
		}
		_ = closeWrite(into)
	}
	go pour(far, near)
	go pour(near, far)
	both.Wait()
}
