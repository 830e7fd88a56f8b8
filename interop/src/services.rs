//! The services that every Go server here offers, as an ordinary Rust program would write them: Arith, Foo, Echo, and
//! Kinds with a method for each kind of value. `interop/go` has the same ones in `services.go` and `kinds.go`, which
//! tell what each method does with its value. Not here: the values that are tried (`tests/it`).

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Not;
use std::time::Duration;

use farcall::{Error, Gob, Limits, Result, Server, ServerBuilder, message, service};
use farcall_gob::{Complex, Opaque, SelfEncoded, self_encoded};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};

/// A server with all of them, and with room for the largest values of the tests.
pub fn server() -> ServerBuilder {
    Server::builder()
        .register(Calculator.into_service())
        .register(Adder.into_service())
        .register(Parrot.into_service())
        .register(EveryKind.into_service())
        .limits(limits())
}

/// Room for the largest values of the tests: 4 MiB, which JSON makes a third longer.
pub fn limits() -> Limits {
    Limits {
        message_len_max: 16 << 20,
        ..Limits::default()
    }
}

/// The arguments of [`Arith`].
#[message]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operands {
    /// The first.
    pub a: i64,
    /// The second.
    pub b: i64,
}

/// The reply of [`Arith::divide`].
#[message]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quotient {
    /// How often the second operand fits.
    pub quo: i64,
    /// What is left.
    pub rem: i64,
}

/// Arithmetic on two operands.
#[service]
pub trait Arith {
    /// Answers A * B.
    async fn multiply(&self, args: Operands) -> Result<i64>;
    /// Answers A / B and the remainder, or an error if B is 0.
    async fn divide(&self, args: Operands) -> Result<Quotient>;
}

struct Calculator;

impl Arith for Calculator {
    async fn multiply(&self, Operands { a, b }: Operands) -> Result<i64> {
        Ok(a.wrapping_mul(b))
    }

    async fn divide(&self, Operands { a, b }: Operands) -> Result<Quotient> {
        match (a.checked_div(b), a.checked_rem(b)) {
            (Some(quo), Some(rem)) => Ok(Quotient { quo, rem }),
            _ => Err("divide by zero".into()),
        }
    }
}

/// The argument of [`Foo`]'s methods.
#[message]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The first.
    pub num1: i64,
    /// The second.
    pub num2: i64,
}

/// Adds numbers, at once or late.
#[service]
pub trait Foo {
    /// Answers Num1 + Num2.
    async fn sum(&self, args: Pair) -> Result<i64>;
    /// Answers Num1 + Num2 after Num1 seconds.
    async fn sleep(&self, args: Pair) -> Result<i64>;
}

struct Adder;

impl Foo for Adder {
    async fn sum(&self, Pair { num1, num2 }: Pair) -> Result<i64> {
        Ok(num1.wrapping_add(num2))
    }

    async fn sleep(&self, args: Pair) -> Result<i64> {
        let seconds = u64::try_from(args.num1).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.sum(args).await
    }
}

/// Answers what it is given.
#[service]
pub trait Echo {
    /// Answers the same bytes.
    async fn echo(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;
    /// Answers the same text.
    async fn string(&self, text: String) -> Result<String>;
}

struct Parrot;

impl Echo for Parrot {
    async fn echo(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    async fn string(&self, text: String) -> Result<String> {
        Ok(text)
    }
}

/// The smallest struct that shows an order.
#[message]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: i64,
    /// Upwards.
    pub y: i64,
}

/// Nests structs.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Line {
    pub from: Point,
    pub to: Point,
    pub label: String,
}

/// Go's pointers, which may be nil.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Optional {
    pub int: Option<i64>,
    pub text: Option<String>,
    pub ratio: Option<f64>,
    pub point: Option<Point>,
}

/// Recursive through a list.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Tree {
    pub value: i64,
    pub children: Vec<Tree>,
}

/// Recursive through a pointer.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Node {
    pub value: i64,
    pub next: Option<Box<Node>>,
}

/// In Go it embeds a Point; in gob that is a field of this name.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Circle {
    pub point: Point,
    pub radius: i64,
}

/// Times in fields.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Event {
    pub name: String,
    pub at: Time,
    /// Go's `time.Duration`, which may be negative.
    pub took: i64,
}

/// No fields.
#[message]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Empty {}

/// Go's `[][]byte`, whose elements are base64 in JSON.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByteSlices(pub Vec<Vec<u8>>);

