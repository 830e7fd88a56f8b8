// The values that are sent, the same ones as in ../src/samples.rs.
package main

import "fmt"

type Args struct{ A, B int64 }

type Point struct{ X, Y int64 }

type Ref struct {
	Number int64
	Kind   string
}

type Order struct {
	Number   int64
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

func order() Order {
	return Order{
		Number: 123456, Name: "Ada Lovelace", Email: "ada@example.com", Age: 36, Score: 0.875, Active: true,
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

func counting() []int64 {
	list := make([]int64, 10000)
	for i := range list {
		list[i] = int64(i)
	}
	return list
}

func random() []int64 {
	list := make([]int64, 10000)
	x := uint64(1)
	for i := range list {
		x = x*6364136223846793005 + 1442695040888963407
		list[i] = int64(x) >> (x >> 58)
	}
	return list
}

func mapping() map[string]int64 {
	m := make(map[string]int64)
	for i := range int64(1000) {
		m[fmt.Sprintf("key-%d", i)] = i * i
	}
	return m
}

func blob() []byte {
	list := make([]byte, 64<<10)
	for i := range list {
		list[i] = byte(i)
	}
	return list
}

func strings() []string {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("the string number %d", i)
	}
	return list
}
