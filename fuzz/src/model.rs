//! A gob sender of its own, which shares no code with `farcall-gob`: makes up types and values, and writes them with
//! the liberties that senders have, Go's way of splitting values included.

use arbitrary::{Arbitrary, Result, Unstructured};
use farcall_gob::{Complex, Dynamic, Opaque, Schema, Value};

/// A stream, and the values that it means.
#[derive(Debug)]
pub struct Stream {
    pub values: Vec<Value>,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Type {
    Bool,
    Int,
    Uint,
    Float,
    Bytes,
    String,
    Complex,
    Interface,
    Array(usize, usize),
    Slice(usize),
    Map(usize, usize),
    Struct(Vec<usize>),
    Opaque(Opaque),
}

/// The types that need no definition stand first, so that a type's place in the list up to here is its id less one.
const BASIC: [Type; 8] = [
    Type::Bool,
    Type::Int,
    Type::Uint,
    Type::Float,
    Type::Bytes,
    Type::String,
    Type::Complex,
    Type::Interface,
];

const DEPTH_MAX: usize = 12;

impl<'a> Arbitrary<'a> for Stream {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let types = types(u)?;
        let step = i64::from(u.int_in_range(1..=3_u8)?);
        let first = *u.choose(&[64, 65, 1_000, i64::from(i32::MAX) - 100])?;
        let mut sender = Sender {
            ids: (0..types.len() as i64)
                .map(|at| match at - BASIC.len() as i64 {
                    user if user >= 0 => first + step * user,
                    _ => at + 1,
                })
                .collect(),
            defined: types.iter().map(|_| false).collect(),
            done: vec![],
            message: vec![],
            parts_left: 2_000,
            types,
            u,
        };
        let mut values = vec![];
        for _ in 0..sender.u.int_in_range(1..=4_u8)? {
            let ty = sender.u.choose_index(sender.types.len())?;
            // Types are defined before the first value that needs them, or before that.
            sender.define_with_parts(ty)?;
            if sender.u.ratio(1, 4)? {
                let other = sender.u.choose_index(sender.types.len())?;
                sender.define_with_parts(other)?;
            }
            sender.put_int(sender.ids[ty]);
            values.push(sender.top(ty, 0)?);
            sender.end_message();
        }
        Ok(Self {
            values,
            bytes: sender.done,
        })
    }
}

fn types(u: &mut Unstructured<'_>) -> Result<Vec<Type>> {
    let mut types = BASIC.to_vec();
    let count = types.len() + usize::from(u.int_in_range(0..=8_u8)?);
    while types.len() < count {
        // An array holds earlier types only, or it could hold itself.
        let earlier = u.choose_index(types.len())?;
        let any = u.choose_index(count)?;
        let ty = match u.int_in_range(0..=6_u8)? {
            0 => Type::Array(earlier, u.int_in_range(0..=3)?),
            1 => Type::Slice(any),
            2 => Type::Map(any, u.choose_index(count)?),
            3 => Type::Opaque(*u.choose(&[Opaque::Gob, Opaque::Binary, Opaque::Text])?),
            _ => {
                let fields = u.int_in_range(0..=5_u8)?;
                let fields = (0..fields).map(|_| u.choose_index(count));
                Type::Struct(fields.collect::<Result<_>>()?)
            }
        };
        types.push(ty);
    }
    Ok(types)
}

struct Sender<'u, 'a> {
    u: &'u mut Unstructured<'a>,
    types: Vec<Type>,
    ids: Vec<i64>,
    defined: Vec<bool>,
    done: Vec<u8>,
    message: Vec<u8>,
    /// Keeps the values small.
    parts_left: usize,
}

impl Sender<'_, '_> {
    fn put_uint(&mut self, value: u64) {
        put_uint(&mut self.message, value);
    }