/// Complex numbers, in fields and in a list.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Complexes {
    pub narrow: Complex,
    pub wide: Complex,
    pub list: Vec<Complex>,
}

/// A field of each kind that both gob and JSON can say.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Everything {
    pub bool: bool,
    pub int: i64,
    pub int8: i8,
    pub int16: i16,
    pub int32: i32,
    pub int64: i64,
    pub uint: u64,
    pub uint8: u8,
    pub uint16: u16,
    pub uint32: u32,
    pub uint64: u64,
    pub float32: f32,
    pub float64: f64,
    pub string: String,
    pub bytes: Vec<u8>,
    pub ints: Vec<i64>,
    pub strings: Vec<String>,
    pub points: Vec<Point>,
    pub map: HashMap<String, i64>,
    pub lists: HashMap<String, Vec<i64>>,
    pub array: [i64; 3],
    pub point: Point,
    pub pointer: Option<Point>,
    pub time: Time,
}

/// Go's interface values: of these types, or nil.
#[derive(Clone, Debug, Default, Gob, PartialEq, Serialize, Deserialize)]
#[gob(as = "interface")]
#[serde(untagged)]
#[expect(missing_docs, reason = "each says it all")]
pub enum Anything {
    #[default]
    Nil,
    #[gob(rename = "bool")]
    Bool(bool),
    #[gob(rename = "int")]
    Int(i64),
    #[gob(rename = "float64")]
    Float(f64),
    #[gob(rename = "string")]
    Text(String),
    #[gob(rename = "[]uint8")]
    Bytes(Vec<u8>),
    /// The name under which the Go programs register theirs.
    #[gob(rename = "farcall.test/interop.Point")]
    Point(Point),
}

/// Interface values in a field and in a list.
#[message]
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "made-up members")]
pub struct Boxed {
    pub value: Anything,
    pub list: Vec<Anything>,
}

/// Go's `time.Time` with its zone, as a type of this program's own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

/// Seconds from Go's zero time to 1970.
const BEFORE_1970: i64 = 62_135_596_800;

