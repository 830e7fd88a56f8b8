// Times Go's gob on the same values as the Rust program beside it: one stream, types known.
// Prints "case ns" for each.
package main

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"testing"
)

type Args struct{ A, B int64 }
type Header struct {
	ServiceMethod string
	Seq           uint64
	Error         string
}
type Point struct{ X, Y int64 }
type Ref struct {
	ID   int64
	Kind string
}
type Payload20 struct {
	ID       int64
	Name     string
	Email    string
	Age      uint32
	Score    float64
	Active   bool
	Tags     []string
	Origin   Point
	Target   Point
	Attrs    map[string]string
	Blob     []byte
	Created  int64
	Updated  int64
	Parent   *Ref
	Children []Ref
	Ratio    float32
	Flags    uint64
	Level    int8
	Note     string
	Matrix   [4]float64
}

func payload() Payload20 {
	return Payload20{
		ID: 123456, Name: "Ada Lovelace", Email: "ada@example.com", Age: 36, Score: 0.875, Active: true,
		Tags: []string{"math", "poetry", "engine"}, Origin: Point{1, 2}, Target: Point{300, -400},
		Attrs: map[string]string{"lang": "en", "tz": "UTC"}, Blob: []byte{1, 2, 3, 4, 250, 251, 252, 253},
		Created: 1700000000, Updated: 1700000123, Parent: &Ref{1, "root"},
		Children: []Ref{{2, "leaf"}, {3, "leaf"}}, Ratio: 0.5, Flags: 1 << 40, Level: -3, Note: "n",
		Matrix: [4]float64{1, 0, 0, 1},
	}
}

func points() []Point {
	list := make([]Point, 1000)
	for i := range list {
		list[i] = Point{int64(i), int64(-i)}
	}
	return list
}

func ints() []int64 {
	list := make([]int64, 10000)
	x := uint64(1)
	for i := range list {
		x = x*6364136223846793005 + 1442695040888963407
		list[i] = int64(x) >> (x >> 58 & 63)
	}
	return list
}

type sink struct{ n int }

func (s *sink) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }

func run[T any](name string, value T) {
	var buf bytes.Buffer
	enc := gob.NewEncoder(&buf)
	if err := enc.Encode(value); err != nil {
		panic(err)
	}
	first := append([]byte(nil), buf.Bytes()...)
	buf.Reset()
	if err := enc.Encode(value); err != nil {
		panic(err)
	}
	next := append([]byte(nil), buf.Bytes()...)
	best := func(f func(b *testing.B)) float64 {
		best := 0.0
		for i := 0; i < 5; i++ {
			r := testing.Benchmark(f)
			ns := float64(r.T.Nanoseconds()) / float64(r.N)
			if best == 0 || ns < best {
				best = ns
			}
		}
		return best
	}
	fmt.Printf("%s-encode %.1f\n", name, best(func(b *testing.B) {
		enc := gob.NewEncoder(&sink{})
		enc.Encode(value)
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			enc.Encode(value)
		}
	}))
	fmt.Printf("%s-decode %.1f\n", name, best(func(b *testing.B) {
		r := &repeat{first: first, next: next}
		dec := gob.NewDecoder(r)
		var v T
		dec.Decode(&v)
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			var v T
			if err := dec.Decode(&v); err != nil {
				b.Fatal(err)
			}
		}
	}))
}

// repeat gives the first message once and the next one for ever.
type repeat struct{ first, next, rest []byte }

func (r *repeat) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.first != nil {
			r.rest, r.first = r.first, nil
		} else {
			r.rest = r.next
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
func (r *repeat) ReadByte() (byte, error) {
	var b [1]byte
	r.Read(b[:])
	return b[0], nil
}

func main() {
	testing.Init()
	run("args", Args{7, 8})
	run("header", Header{"Arith.Multiply", 123456, ""})
	run("payload20", payload())
	run("points1000", points())
	run("ints10000", ints())
}
