package main

// One text for each value, so that values can be compared and printed: the form the gob vectors use, but for times, which
// are written out. Nil and empty slices and maps are one value, as they are on gob's wire; nil pointers are not zero.

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// canonical answers JSON text: bits for floats, hex for bytes, sorted pairs for maps.
func canonical(value any) string { return canonicalOf(reflect.ValueOf(value)) }

func canonicalOf(v reflect.Value) string {
	if !v.IsValid() {
		return "null"
	}
	if at, ok := v.Interface().(time.Time); ok {
		return `{"$time":"` + at.Format("2006-01-02T15:04:05.999999999-07:00:00") + `"}`
	}
	switch v.Kind() {
	case reflect.Pointer:
		return canonicalOf(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return "null"
		}
		return fmt.Sprintf(`{"$type":"%s","value":%s}`, v.Elem().Type(), canonicalOf(v.Elem()))
	case reflect.Struct:
		var parts []string
		for i := 0; i < v.NumField(); i++ {
			parts = append(parts, canonicalText(v.Type().Field(i).Name)+":"+canonicalOf(v.Field(i)))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case reflect.Map:
		var parts []string
		for pairs := v.MapRange(); pairs.Next(); {
			parts = append(parts, "["+canonicalOf(pairs.Key())+","+canonicalOf(pairs.Value())+"]")
		}
		sort.Strings(parts)
		return `{"$map":[` + strings.Join(parts, ",") + "]}"
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			return `{"$bytes":"` + hex.EncodeToString(v.Bytes()) + `"}`
		}
		var parts []string
		for i := 0; i < v.Len(); i++ {
			parts = append(parts, canonicalOf(v.Index(i)))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.String:
		return canonicalText(v.String())
	case reflect.Float32, reflect.Float64:
		return `{"$f64":"` + bits(v.Float()) + `"}`
	case reflect.Complex64, reflect.Complex128:
		return `{"$c128":["` + bits(real(v.Complex())) + `","` + bits(imag(v.Complex())) + `"]}`
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return canonicalInteger("$uint", strconv.FormatUint(v.Uint(), 10), v.Uint() <= safeInteger)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		safe := -safeInteger <= v.Int() && v.Int() <= safeInteger
		return canonicalInteger("$int", strconv.FormatInt(v.Int(), 10), safe)
	default:
		panic("no canonical text for a " + v.Type().String())
	}
}

// safeInteger is the largest integer that readers of JSON with floats alone keep exact.
const safeInteger = 1 << 53

func canonicalInteger(tag, digits string, safe bool) string {
	if safe {
		return digits
	}
	return `{"` + tag + `":"` + digits + `"}`
}

func canonicalText(text string) string {
	if !utf8.ValidString(text) {
		return `{"$str":"` + hex.EncodeToString([]byte(text)) + `"}`
	}
	quoted := new(strings.Builder)
	encoder := json.NewEncoder(quoted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err) // A string can always be encoded.
	}
	return strings.TrimSuffix(quoted.String(), "\n")
}

// bits tells 0 from -0, but not one NaN from another: the payload is the processor's affair.
func bits(f float64) string {
	if math.IsNaN(f) {
		return "nan"
	}
	return fmt.Sprintf("%016x", math.Float64bits(f))
}