impl Default for Time {
    /// Go's zero time, January 1 of the year 1.
    fn default() -> Time {
        let first = OffsetDateTime::from_unix_timestamp(-BEFORE_1970);
        Time(first.unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }
}

impl PartialEq for Time {
    /// The same moment in the same zone.
    fn eq(&self, other: &Time) -> bool {
        self.0 == other.0 && self.0.offset() == other.0.offset()
    }
}

impl SelfEncoded for Time {
    const HOW: Opaque = Opaque::Gob;
    const NAME: &'static str = "Time";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), farcall_gob::Error> {
        let Time(time) = self;
        let zone = time.offset().whole_seconds();
        // UTC has a number of its own, which no other zone has.
        let minutes = match zone {
            0 => -1,
            zone => zone / 60,
        };
        let odd_seconds = (zone % 60) as i8;
        out.push(if odd_seconds == 0 { 1 } else { 2 });
        out.extend((time.unix_timestamp() + BEFORE_1970).to_be_bytes());
        out.extend(time.nanosecond().to_be_bytes());
        out.extend((minutes as i16).to_be_bytes());
        if odd_seconds != 0 {
            out.extend(odd_seconds.to_be_bytes());
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Time, farcall_gob::Error> {
        let parts = || {
            let (version, rest) = bytes.split_first()?;
            let (seconds, rest) = rest.split_first_chunk()?;
            let (nanos, rest) = rest.split_first_chunk()?;
            let (minutes, rest) = rest.split_first_chunk()?;
            let odd_seconds = match (version, rest) {
                (1, []) => 0,
                (2, &[seconds]) => i32::from(seconds as i8),
                _ => return None,
            };
            let zone = match (i16::from_be_bytes(*minutes), odd_seconds) {
                (-1, 0) => 0,
                (minutes, odd_seconds) => i32::from(minutes) * 60 + odd_seconds,
            };
            let unix = i64::from_be_bytes(*seconds).checked_sub(BEFORE_1970)?;
            let time = OffsetDateTime::from_unix_timestamp(unix).ok()?;
            let time = time.replace_nanosecond(u32::from_be_bytes(*nanos)).ok()?;
            time.checked_to_offset(UtcOffset::from_whole_seconds(zone).ok()?)
        };
        parts().map(Time).ok_or_else(|| {
            farcall_gob::Error::refused("these are not the bytes of a time.Time before 10000 AD")
        })
    }

    fn zero() -> Option<Time> {
        Some(Time::default())
    }

    fn is_left_out(&self) -> bool {
        *self == Time::default()
    }
}

self_encoded!(Time);

/// A method for each kind of value. Each answers with a changed value of the same kind.
#[service]
#[expect(missing_docs, reason = "kinds.go has one rule for all")]
pub trait Kinds {
    async fn bool(&self, v: bool) -> Result<bool>;
    async fn int(&self, v: i64) -> Result<i64>;
    async fn int8(&self, v: i8) -> Result<i8>;
    async fn int16(&self, v: i16) -> Result<i16>;
    async fn int32(&self, v: i32) -> Result<i32>;
    async fn int64(&self, v: i64) -> Result<i64>;
    async fn uint(&self, v: u64) -> Result<u64>;
    async fn uint8(&self, v: u8) -> Result<u8>;
    async fn uint16(&self, v: u16) -> Result<u16>;
    async fn uint32(&self, v: u32) -> Result<u32>;
    async fn uint64(&self, v: u64) -> Result<u64>;
    async fn float32(&self, v: f32) -> Result<f32>;
    async fn float64(&self, v: f64) -> Result<f64>;
    async fn complex64(&self, v: Complex) -> Result<Complex>;
    async fn complex128(&self, v: Complex) -> Result<Complex>;
    async fn complexes(&self, v: Complexes) -> Result<Complexes>;
    async fn string(&self, v: String) -> Result<String>;
    async fn bytes(&self, v: Vec<u8>) -> Result<Vec<u8>>;
    async fn bools(&self, v: Vec<bool>) -> Result<Vec<bool>>;
    async fn ints(&self, v: Vec<i64>) -> Result<Vec<i64>>;
    async fn uints(&self, v: Vec<u64>) -> Result<Vec<u64>>;
    async fn floats(&self, v: Vec<f64>) -> Result<Vec<f64>>;
    async fn strings(&self, v: Vec<String>) -> Result<Vec<String>>;
    async fn points(&self, v: Vec<Point>) -> Result<Vec<Point>>;
    async fn matrix(&self, v: Vec<Vec<i64>>) -> Result<Vec<Vec<i64>>>;
    async fn byte_slices(&self, v: ByteSlices) -> Result<ByteSlices>;
    async fn array(&self, v: [i64; 4]) -> Result<[i64; 4]>;
    async fn byte_array(&self, v: [u8; 4]) -> Result<[u8; 4]>;
    async fn string_array(&self, v: [String; 2]) -> Result<[String; 2]>;
    async fn duration(&self, v: i64) -> Result<i64>;
    async fn map(&self, v: HashMap<String, i64>) -> Result<HashMap<String, i64>>;
    /// Answers a map from the values to the keys.
    async fn int_map(&self, v: HashMap<i64, String>) -> Result<HashMap<String, i64>>;
    async fn map_of_slices(
        &self,
        v: HashMap<String, Vec<i64>>,
    ) -> Result<HashMap<String, Vec<i64>>>;
    async fn map_of_structs(&self, v: HashMap<String, Point>) -> Result<HashMap<String, Point>>;
    async fn map_of_maps(
        &self,
        v: HashMap<String, HashMap<String, bool>>,
    ) -> Result<HashMap<String, HashMap<String, bool>>>;
    #[rpc(name = "Struct")]
    async fn structure(&self, v: Point) -> Result<Point>;
    async fn empty(&self, v: Empty) -> Result<Empty>;
    async fn nested(&self, v: Line) -> Result<Line>;
    async fn embedded(&self, v: Circle) -> Result<Circle>;
    async fn pointers(&self, v: Optional) -> Result<Optional>;
    async fn tree(&self, v: Tree) -> Result<Tree>;
    /// Answers the list backwards.
    async fn list(&self, v: Node) -> Result<Node>;
    async fn time(&self, v: Time) -> Result<Time>;
    async fn event(&self, v: Event) -> Result<Event>;
    async fn everything(&self, v: Everything) -> Result<Everything>;
    async fn any(&self, v: Boxed) -> Result<Boxed>;
    /// Fails with the text it is given.
    async fn fail(&self, text: String) -> Result<String>;
}

struct EveryKind;

impl Kinds for EveryKind {
    async fn bool(&self, v: bool) -> Result<bool> {
        Ok(!v)
    }

