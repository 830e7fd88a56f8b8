package main

// The values tried on every server: each a call and what must come back. What comes back is written out by hand, not
// computed by the services it checks. Not here: calls that fail (scenarios.go, transcript.go).

import (
	"math"
	"strings"
	"time"
)

// callCase is one call with its expected reply.
type callCase struct {
	method string
	args   any
	want   any
	// gobOnly marks what JSON cannot say, or what encoding/json maps in a way of its own.
	gobOnly bool
}

func basicCases() []callCase {
	return []callCase{
		{method: "Arith.Multiply", args: Operands{A: 7, B: 8}, want: 56},
		{method: "Arith.Multiply", args: Operands{A: -7, B: 8}, want: -56},
		{method: "Arith.Multiply", args: Operands{}, want: 0},
		{method: "Arith.Multiply", args: &Operands{A: 1 << 31, B: 1 << 31}, want: 1 << 62},
		{method: "Arith.Divide", args: Operands{A: 17, B: 5}, want: Quotient{Quo: 3, Rem: 2}},
		{method: "Arith.Divide", args: Operands{A: 0, B: 5}, want: Quotient{}},
		{method: "Foo.Sum", args: Pair{Num1: 1, Num2: 2}, want: 3},
		{method: "Foo.Sum", args: Pair{Num1: 5, Num2: -5}, want: 0},
		{method: "Foo.Sleep", args: Pair{Num1: 0, Num2: 9}, want: 9},
		{method: "Foo.Sleep", args: Pair{Num1: 1, Num2: 41}, want: 42},
		{method: "Echo.Echo", args: []byte("bytes \x00\xff\n"), want: []byte("bytes \x00\xff\n")},
		{method: "Echo.Echo", args: []byte{}, want: []byte{}},
		{method: "Echo.Echo", args: pattern(20_000), want: pattern(20_000)},
		{method: "Echo.String", args: "grüße, 世界 <&> \"\\\u2028", want: "grüße, 世界 <&> \"\\\u2028"},
		{method: "Echo.String", args: "", want: ""},
	}
}

// pattern answers n bytes with a period that no power of two divides.
func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return data
}

