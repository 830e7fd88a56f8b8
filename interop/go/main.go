// Gopeer is the Go end of farcall's interoperability tests: servers and clients of net/rpc, of its JSON codec and of
// TinyRPC's protocol, with the standard library alone.
//
// It prints JSON lines. The first line of a server is {"listening":"ADDR"}; a server ends when its standard input does,
// so that it never outlives the test that started it, or at SIGTERM. A client prints one line a check and exits with 1 if
// any failed; 2 is for wrong arguments.
//
// This file: the subcommands, how they print and how they end. Not here: what they do.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

var commands = []struct {
	name, usage string
	run         func(args []string) error
}{
	{"tiny-server", "[-net tcp|unix] [-addr A] [-http] [-gee] [-byte-by-byte] [-codec-json] [-registry URL -advertise ADDR -beat 1s]", tinyServerCommand},
	{"tiny-client", "ADDR [-http] [-unix] [-gee] [-byte-by-byte] [-json] [-within 60s] SCENARIO", tinyClientCommand},
	{"netrpc-server", "[-net tcp|unix] [-addr A] [-http | -json]", netrpcServerCommand},
	{"netrpc-client", "ADDR [-http | -json] [-unix] [-within 60s] SCENARIO", netrpcClientCommand},
	{"registry", "[-addr A] [-ttl 5m]", registryCommand},
	{"heartbeat", "-registry URL -advertise ADDR [-every 1s]", heartbeatCommand},
	{"discover", "URL", discoverCommand},
	{"bench-client", "ADDR [-proto netrpc|tiny] [-json] [-workers 128] [-seconds 5]", benchCommand},
	{"echo-proxy", "-to ADDR [-addr A]", proxyCommand},
}

// errUsage marks a wrong command line.
var errUsage = errors.New("usage")

// errFailed says that a check failed; its line is printed already.
var errFailed = errors.New("a check failed")

func main() {
	log.SetFlags(0)
	log.SetPrefix("gopeer: ")
	if len(os.Args) < 2 {
		usage()
	}
	for _, c := range commands {
		if c.name != os.Args[1] {
			continue
		}
		err := c.run(os.Args[2:])
		switch {
		case err == nil:
			os.Exit(0)
		case errors.Is(err, errUsage):
			log.Printf("%v\n  gopeer %s %s", err, c.name, c.usage)
			os.Exit(2)
		case !errors.Is(err, errFailed):
			log.Print(err)
		}
		os.Exit(1)
	}
	usage()
}

func usage() {
	fmt.Fprintln(os.Stderr, "gopeer is one of:")
	for _, c := range commands {
		fmt.Fprintf(os.Stderr, "  gopeer %s %s\n", c.name, c.usage)
	}
	os.Exit(2)
}

// parse reads flags, and refuses more or fewer words behind them than there are targets.
func parse(flags *flag.FlagSet, args []string, words ...*string) error {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if flags.NArg() != len(words) {
		return fmt.Errorf("%w: %d words where %d belong: %q", errUsage, flags.NArg(), len(words), flags.Args())
	}
	for i, word := range words {
		*word = flags.Arg(i)
	}
	return nil
}

// splitTarget takes the ADDR off that stands before the flags of a client.
func splitTarget(args []string) (target string, rest []string, err error) {
	if len(args) == 0 || args[0] == "" || args[0][0] == '-' {
		return "", nil, fmt.Errorf("%w: the address comes first", errUsage)
	}
	return args[0], args[1:], nil
}

var output struct {
	sync.Mutex
	*json.Encoder
}

// emit prints one line of JSON. Lines of concurrent callers do not mix.
func emit(line any) {
	output.Lock()
	defer output.Unlock()
	if output.Encoder == nil {
		output.Encoder = json.NewEncoder(os.Stdout)
		output.SetEscapeHTML(false)
	}
	if err := output.Encode(line); err != nil {
		log.Fatalf("cannot print: %v", err)
	}
}

// fields is a line of output; encoding/json prints its keys in order.
type fields map[string]any

// serve announces a listener, lets accept run on it, and returns when this process is asked to end.
func serve(listener net.Listener, extra fields, accept func(net.Listener)) error {
	line := fields{"listening": listener.Addr().String()}
	for key, value := range extra {
		line[key] = value
	}
	end := watchForEnd() // Before the line that lets others send signals.
	emit(line)
	go accept(listener)
	<-end
	return listener.Close()
}

// watchForEnd answers a channel that says when standard input ends or SIGTERM comes.
func watchForEnd() <-chan os.Signal {
	end := make(chan os.Signal, 2)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end <- syscall.SIGTERM
	}()
	return end
}

// limitRun ends a client that hangs, with a failed check to say so.
func limitRun(within time.Duration) {
	time.AfterFunc(within, func() {
		emit(fields{"check": "finished in time", "ok": false, "detail": "still running after " + within.String()})
		os.Exit(1)
	})
}
