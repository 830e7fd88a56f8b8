package main

// The service Kinds: a method for each kind of value. Each answers with a changed value of the same kind, so that a call
// proves both directions. One rule a kind, so that other languages can follow it easily:
//
//	bool            the other one
//	int.., uint..   all bits flipped
//	float..         the half
//	complex..       the sign of the imaginary part flipped
//	string          the characters (not bytes) backwards
//	bytes, slices, arrays    the elements backwards, unchanged themselves
//	maps            the keys stay, each value changes by the rule of its kind
//	Point           X and Y change places
//	other structs   each field changes by the rule of its kind
//	pointers        nil stays nil, others change what they point to
//	time.Time       an hour later
//	interfaces      by the rule of the value inside; nil stays nil
//
// Exceptions are said at the method. Not here: the values that are tried (cases.go).

import (
	"encoding/gob"
	"errors"
	"fmt"
	"time"
)

// Kinds has a method for each kind of value.
type Kinds struct{}

// Point is the smallest struct that shows an order.
type Point struct{ X, Y int }

// Line nests structs.
type Line struct {
	From, To Point
	Label    string
}

// Optional holds pointers.
type Optional struct {
	Int   *int
	Text  *string
	Ratio *float64
	Point *Point
}

// Tree is recursive through a slice.
type Tree struct {
	Value    int
	Children []Tree
}

// Node is recursive through a pointer.
type Node struct {
	Value int
	Next  *Node
}

// Circle embeds a struct: in gob that is one field named Point, in JSON its fields are Circle's own.
type Circle struct {
	Point
	Radius int
}

// Event has times in its fields.
type Event struct {
	Name string
	At   time.Time
	Took time.Duration
}

// Empty has no fields.
type Empty struct{}

// Complexes is apart from Everything because JSON has no complex numbers.
type Complexes struct {
	Narrow complex64
	Wide   complex128
	List   []complex128
}

// Everything has a field of each kind that both gob and JSON can say.
type Everything struct {
	Bool    bool
	Int     int
	Int8    int8
	Int16   int16
	Int32   int32
	Int64   int64
	Uint    uint
	Uint8   uint8
	Uint16  uint16
	Uint32  uint32
	Uint64  uint64
	Float32 float32
	Float64 float64
	String  string
	Bytes   []byte
	Ints    []int
	Strings []string
	Points  []Point
	Map     map[string]int
	Lists   map[string][]int
	Array   [3]int
	Point   Point
	Pointer *Point
	Time    time.Time
}

// Boxed holds interface values: nil, bool, int, float64, string, []byte or Point.
type Boxed struct {
	Value any
	List  []any
}

func init() {
	// Under its own name a type of package main has another name in a test binary.
	gob.RegisterName("farcall.test/interop.Point", Point{})
}

func (*Kinds) Bool(v bool, reply *bool) error       { *reply = !v; return nil }
func (*Kinds) Int(v int, reply *int) error          { *reply = ^v; return nil }
func (*Kinds) Int8(v int8, reply *int8) error       { *reply = ^v; return nil }
func (*Kinds) Int16(v int16, reply *int16) error    { *reply = ^v; return nil }
func (*Kinds) Int32(v int32, reply *int32) error    { *reply = ^v; return nil }
func (*Kinds) Int64(v int64, reply *int64) error    { *reply = ^v; return nil }
func (*Kinds) Uint(v uint, reply *uint) error       { *reply = ^v; return nil }
func (*Kinds) Uint8(v uint8, reply *uint8) error    { *reply = ^v; return nil }
func (*Kinds) Uint16(v uint16, reply *uint16) error { *reply = ^v; return nil }
func (*Kinds) Uint32(v uint32, reply *uint32) error { *reply = ^v; return nil }
func (*Kinds) Uint64(v uint64, reply *uint64) error { *reply = ^v; return nil }