func kindCases() []callCase {
	return []callCase{
		{method: "Kinds.Bool", args: true, want: false},
		{method: "Kinds.Bool", args: false, want: true},
		{method: "Kinds.Int", args: 0, want: -1},
		{method: "Kinds.Int", args: -1, want: 0},
		{method: "Kinds.Int", args: math.MaxInt64, want: math.MinInt64},
		{method: "Kinds.Int8", args: int8(-128), want: int8(127)},
		{method: "Kinds.Int8", args: int8(127), want: int8(-128)},
		{method: "Kinds.Int16", args: int16(-32768), want: int16(32767)},
		{method: "Kinds.Int32", args: int32(math.MinInt32), want: int32(math.MaxInt32)},
		{method: "Kinds.Int64", args: int64(math.MinInt64), want: int64(math.MaxInt64)},
		{method: "Kinds.Int64", args: int64(1<<53 + 1), want: int64(-(1 << 53) - 2)},
		{method: "Kinds.Uint", args: uint(0), want: uint(math.MaxUint64)},
		{method: "Kinds.Uint8", args: uint8(127), want: uint8(128)},
		{method: "Kinds.Uint8", args: uint8(128), want: uint8(127)},
		{method: "Kinds.Uint16", args: uint16(1), want: uint16(65534)},
		{method: "Kinds.Uint32", args: uint32(0), want: uint32(math.MaxUint32)},
		{method: "Kinds.Uint64", args: uint64(math.MaxUint64), want: uint64(0)},
		{method: "Kinds.Float32", args: float32(0.1), want: float32(0.05)},
		{method: "Kinds.Float32", args: float32(math.MaxFloat32), want: float32(math.MaxFloat32 / 2)},
		{method: "Kinds.Float64", args: 17.0, want: 8.5},
		{method: "Kinds.Float64", args: -math.Pi, want: -math.Pi / 2},
		{method: "Kinds.Float64", args: 0x1p-1022, want: 0x1p-1023},
		{method: "Kinds.Float64", args: 0.0, want: 0.0},
		{method: "Kinds.Float64", args: math.Copysign(0, -1), want: math.Copysign(0, -1)},
		{method: "Kinds.Float64", args: math.Inf(-1), want: math.Inf(-1), gobOnly: true},
		{method: "Kinds.Float64", args: math.NaN(), want: math.NaN(), gobOnly: true},
		{method: "Kinds.Complex64", args: complex64(1 + 2i), want: complex64(1 - 2i), gobOnly: true},
		{method: "Kinds.Complex128", args: 1.5 - 2.5i, want: 1.5 + 2.5i, gobOnly: true},
		{method: "Kinds.String", args: "añ世😀", want: "😀世ña"},
		{method: "Kinds.String", args: "", want: ""},
		{method: "Kinds.String", args: strings.Repeat("ab", 5000), want: strings.Repeat("ba", 5000)},
		{method: "Kinds.Bytes", args: []byte{0, 1, 127, 128, 255}, want: []byte{255, 128, 127, 1, 0}},
		{method: "Kinds.Bytes", args: []byte{}, want: []byte{}},
		{method: "Kinds.Bools", args: []bool{true, true, false}, want: []bool{false, true, true}},
		{method: "Kinds.Ints", args: []int{1, -2, 1 << 40}, want: []int{1 << 40, -2, 1}},
		{method: "Kinds.Ints", args: []int{}, want: []int{}},
		{method: "Kinds.Ints", args: make([]int, 1000), want: make([]int, 1000)},
		{method: "Kinds.Uints", args: []uint64{0, 1, math.MaxUint64}, want: []uint64{math.MaxUint64, 1, 0}},
		{method: "Kinds.Floats", args: []float64{0.5, 0, -1e300}, want: []float64{-1e300, 0, 0.5}},
		{method: "Kinds.Strings", args: []string{"", "b", "c"}, want: []string{"c", "b", ""}},
		{method: "Kinds.Points", args: []Point{{1, 2}, {}, {3, 0}}, want: []Point{{3, 0}, {}, {1, 2}}},
		{method: "Kinds.Matrix", args: [][]int{{1, 2}, {}, {3}}, want: [][]int{{3}, {}, {1, 2}}},
		{method: "Kinds.ByteSlices", args: [][]byte{{1}, {}, {2, 255}}, want: [][]byte{{2, 255}, {}, {1}}},
		{method: "Kinds.Array", args: [4]int{1, 0, -3, 4}, want: [4]int{4, -3, 0, 1}},
		{method: "Kinds.Array", args: [4]int{}, want: [4]int{}},
		{method: "Kinds.ByteArray", args: [4]byte{0, 1, 128, 255}, want: [4]byte{255, 128, 1, 0}},
		{method: "Kinds.StringArray", args: [2]string{"", "z"}, want: [2]string{"z", ""}},
		{method: "Kinds.Duration", args: 1500 * time.Millisecond, want: time.Duration(-1_500_000_001)},
		{method: "Kinds.Map", args: map[string]int{"": 0, "one": 1, "minus": -1}, want: map[string]int{"": -1, "one": -2, "minus": 0}},
		{method: "Kinds.Map", args: map[string]int{}, want: map[string]int{}},
		{method: "Kinds.IntMap", args: map[int]string{-1: "a", 0: "b", 300: ""}, want: map[string]int{"a": -1, "b": 0, "": 300}},
		{method: "Kinds.MapOfSlices", args: map[string][]int{"a": {1, 2}, "none": {}}, want: map[string][]int{"a": {2, 1}, "none": {}}},
		{method: "Kinds.MapOfStructs", args: map[string]Point{"p": {1, 2}, "zero": {}}, want: map[string]Point{"p": {2, 1}, "zero": {}}},
		{
			method: "Kinds.MapOfMaps",
			args:   map[string]map[string]bool{"outer": {"t": true, "f": false}, "none": {}},
			want:   map[string]map[string]bool{"outer": {"t": false, "f": true}, "none": {}},
		},
		{method: "Kinds.Struct", args: Point{X: 1}, want: Point{Y: 1}},
		{method: "Kinds.Struct", args: &Point{X: -1, Y: 300}, want: Point{X: 300, Y: -1}},
		{method: "Kinds.Struct", args: Point{}, want: Point{}},
		{method: "Kinds.Empty", args: Empty{}, want: Empty{}},
		{
			method: "Kinds.Nested",
			args:   Line{From: Point{1, 2}, To: Point{0, 3}, Label: "abc"},
			want:   Line{From: Point{2, 1}, To: Point{3, 0}, Label: "cba"},
		},
		{method: "Kinds.Nested", args: Line{}, want: Line{}},
		// encoding/json spreads an embedded struct over its holder.
		{method: "Kinds.Embedded", args: Circle{Point{1, 2}, 3}, want: Circle{Point{2, 1}, -4}, gobOnly: true},
		{
			method: "Kinds.Pointers",
			args:   Optional{Int: pointer(5), Text: pointer("xy"), Ratio: pointer(3.0), Point: &Point{1, 2}},
			want:   Optional{Int: pointer(-6), Text: pointer("yx"), Ratio: pointer(1.5), Point: &Point{2, 1}},
		},
		// Go's gob sends no zero behind a pointer either: the service sees nil.
		{method: "Kinds.Pointers", args: Optional{Int: pointer(0)}, want: Optional{}, gobOnly: true},
		{method: "Kinds.Pointers", args: Optional{Text: pointer("only")}, want: Optional{Text: pointer("ylno")}},
		{method: "Kinds.Pointers", args: Optional{Point: &Point{}}, want: Optional{Point: &Point{}}},
		{method: "Kinds.Pointers", args: Optional{}, want: Optional{}},
		{
			method: "Kinds.Tree",
			args:   Tree{1, []Tree{{2, nil}, {3, []Tree{{4, nil}, {0, nil}}}}},
			want:   Tree{-2, []Tree{{-4, []Tree{{-1, nil}, {-5, nil}}}, {-3, nil}}},
		},
		{method: "Kinds.Tree", args: Tree{}, want: Tree{Value: -1}},
		{method: "Kinds.List", args: Node{1, &Node{2, &Node{3, nil}}}, want: Node{3, &Node{2, &Node{1, nil}}}},
		{method: "Kinds.List", args: Node{Value: 7}, want: Node{Value: 7}},
		{method: "Kinds.Time", args: utc(2026, 2, 28, 23, 30, 0, 0), want: utc(2026, 3, 1, 0, 30, 0, 0)},
		{method: "Kinds.Time", args: utc(1815, 12, 10, 0, 0, 0, 999_999_999), want: utc(1815, 12, 10, 1, 0, 0, 999_999_999)},
		{method: "Kinds.Time", args: in(5*3600+30*60, 1), want: in(5*3600+30*60, 2)},
		{method: "Kinds.Time", args: in(-8*3600, 22), want: in(-8*3600, 23)},
		{method: "Kinds.Time", args: time.Time{}, want: utc(1, 1, 1, 1, 0, 0, 0)},
		// An offset that is no whole number of minutes.
		{method: "Kinds.Time", args: in(3600+2*60+3, 1), want: in(3600+2*60+3, 2), gobOnly: true},
		{
			method: "Kinds.Event",
			args:   Event{Name: "start", At: utc(2026, 1, 1, 0, 0, 0, 1), Took: time.Second},
			want:   Event{Name: "trats", At: utc(2026, 1, 1, 1, 0, 0, 1), Took: -1_000_000_001},
		},
		{method: "Kinds.Event", args: Event{}, want: Event{At: utc(1, 1, 1, 1, 0, 0, 0), Took: -1}},
		{
			method:  "Kinds.Complexes",
			args:    Complexes{Narrow: 1i, Wide: 2 + 3i, List: []complex128{1 + 1i, 0}},
			want:    Complexes{Narrow: -1i, Wide: 2 - 3i, List: []complex128{0, 1 + 1i}},
			gobOnly: true,
		},
		{method: "Kinds.Everything", args: Everything{}, want: everythingFromZero()},
		{method: "Kinds.Everything", args: everythingFull(), want: everythingFullChanged()},
	}
}

