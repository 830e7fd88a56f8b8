package main

// How many calls a second a Go client gets out of a server: one connection, a closed loop of workers.

import (
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func benchCommand(args []string) error {
	target, args, err := splitTarget(args)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("bench-client", flag.ContinueOnError)
	protocol := flags.String("proto", "netrpc", "netrpc or tiny")
	useJSON := flags.Bool("json", false, "use the protocol's JSON form")
	workers := flags.Int("workers", 128, "calls in flight")
	seconds := flags.Float64("seconds", 5, "how long")
	if err := parse(flags, args); err != nil {
		return err
	}
	var server peer
	switch *protocol {
	case "netrpc":
		server = netrpcPeer{network: "tcp", address: target, useJSON: *useJSON}
	case "tiny":
		tiny := tinyPeer{endpoint: endpoint{network: "tcp", address: target}, codecType: tinyGob}
		if *useJSON {
			tiny.codecType = tinyJSON
		}
		server = tiny
	default:
		return fmt.Errorf("%w: no protocol %q", errUsage, *protocol)
	}
	opened, err := server.open()
	if err != nil {
		return err
	}
	defer opened.Close()

	var calls atomic.Int64
	failures := make(chan error, *workers)
	start, cpu := time.Now(), cpuSeconds()
	end := start.Add(time.Duration(*seconds * float64(time.Second)))
	var all sync.WaitGroup
	for w := 0; w < *workers; w++ {
		all.Add(1)
		go func(w int) {
			defer all.Done()
			for i := 1; time.Now().Before(end); i++ {
				var product int
				err := opened.Call("Arith.Multiply", Operands{A: w, B: i}, &product)
				if err == nil && product != w*i {
					err = fmt.Errorf("%d * %d was %d", w, i, product)
				}
				if err != nil {
					failures <- err
					return
				}
				calls.Add(1)
			}
		}(w)
	}
	all.Wait()
	took := time.Since(start).Seconds()
	close(failures)
	for err := range failures {
		return err
	}
	emit(fields{
		"calls":        calls.Load(),
		"seconds":      took,
		"calls_per_s":  float64(calls.Load()) / took,
		"client_cpu_s": cpuSeconds() - cpu,
	})
	return nil
}

// cpuSeconds is this process's processor time so far, user and system.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