func (*Kinds) Float32(v float32, reply *float32) error { *reply = v / 2; return nil }
func (*Kinds) Float64(v float64, reply *float64) error { *reply = v / 2; return nil }

func (*Kinds) Complex64(v complex64, reply *complex64) error {
	*reply = complex(real(v), -imag(v))
	return nil
}

func (*Kinds) Complex128(v complex128, reply *complex128) error {
	*reply = complex(real(v), -imag(v))
	return nil
}

func (*Kinds) Complexes(v Complexes, reply *Complexes) error {
	reply.Narrow = complex(real(v.Narrow), -imag(v.Narrow))
	reply.Wide = complex(real(v.Wide), -imag(v.Wide))
	reply.List = backwards(v.List)
	return nil
}

func (*Kinds) String(v string, reply *string) error {
	*reply = string(backwards([]rune(v)))
	return nil
}
func (*Kinds) Bytes(v []byte, reply *[]byte) error { *reply = backwards(v); return nil }

func (*Kinds) Bools(v []bool, reply *[]bool) error              { *reply = backwards(v); return nil }
func (*Kinds) Ints(v []int, reply *[]int) error                 { *reply = backwards(v); return nil }
func (*Kinds) Uints(v []uint64, reply *[]uint64) error          { *reply = backwards(v); return nil }
func (*Kinds) Floats(v []float64, reply *[]float64) error       { *reply = backwards(v); return nil }
func (*Kinds) Strings(v []string, reply *[]string) error        { *reply = backwards(v); return nil }
func (*Kinds) Points(v []Point, reply *[]Point) error           { *reply = backwards(v); return nil }
func (*Kinds) Matrix(v [][]int, reply *[][]int) error           { *reply = backwards(v); return nil }
func (*Kinds) ByteSlices(v [][]byte, reply *[][]byte) error     { *reply = backwards(v); return nil }
func (*Kinds) Array(v [4]int, reply *[4]int) error              { copy(reply[:], backwards(v[:])); return nil }
func (*Kinds) ByteArray(v [4]byte, reply *[4]byte) error        { copy(reply[:], backwards(v[:])); return nil }
func (*Kinds) StringArray(v [2]string, r *[2]string) error      { copy(r[:], backwards(v[:])); return nil }
func (*Kinds) Duration(v time.Duration, r *time.Duration) error { *r = ^v; return nil }

func (*Kinds) Map(v map[string]int, reply *map[string]int) error {
	*reply = mapped(v, func(n int) int { return ^n })
	return nil
}

// IntMap answers a map from the values to the keys.
func (*Kinds) IntMap(v map[int]string, reply *map[string]int) error {
	for key, value := range v {
		(*reply)[value] = key
	}
	return nil
}

func (*Kinds) MapOfSlices(v map[string][]int, reply *map[string][]int) error {
	*reply = mapped(v, backwards[int])
	return nil
}

func (*Kinds) MapOfStructs(v map[string]Point, reply *map[string]Point) error {
	*reply = mapped(v, Point.swapped)
	return nil
}

func (*Kinds) MapOfMaps(v map[string]map[string]bool, reply *map[string]map[string]bool) error {
	*reply = mapped(v, func(inner map[string]bool) map[string]bool {
		return mapped(inner, func(b bool) bool { return !b })
	})
	return nil
}

func (*Kinds) Struct(v Point, reply *Point) error { *reply = v.swapped(); return nil }
func (*Kinds) Empty(Empty, *Empty) error          { return nil }

func (*Kinds) Nested(v Line, reply *Line) error {
	*reply = Line{From: v.From.swapped(), To: v.To.swapped(), Label: string(backwards([]rune(v.Label)))}
	return nil
}

func (*Kinds) Embedded(v Circle, reply *Circle) error {
	*reply = Circle{Point: v.Point.swapped(), Radius: ^v.Radius}
	return nil
}

