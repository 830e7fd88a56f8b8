// Encodes and decodes values in a warm stream of Go's gob, and tells how much of a processor's time that takes or how
// often it allocates.
// It does what its input says, line by line, as the Rust program beside it.
package main

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"fmt"
	"log"
	"os"
	"runtime"
	"syscall"
	"time"
)

func main() {
	count := len(os.Args) > 1 && os.Args[1] == "allocations"
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var codec, name, direction string
		if _, err := fmt.Sscan(lines.Text(), &codec, &name, &direction); err != nil {
			log.Fatal(err)
		}
		run := cases[name]
		if run == nil {
			log.Fatal("no such case: ", name)
		}
		each, bytes := run(direction, count)
		fmt.Println(each, bytes)
	}
}

var cases = map[string]func(direction string, count bool) (float64, int){
	"args":     of(Args{7, 8}),
	"order":    of(order()),
	"points":   of(points()),
	"counting": of(counting()),
	"random":   of(random()),
	"map":      of(mapping()),
	"bytes":    of(blob()),
	"strings":  of(strings()),
}

func of[T any](value T) func(string, bool) (float64, int) {
	return func(direction string, count bool) (float64, int) {
		var out bytes.Buffer
		encoder := gob.NewEncoder(&out)
		encode := func() int {
			out.Reset()
			if err := encoder.Encode(&value); err != nil {
				log.Fatal(err)
			}
			return out.Len()
		}
		encode()
		first := bytes.Clone(out.Bytes())
		encode()
		if direction == "encode" {
			return repeat(encode, count)
		}
		// A bytes.Reader reads single bytes, so no buffer comes between.
		reader := bytes.NewReader(first)
		decoder := gob.NewDecoder(reader)
		decode := func() int {
			// A fresh value each time: Rust's decoders have no other way, and net/rpc does so too.
			var value T
			if err := decoder.Decode(&value); err != nil {
				log.Fatal(err)
			}
			return int(reader.Size())
		}
		decode()
		next := bytes.Clone(out.Bytes())
		return repeat(func() int {
			reader.Reset(next)
			return decode()
		}, count)
	}
}

func repeat(run func() int, count bool) (float64, int) {
	if count {
		const times = 100
		var before, after runtime.MemStats
		bytes := run()
		runtime.ReadMemStats(&before)
		for range times {
			run()
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / times, bytes
	}
	// The last round is the one that counts; those before warm up.
	for times := 1; ; times *= 2 {
		bytes := 0
		start := used()
		for range times {
			bytes = run()
		}
		if took := used() - start; took >= 20*time.Millisecond {
			return float64(took.Nanoseconds()) / float64(times), bytes
		}
	}
}

// used is the time that all threads have run, the garbage collector's included.
func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