    async fn int(&self, v: i64) -> Result<i64> {
        Ok(!v)
    }

    async fn int8(&self, v: i8) -> Result<i8> {
        Ok(!v)
    }

    async fn int16(&self, v: i16) -> Result<i16> {
        Ok(!v)
    }

    async fn int32(&self, v: i32) -> Result<i32> {
        Ok(!v)
    }

    async fn int64(&self, v: i64) -> Result<i64> {
        Ok(!v)
    }

    async fn uint(&self, v: u64) -> Result<u64> {
        Ok(!v)
    }

    async fn uint8(&self, v: u8) -> Result<u8> {
        Ok(!v)
    }

    async fn uint16(&self, v: u16) -> Result<u16> {
        Ok(!v)
    }

    async fn uint32(&self, v: u32) -> Result<u32> {
        Ok(!v)
    }

    async fn uint64(&self, v: u64) -> Result<u64> {
        Ok(!v)
    }

    async fn float32(&self, v: f32) -> Result<f32> {
        Ok(v / 2.0)
    }

    async fn float64(&self, v: f64) -> Result<f64> {
        Ok(v / 2.0)
    }

    async fn complex64(&self, v: Complex) -> Result<Complex> {
        Ok(conjugate(v))
    }

    async fn complex128(&self, v: Complex) -> Result<Complex> {
        Ok(conjugate(v))
    }

    async fn complexes(&self, v: Complexes) -> Result<Complexes> {
        Ok(Complexes {
            narrow: conjugate(v.narrow),
            wide: conjugate(v.wide),
            list: backwards(v.list),
        })
    }

    async fn string(&self, v: String) -> Result<String> {
        Ok(reversed(&v))
    }

    async fn bytes(&self, v: Vec<u8>) -> Result<Vec<u8>> {
        Ok(backwards(v))
    }

    async fn bools(&self, v: Vec<bool>) -> Result<Vec<bool>> {
        Ok(backwards(v))
    }

    async fn ints(&self, v: Vec<i64>) -> Result<Vec<i64>> {
        Ok(backwards(v))
    }

    async fn uints(&self, v: Vec<u64>) -> Result<Vec<u64>> {
        Ok(backwards(v))
    }

    async fn floats(&self, v: Vec<f64>) -> Result<Vec<f64>> {
        Ok(backwards(v))
    }

    async fn strings(&self, v: Vec<String>) -> Result<Vec<String>> {
        Ok(backwards(v))
    }

    async fn points(&self, v: Vec<Point>) -> Result<Vec<Point>> {
        Ok(backwards(v))
    }

    async fn matrix(&self, v: Vec<Vec<i64>>) -> Result<Vec<Vec<i64>>> {
        Ok(backwards(v))
    }

    async fn byte_slices(&self, ByteSlices(v): ByteSlices) -> Result<ByteSlices> {
        Ok(ByteSlices(backwards(v)))
    }

    async fn array(&self, mut v: [i64; 4]) -> Result<[i64; 4]> {
        v.reverse();
        Ok(v)
    }

    async fn byte_array(&self, mut v: [u8; 4]) -> Result<[u8; 4]> {
        v.reverse();
        Ok(v)
    }

    async fn string_array(&self, mut v: [String; 2]) -> Result<[String; 2]> {
        v.reverse();
        Ok(v)
    }

    async fn duration(&self, v: i64) -> Result<i64> {
        Ok(!v)
    }

    async fn map(&self, v: HashMap<String, i64>) -> Result<HashMap<String, i64>> {
        Ok(mapped(v, i64::not))
    }

    async fn int_map(&self, v: HashMap<i64, String>) -> Result<HashMap<String, i64>> {
        Ok(v.into_iter().map(|(key, value)| (value, key)).collect())
    }

    async fn map_of_slices(
        &self,
        v: HashMap<String, Vec<i64>>,
    ) -> Result<HashMap<String, Vec<i64>>> {
        Ok(mapped(v, backwards))
    }

    async fn map_of_structs(&self, v: HashMap<String, Point>) -> Result<HashMap<String, Point>> {
        Ok(mapped(v, swapped))
    }

    async fn map_of_maps(
        &self,
        v: HashMap<String, HashMap<String, bool>>,
    ) -> Result<HashMap<String, HashMap<String, bool>>> {
        Ok(mapped(v, |inner| mapped(inner, bool::not)))
    }