func interfaceCases() []callCase {
	return []callCase{
		{method: "Kinds.Any", args: Boxed{}, want: Boxed{}},
		{method: "Kinds.Any", args: Boxed{Value: 5}, want: Boxed{Value: -6}},
		{method: "Kinds.Any", args: Boxed{Value: "text"}, want: Boxed{Value: "txet"}},
		{method: "Kinds.Any", args: Boxed{Value: []byte{1, 255}}, want: Boxed{Value: []byte{255, 1}}},
		{method: "Kinds.Any", args: Boxed{Value: Point{1, 2}}, want: Boxed{Value: Point{2, 1}}},
		{
			method: "Kinds.Any",
			args:   Boxed{Value: true, List: []any{1.5, nil, Point{3, 4}, "ab", false, Point{}}},
			want:   Boxed{Value: false, List: []any{0.75, nil, Point{4, 3}, "ba", true, Point{}}},
		},
	}
}

func everythingFromZero() Everything {
	return Everything{
		Bool: true, Int: -1, Int8: -1, Int16: -1, Int32: -1, Int64: -1,
		Uint: math.MaxUint64, Uint8: math.MaxUint8, Uint16: math.MaxUint16, Uint32: math.MaxUint32, Uint64: math.MaxUint64,
		Time: utc(1, 1, 1, 1, 0, 0, 0),
	}
}