func (*Kinds) Pointers(v Optional, reply *Optional) error {
	reply.Int = pointed(v.Int, func(n int) int { return ^n })
	reply.Text = pointed(v.Text, func(s string) string { return string(backwards([]rune(s))) })
	reply.Ratio = pointed(v.Ratio, func(f float64) float64 { return f / 2 })
	reply.Point = pointed(v.Point, Point.swapped)
	return nil
}

// Tree answers the tree seen in a mirror: children backwards at every level, all bits of the values flipped.
func (*Kinds) Tree(v Tree, reply *Tree) error { *reply = v.mirrored(); return nil }

func (t Tree) mirrored() Tree {
	mirror := Tree{Value: ^t.Value}
	for _, child := range backwards(t.Children) {
		mirror.Children = append(mirror.Children, child.mirrored())
	}
	return mirror
}

// List answers the list backwards, its values unchanged.
func (*Kinds) List(v Node, reply *Node) error {
	var last *Node
	for node := &v; node != nil; node = node.Next {
		last = &Node{Value: node.Value, Next: last}
	}
	*reply = *last
	return nil
}

func (*Kinds) Time(v time.Time, reply *time.Time) error { *reply = v.Add(time.Hour); return nil }

func (*Kinds) Event(v Event, reply *Event) error {
	*reply = Event{Name: string(backwards([]rune(v.Name))), At: v.At.Add(time.Hour), Took: ^v.Took}
	return nil
}

func (*Kinds) Everything(v Everything, reply *Everything) error {
	*reply = Everything{
		Bool: !v.Bool,
		Int:  ^v.Int, Int8: ^v.Int8, Int16: ^v.Int16, Int32: ^v.Int32, Int64: ^v.Int64,
		Uint: ^v.Uint, Uint8: ^v.Uint8, Uint16: ^v.Uint16, Uint32: ^v.Uint32, Uint64: ^v.Uint64,
		Float32: v.Float32 / 2, Float64: v.Float64 / 2,
		String:  string(backwards([]rune(v.String))),
		Bytes:   backwards(v.Bytes),
		Ints:    backwards(v.Ints),
		Strings: backwards(v.Strings),
		Points:  backwards(v.Points),
		Map:     mapped(v.Map, func(n int) int { return ^n }),
		Lists:   mapped(v.Lists, backwards[int]),
		Point:   v.Point.swapped(),
		Pointer: pointed(v.Pointer, Point.swapped),
		Time:    v.Time.Add(time.Hour),
	}
	copy(reply.Array[:], backwards(v.Array[:]))
	return nil
}

// Any answers each value in its box changed by the rule of its own kind; the list keeps its order.
func (*Kinds) Any(v Boxed, reply *Boxed) (err error) {
	if reply.Value, err = changed(v.Value); err != nil {
		return err
	}
	for _, value := range v.List {
		value, err = changed(value)
		if err != nil {
			return err
		}
		reply.List = append(reply.List, value)
	}
	return nil
}

// Fail fails with the text it is given.
func (*Kinds) Fail(text string, _ *string) error { return errors.New(text) }

func (p Point) swapped() Point { return Point{X: p.Y, Y: p.X} }

func changed(value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case bool:
		return !v, nil
	case int:
		return ^v, nil
	case float64:
		return v / 2, nil
	case string:
		return string(backwards([]rune(v))), nil
	case []byte:
		return backwards(v), nil
	case Point:
		return v.swapped(), nil
	default:
		return nil, fmt.Errorf("no rule for a %T", value)
	}
}

// backwards never answers nil: a Go client of JSON-RPC takes a null reply for a broken peer.
func backwards[T any](list []T) []T {
	reversed := make([]T, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		reversed = append(reversed, list[i])
	}
	return reversed
}

func mapped[V any](values map[string]V, change func(V) V) map[string]V {
	result := make(map[string]V, len(values))
	for key, value := range values {
		result[key] = change(value)
	}
	return result
}

func pointed[T any](value *T, change func(T) T) *T {
	if value == nil {
		return nil
	}
	result := change(*value)
	return &result
}