    async fn structure(&self, v: Point) -> Result<Point> {
        Ok(swapped(v))
    }

    async fn empty(&self, v: Empty) -> Result<Empty> {
        Ok(v)
    }

    async fn nested(&self, v: Line) -> Result<Line> {
        Ok(Line {
            from: swapped(v.from),
            to: swapped(v.to),
            label: reversed(&v.label),
        })
    }

    async fn embedded(&self, v: Circle) -> Result<Circle> {
        Ok(Circle {
            point: swapped(v.point),
            radius: !v.radius,
        })
    }

    async fn pointers(&self, v: Optional) -> Result<Optional> {
        Ok(Optional {
            int: v.int.map(i64::not),
            text: v.text.as_deref().map(reversed),
            ratio: v.ratio.map(|ratio| ratio / 2.0),
            point: v.point.map(swapped),
        })
    }

    async fn tree(&self, v: Tree) -> Result<Tree> {
        Ok(mirrored(v))
    }

    async fn list(&self, v: Node) -> Result<Node> {
        let mut last = Node {
            value: v.value,
            next: None,
        };
        let mut rest = v.next;
        while let Some(node) = rest {
            last = Node {
                value: node.value,
                next: Some(Box::new(last)),
            };
            rest = node.next;
        }
        Ok(last)
    }

    async fn time(&self, v: Time) -> Result<Time> {
        an_hour_later(v)
    }

    async fn event(&self, v: Event) -> Result<Event> {
        Ok(Event {
            name: reversed(&v.name),
            at: an_hour_later(v.at)?,
            took: !v.took,
        })
    }

    async fn everything(&self, v: Everything) -> Result<Everything> {
        let mut array = v.array;
        array.reverse();
        Ok(Everything {
            bool: !v.bool,
            int: !v.int,
            int8: !v.int8,
            int16: !v.int16,
            int32: !v.int32,
            int64: !v.int64,
            uint: !v.uint,
            uint8: !v.uint8,
            uint16: !v.uint16,
            uint32: !v.uint32,
            uint64: !v.uint64,
            float32: v.float32 / 2.0,
            float64: v.float64 / 2.0,
            string: reversed(&v.string),
            bytes: backwards(v.bytes),
            ints: backwards(v.ints),
            strings: backwards(v.strings),
            points: backwards(v.points),
            map: mapped(v.map, i64::not),
            lists: mapped(v.lists, backwards),
            array,
            point: swapped(v.point),
            pointer: v.pointer.map(swapped),
            time: an_hour_later(v.time)?,
        })
    }

    async fn any(&self, v: Boxed) -> Result<Boxed> {
        Ok(Boxed {
            value: changed(v.value),
            list: v.list.into_iter().map(changed).collect(),
        })
    }

    async fn fail(&self, text: String) -> Result<String> {
        Err(Error::from(text))
    }
}

fn conjugate(Complex { re, im }: Complex) -> Complex {
    Complex { re, im: -im }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

fn backwards<T>(mut list: Vec<T>) -> Vec<T> {
    list.reverse();
    list
}

fn mapped<K: Eq + Hash, V>(map: HashMap<K, V>, change: impl Fn(V) -> V) -> HashMap<K, V> {
    map.into_iter()
        .map(|(key, value)| (key, change(value)))
        .collect()
}

fn swapped(Point { x, y }: Point) -> Point {
    Point { x: y, y: x }
}

/// The tree seen in a mirror: children backwards at every level, all bits of the values flipped.
fn mirrored(tree: Tree) -> Tree {
    Tree {
        value: !tree.value,
        children: tree.children.into_iter().rev().map(mirrored).collect(),
    }
}

fn an_hour_later(Time(time): Time) -> Result<Time> {
    let later = time.checked_add(time::Duration::HOUR);
    later.map(Time).ok_or_else(|| "the time is too late".into())
}

fn changed(value: Anything) -> Anything {
    match value {
        Anything::Nil => Anything::Nil,
        Anything::Bool(bool) => Anything::Bool(!bool),
        Anything::Int(int) => Anything::Int(!int),
        Anything::Float(float) => Anything::Float(float / 2.0),
        Anything::Text(text) => Anything::Text(reversed(&text)),
        Anything::Bytes(bytes) => Anything::Bytes(backwards(bytes)),
        Anything::Point(point) => Anything::Point(swapped(point)),
    }
}