func everythingFull() Everything {
	return Everything{
		Bool: true, Int: -1, Int8: 1, Int16: -300, Int32: 70000, Int64: math.MinInt64,
		Uint: math.MaxUint64, Uint8: 200, Uint16: 300, Uint32: 70000, Uint64: 1 << 63,
		Float32: 1.5, Float64: -1e-300, String: "hello", Bytes: []byte{1, 2, 255},
		Ints: []int{1, 0, -1}, Strings: []string{"", "s"}, Points: []Point{{1, 2}, {}},
		Map: map[string]int{"a": 1}, Lists: map[string][]int{"l": {1, 2, 3}}, Array: [3]int{0, 5, 6},
		Point: Point{0, 9}, Pointer: &Point{8, 7}, Time: in(2*3600, 10),
	}
}

func everythingFullChanged() Everything {
	return Everything{
		Bool: false, Int: 0, Int8: -2, Int16: 299, Int32: -70001, Int64: math.MaxInt64,
		Uint: 0, Uint8: 55, Uint16: 65235, Uint32: math.MaxUint32 - 70000, Uint64: 1<<63 - 1,
		Float32: 0.75, Float64: -5e-301, String: "olleh", Bytes: []byte{255, 2, 1},
		Ints: []int{-1, 0, 1}, Strings: []string{"s", ""}, Points: []Point{{}, {1, 2}},
		Map: map[string]int{"a": -2}, Lists: map[string][]int{"l": {3, 2, 1}}, Array: [3]int{6, 5, 0},
		Point: Point{9, 0}, Pointer: &Point{7, 8}, Time: in(2*3600, 11),
	}
}

func pointer[T any](value T) *T { return &value }

func utc(year int, month time.Month, day, hour, minute, second, nanosecond int) time.Time {
	return time.Date(year, month, day, hour, minute, second, nanosecond, time.UTC)
}

// in answers an hour of one fixed day, offset seconds east of UTC.
func in(offset, hour int) time.Time {
	return time.Date(2024, 2, 29, hour, 15, 16, 170_000_000, time.FixedZone("", offset))
}
