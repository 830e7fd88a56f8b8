package main

// The services every server here offers, the same ones as `farcall demo-server`: Arith, Foo and Echo. Not here: Kinds
// (kinds.go), which exists for the tests alone.

import (
	"errors"
	"time"
)

// everyService is what a server registers.
func everyService() []any {
	return []any{new(Arith), new(Foo), new(Echo), new(Kinds)}
}

// Arith is arithmetic on two operands.
type Arith struct{}

// Operands are the arguments of Arith.
type Operands struct{ A, B int }

// Quotient is the reply of Arith.Divide.
type Quotient struct{ Quo, Rem int }

// Multiply answers A * B.
func (*Arith) Multiply(args Operands, reply *int) error {
	*reply = args.A * args.B
	return nil
}

// Divide answers A / B and the remainder, or an error if B is 0.
func (*Arith) Divide(args Operands, reply *Quotient) error {
	if args.B == 0 {
		return errors.New("divide by zero")
	}
	*reply = Quotient{Quo: args.A / args.B, Rem: args.A % args.B}
	return nil
}

// Foo adds numbers, at once or late.
type Foo struct{}

// Pair is the argument of Foo's methods.
type Pair struct{ Num1, Num2 int }

// Sum answers Num1 + Num2.
func (*Foo) Sum(args Pair, reply *int) error {
	*reply = args.Num1 + args.Num2
	return nil
}

// Sleep answers Num1 + Num2 after Num1 seconds.
func (*Foo) Sleep(args Pair, reply *int) error {
	time.Sleep(time.Duration(args.Num1) * time.Second)
	*reply = args.Num1 + args.Num2
	return nil
}

// Echo answers what it is given.
type Echo struct{}

// Echo answers the same bytes.
func (*Echo) Echo(args []byte, reply *[]byte) error {
	*reply = args
	return nil
}

// String answers the same text.
func (*Echo) String(args string, reply *string) error {
	*reply = args
	return nil
}