    fn put_int(&mut self, value: i64) {
        self.put_uint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A number in one of the forms that readers take: senders need not find the shortest.
    fn put_count(&mut self, value: usize) -> Result<()> {
        if self.u.ratio(1, 16)? {
            self.message.push(0_u8.wrapping_sub(8));
            self.message
                .extend_from_slice(&(value as u64).to_be_bytes());
        } else {
            self.put_uint(value as u64);
        }
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.put_count(bytes.len())?;
        self.message.extend_from_slice(bytes);
        Ok(())
    }

    fn end_message(&mut self) {
        put_uint(&mut self.done, self.message.len() as u64);
        self.done.append(&mut self.message);
    }

    fn define_with_parts(&mut self, ty: usize) -> Result<()> {
        for ty in self.undefined(ty) {
            let definition = self.definition(ty);
            self.message.extend_from_slice(&definition);
            self.end_message();
        }
        Ok(())
    }

    /// A type and all that it is made of, as far as the receiver does not know it yet; marked as known.
    fn undefined(&mut self, ty: usize) -> Vec<usize> {
        let (mut todo, mut new) = (vec![ty], vec![]);
        while let Some(ty) = todo.pop() {
            if ty < BASIC.len() || std::mem::replace(&mut self.defined[ty], true) {
                continue;
            }
            new.push(ty);
            match &self.types[ty] {
                Type::Array(elem, _) | Type::Slice(elem) => todo.push(*elem),
                Type::Map(key, elem) => todo.extend([*key, *elem]),
                Type::Struct(fields) => todo.extend(fields),
                _ => {}
            }
        }
        new
    }

    fn definition(&self, ty: usize) -> Vec<u8> {
        let int = |out: &mut Vec<u8>, value: i64| {
            put_uint(out, ((value << 1) ^ (value >> 63)) as u64);
        };
        let mut out = vec![];
        int(&mut out, -self.ids[ty]);
        let arm = match &self.types[ty] {
            Type::Array(..) => 1,
            Type::Slice(_) => 2,
            Type::Struct(_) => 3,
            Type::Map(..) => 4,
            Type::Opaque(Opaque::Gob) => 5,
            Type::Opaque(Opaque::Binary) => 6,
            Type::Opaque(Opaque::Text) => 7,
            _ => unreachable!("basic types are known"),
        };
        // The common part without a name: a step of two, to the id.
        out.extend_from_slice(&[arm, 1, 2]);
        int(&mut out, self.ids[ty]);
        out.push(0);
        match &self.types[ty] {
            Type::Array(elem, len) => {
                out.push(1);
                int(&mut out, self.ids[*elem]);
                if *len > 0 {
                    out.push(1);
                    int(&mut out, *len as i64);
                }
            }
            Type::Slice(elem) => {
                out.push(1);
                int(&mut out, self.ids[*elem]);
            }
            Type::Map(key, elem) => {
                out.push(1);
                int(&mut out, self.ids[*key]);
                out.push(1);
                int(&mut out, self.ids[*elem]);
            }
            Type::Struct(fields) if !fields.is_empty() => {
                out.push(1);
                put_uint(&mut out, fields.len() as u64);
                for (number, field) in fields.iter().enumerate() {
                    let name = field_name(number);
                    out.push(1);
                    put_uint(&mut out, name.len() as u64);
                    out.extend_from_slice(name.as_bytes());
                    out.push(1);
                    int(&mut out, self.ids[*field]);
                    out.push(0);
                }
            }
            _ => {}
        }
        out.extend_from_slice(&[0, 0]);
        out
    }

    /// The value of a message or an interface.
    fn top(&mut self, ty: usize, depth: usize) -> Result<Value> {
        if !matches!(self.types[ty], Type::Struct(_)) {
            self.message.push(0);
        }
        self.value(ty, depth)
    }

    fn value(&mut self, ty: usize, depth: usize) -> Result<Value> {
        self.parts_left = self.parts_left.saturating_sub(1);
        Ok(match self.types[ty].clone() {
            Type::Bool => {
                let value = self.u.arbitrary()?;
                self.put_uint(u64::from(value));
                Value::Bool(value)
            }
            Type::Int => {
                let value = self.u.arbitrary::<i64>()? >> self.u.int_in_range(0..=63_u8)?;
                self.put_int(value);
                Value::Int(value)
            }
            Type::Uint => {
                let value = self.u.arbitrary::<u64>()? >> self.u.int_in_range(0..=63_u8)?;
                self.put_uint(value);
                Value::Uint(value)
            }
            Type::Float => Value::Float(self.float()?),
            Type::Complex => Value::Complex(Box::new(Complex {
                re: self.float()?,
                im: self.float()?,
            })),
            Type::Bytes => Value::Bytes(self.bytes()?.into()),
            Type::String => Value::String(self.bytes()?.into()),
            Type::Opaque(how) => Value::Opaque(how, self.bytes()?.into()),
            Type::Array(elem, len) => {
                self.put_count(len)?;
                let items = (0..len).map(|_| self.value(elem, depth + 1));
                Value::List(items.collect::<Result<_>>()?)
            }
            Type::Slice(elem) => {
                let len = self.len(depth)?;
                self.put_count(len)?;
                let items = (0..len).map(|_| self.value(elem, depth + 1));
                Value::List(items.collect::<Result<_>>()?)
            }
            Type::Map(key, elem) => {
                let len = self.len(depth)?;
                self.put_count(len)?;
                let pairs = (0..len)
                    .map(|_| Ok((self.value(key, depth + 1)?, self.value(elem, depth + 1)?)));
                Value::Map(pairs.collect::<Result<_>>()?)
            }
            Type::Struct(fields) => {
                let (mut sent, mut last) = (vec![], 0);
                for (number, field) in fields.into_iter().enumerate() {
                    if self.is_full(depth) || self.u.ratio(1, 3)? {
                        continue;
                    }
                    self.put_count(number + 1 - last)?;
                    last = number + 1;
                    sent.push((field_name(number).into(), self.value(field, depth + 1)?));
                }
                self.put_uint(0);
                Value::Struct(sent.into())
            }
            Type::Interface => self.interface(depth)?,
        })
    }

    fn interface(&mut self, depth: usize) -> Result<Value> {
        if self.is_full(depth) || self.u.ratio(1, 4)? {
            self.put_uint(0);
            return Ok(Value::Interface(None));
        }
        let ty = self.u.choose_index(self.types.len())?;
        let name = *self.u.choose(&["int", "main.T", "*a/b.C", "é"])?;
        self.put_bytes(name.as_bytes())?;
        for new in self.undefined(ty) {
            let definition = self.definition(new);
            self.message.extend_from_slice(&definition);
            // Go ends the message, or inside an interface begins anew with a count. Receivers must take both.
            if self.u.ratio(1, 2)? {
                self.end_message();
            } else {
                let count = self.u.int_in_range(0..=300_u16)?;
                self.put_count(count.into())?;
            }
        }
        self.put_int(self.ids[ty]);
        // The count tells nothing if definitions follow inside, so receivers must not rely on it.
        let count = self.u.int_in_range(0..=300_u16)?;
        self.put_count(count.into())?;
        let value = self.top(ty, depth + 1)?;
        Ok(Value::Interface(Some(Box::new(Dynamic {
            name: name.into(),
            // Not part of the text by which values are compared.
            schema: Schema::of::<()>(),
            value,
        }))))
    }

    fn is_full(&self, depth: usize) -> bool {
        depth >= DEPTH_MAX || self.parts_left == 0
    }

    fn len(&mut self, depth: usize) -> Result<usize> {
        if self.is_full(depth) {
            return Ok(0);
        }
        self.u.int_in_range(0..=5)
    }

    fn float(&mut self) -> Result<f64> {
        let value: f64 = self.u.arbitrary()?;
        self.put_uint(value.to_bits().swap_bytes());
        Ok(value)
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let bytes: Vec<u8> = self.u.arbitrary()?;
        self.put_bytes(&bytes)?;
        Ok(bytes)
    }
}

fn field_name(number: usize) -> String {
    format!("F{number}")
}

fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        return out.push(value as u8);
    }
    let bytes = value.to_be_bytes();
    let skip = value.leading_zeros() as usize / 8;
    out.push(0_u8.wrapping_sub(8 - skip as u8));
    out.extend_from_slice(&bytes[skip..]);
}
