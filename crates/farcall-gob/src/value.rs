//! Values whose types are known only at run time: the tree, how it is read and how it is written.
//! Its text forms are in `canonical` and `json`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::describe::Describer;
use crate::error::{Error, ErrorKind};
use crate::gob::Gob;
use crate::impls::Complex;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::{Field, Kind, NodeId, Opaque, Schema};
use crate::write::Writer;

/// A value as it is on the wire, whatever its type.
///
/// Two words wide, so that a list of small numbers stays small: what is larger is behind a [`Thin`].
///
/// As a field of your own type, it is an interface: Go's `any`. It then holds a [`Value::Interface`], and the values of
/// simple kinds may also be put there as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A `bool`.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// A float of any width.
    Float(f64),
    /// A complex number of any width: its real and its imaginary part.
    Complex(Box<Complex>),
    /// A string, which need not be UTF-8 in Go.
    String(Thin<u8>),
    /// A `[]byte`.
    Bytes(Thin<u8>),
    /// A slice or an array.
    List(Thin<Value>),
    /// A map's pairs, in the order in which they came.
    Map(Thin<(Value, Value)>),
    /// The fields of a struct that were sent, in the order of their numbers. The others are zero.
    Struct(Thin<(Arc<str>, Value)>),
    /// What a type with an encoding of its own made of itself.
    Opaque(Opaque, Thin<u8>),
    /// What an interface holds, or `None` for nil.
    Interface(Option<Box<Dynamic>>),
}

/// What an interface holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dynamic {
    /// The name under which the type is registered with Go's `gob.Register`.
    pub name: Arc<str>,
    /// The type.
    pub schema: Schema,
    /// The value.
    pub value: Value,
}

impl Value {
    /// The text of a string, with U+FFFD for what is not UTF-8.
    pub fn as_str(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::String(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    /// A struct's field, if it was sent.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields
                .iter()
                .find(|(n, _)| **n == *name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The kind, as error texts call it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Uint(_) => "a uint",
            Self::Float(_) => "a float",
            Self::Complex(_) => "a complex",
            Self::String(_) => "a string",
            Self::Bytes(_) => "a []byte",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Struct(_) => "a struct",
            Self::Opaque(..) => "the bytes of a type that encodes itself",
            Self::Interface(_) => "an interface",
        }
    }

    /// Name and type for an interface, if the value is of a kind that has one name only.
    fn basic_type(&self) -> Option<(&'static str, NodeId)> {
        Some(match self {
            Self::Bool(_) => ("bool", NodeId::BOOL),
            Self::Int(_) => ("int", NodeId::INT),
            Self::Uint(_) => ("uint", NodeId::UINT),
            Self::Float(_) => ("float64", NodeId::FLOAT),
            Self::Complex(_) => ("complex128", NodeId::COMPLEX),
            Self::String(_) => ("string", NodeId::STRING),
            Self::Bytes(_) => ("[]uint8", NodeId::BYTES),
            _ => return None,
        })
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.as_bytes().to_vec().into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into_bytes().into())
    }
}

/// A `Vec` that is one word wide, and takes no memory while it is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::box_collection,
    reason = "a Vec is three words wide, and this must be one"
)]
pub struct Thin<T>(Option<Box<Vec<T>>>);

impl<T> Thin<T> {
    /// The elements as a `Vec`.
    pub fn into_vec(self) -> Vec<T> {
        self.0.map_or_else(Vec::new, |list| *list)
    }
}

impl<T> Default for Thin<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> From<Vec<T>> for Thin<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl<T> FromIterator<T> for Thin<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<T> Deref for Thin<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| list)
    }
}

impl<T> DerefMut for Thin<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], |list| list)
    }
}

impl<T> IntoIterator for Thin<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Thin<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Thin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads values guided by their sender's types alone.
pub(crate) struct ValueReader<'r, 'a> {
    r: &'r mut Reader<'a>,
}

impl<'r, 'a> ValueReader<'r, 'a> {
    pub(crate) fn new(r: &'r mut Reader<'a>) -> Self {
        Self { r }
    }

    /// The value of a message or an interface.
    pub(crate) fn top(&mut self, slot: NodeId) -> Result<Value, Error> {
        if !self.r.is_struct(slot) {
            self.r.cur.not_a_struct()?;
        }
        self.value(slot)
    }

    // One function for each kind that nests, and none of them inlined: in slow builds, a function's stack is that of
    // all its branches together.
    fn value(&mut self, slot: NodeId) -> Result<Value, Error> {
        let node = self.r.node(slot)?;
        match &node.kind {
            &Kind::Slice { elem } => self.list(elem, None),
            &Kind::Array { elem, len } => self.list(elem, Some(len)),
            &Kind::Map { key, elem } => self.map(key, elem),
            Kind::Struct { fields } => self.structure(fields),
            Kind::Interface => self.interface(),
            simple => self.simple(simple),
        }
    }

    #[inline(never)]
    fn simple(&mut self, kind: &Kind) -> Result<Value, Error> {
        Ok(match kind {
            Kind::Bool => Value::Bool(self.r.uint()? != 0),
            Kind::Int => Value::Int(self.r.int()?),
            Kind::Uint => Value::Uint(self.r.uint()?),
            Kind::Float => Value::Float(self.r.float()?),
            Kind::Complex => {
                self.r.charge(size_of::<Complex>())?;
                Value::Complex(Box::new(Complex {
                    re: self.r.float()?,
                    im: self.r.float()?,
                }))
            }
            Kind::Bytes => Value::Bytes(self.bytes()?),
            Kind::String => Value::String(self.bytes()?),
            Kind::Opaque(how) => Value::Opaque(*how, self.bytes()?),
            _ => return Err(Error::corrupt("a kind of type that cannot be here")),
        })
    }

    #[inline(never)]
    fn map(&mut self, key: NodeId, elem: NodeId) -> Result<Value, Error> {
        let count = self.r.elements(2)?;
        self.charge_thin::<(Value, Value)>(count)?;
        let mut pairs = Vec::with_capacity(count);
        self.r.enter()?;
        for _ in 0..count {
            let key = self.value(key).map_err(Error::in_element)?;
            pairs.push((key, self.value(elem).map_err(Error::in_element)?));
        }
        self.r.leave();
        Ok(Value::Map(pairs.into()))
    }

    #[inline(never)]
    fn interface(&mut self) -> Result<Value, Error> {
        match self.r.interface()? {
            Some((name, slot)) => self.dynamic(name, slot),
            None => Ok(Value::Interface(None)),
        }
    }

    /// What an interface holds.
    pub(crate) fn dynamic(&mut self, name: &str, slot: NodeId) -> Result<Value, Error> {
        self.r
            .charge(size_of::<Dynamic>() + name.len() + 2 * size_of::<usize>())?;
        let schema = self.r.schema(slot)?;
        self.r.enter()?;
        let value = self
            .top(slot)
            .map_err(|e| e.in_field(&format!("({name})")))?;
        self.r.leave();
        Ok(Value::Interface(Some(Box::new(Dynamic {
            name: name.into(),
            schema,
            value,
        }))))
    }

    fn bytes(&mut self) -> Result<Thin<u8>, Error> {
        let bytes = self.r.bytes()?;
        self.charge_thin::<u8>(bytes.len().min(1))?;
        Ok(bytes.to_vec().into())
    }

    #[inline(never)]
    fn list(&mut self, elem: NodeId, len: Option<usize>) -> Result<Value, Error> {
        let count = self.r.elements(1)?;
        if let Some(len) = len.filter(|&len| len != count) {
            return Err(self
                .r
                .cur
                .corrupt(format!("an array of {len} elements comes with {count}")));
        }
        self.charge_thin::<Value>(count)?;
        let mut items = Vec::with_capacity(count);
        self.r.enter()?;
        for _ in 0..count {
            items.push(self.value(elem).map_err(Error::in_element)?);
        }
        self.r.leave();
        Ok(Value::List(items.into()))
    }

    #[inline(never)]
    fn structure(&mut self, fields: &[Field]) -> Result<Value, Error> {
        self.r.enter()?;
        let mut sent: Vec<(Arc<str>, Value)> = Vec::new();
        let mut next = 0;
        while let Some(field) = self.next_field(fields, &mut next)? {
            if sent.len() == sent.capacity() {
                self.grow(&mut sent, fields.len())?;
            }
            match self.value(field.ty) {
                Ok(value) => sent.push((field.name.clone(), value)),
                Err(error) => return Err(error.in_field(&field.name)),
            }
        }
        self.r.leave();
        Ok(Value::Struct(sent.into()))
    }

    #[inline]
    fn next_field<'f>(
        &mut self,
        fields: &'f [Field],
        next: &mut usize,
    ) -> Result<Option<&'f Field>, Error> {
        let at = self.r.cur;
        let delta = self.r.uint()?;
        if delta == 0 {
            return Ok(None);
        }
        let number = usize::try_from(delta)
            .ok()
            .and_then(|delta| next.checked_add(delta));
        match number.and_then(|number| Some((number, fields.get(number - 1)?))) {
            Some((number, field)) => {
                *next = number;
                Ok(Some(field))
            }
            None => Err(at.no_such_field(fields.len())),
        }
    }

    /// Counted each time, since the old and the new place are there together for a moment.
    #[inline(never)]
    fn grow(&mut self, sent: &mut Vec<(Arc<str>, Value)>, fields: usize) -> Result<(), Error> {
        let capacity = (2 * sent.capacity()).clamp(1, fields.max(1));
        self.charge_thin::<(Arc<str>, Value)>(capacity)?;
        sent.reserve_exact(capacity - sent.len());
        Ok(())
    }

    fn charge_thin<T>(&mut self, count: usize) -> Result<(), Error> {
        match count {
            0 => Ok(()),
            _ => self.r.charge(
                count
                    .saturating_mul(size_of::<T>())
                    .saturating_add(size_of::<Vec<T>>()),
            ),
        }
    }
}

/// Writes a value of the type `id` of `schema`.
pub(crate) fn put_value(
    value: &Value,
    schema: &Schema,
    id: NodeId,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    match (value, &schema.node(id).kind) {
        (Value::Bool(value), Kind::Bool) => w.uint((*value).into()),
        (Value::Int(value), Kind::Int) => w.int(*value),
        (Value::Uint(value), Kind::Uint) => w.uint(*value),
        (Value::Float(value), Kind::Float) => w.float(*value),
        (Value::Complex(parts), Kind::Complex) => {
            w.float(parts.re);
            w.float(parts.im);
        }
        (Value::Bytes(bytes), Kind::Bytes) | (Value::String(bytes), Kind::String) => w.bytes(bytes),
        (Value::Opaque(how, bytes), Kind::Opaque(kind)) if how == kind => w.bytes(bytes),
        (Value::List(items), &Kind::Slice { elem }) => put_items(items, schema, elem, w)?,
        (Value::List(items), &Kind::Array { elem, len }) => {
            if items.len() != len {
                return Err(unsupported(format!(
                    "a list of {} elements where the type has {len}",
                    items.len()
                )));
            }
            put_items(items, schema, elem, w)?;
        }
        (Value::Map(pairs), &Kind::Map { key, elem }) => {
            w.uint(pairs.len() as u64);
            w.enter()?;
            for (k, v) in pairs {
                put_value(k, schema, key, w).map_err(Error::in_element)?;
                put_value(v, schema, elem, w).map_err(Error::in_element)?;
            }
            w.leave();
        }
        (Value::Struct(sent), Kind::Struct { fields }) => {
            w.enter()?;
            let mut last = 0;
            for (name, value) in sent {
                // They are in the order of their numbers, unless the sender is confused.
                let found = fields
                    .iter()
                    .enumerate()
                    .skip(last)
                    .find(|(_, field)| field.name == *name);
                let Some((number, field)) = found else {
                    return Err(
                        unsupported("the struct has no such field, or it comes too late")
                            .in_field(name),
                    );
                };
                w.uint((number + 1 - last) as u64);
                last = number + 1;
                put_value(value, schema, field.ty, w).map_err(|e| e.in_field(name))?;
            }
            w.end();
            w.leave();
        }
        (value, Kind::Interface) => put_interface(value, w)?,
        (value, _) => {
            return Err(unsupported(format!(
                "{} is given where the type has {}",
                value.kind(),
                schema.node(id).in_short()
            )));
        }
    }
    Ok(())
}

fn put_items(
    items: &[Value],
    schema: &Schema,
    elem: NodeId,
    w: &mut Writer<'_>,
) -> Result<(), Error> {
    w.uint(items.len() as u64);
    w.enter()?;
    for item in items {
        put_value(item, schema, elem, w).map_err(Error::in_element)?;
    }
    w.leave();
    Ok(())
}

fn put_interface(value: &Value, w: &mut Writer<'_>) -> Result<(), Error> {
    match value {
        Value::Interface(None) => {
            w.end(); // No name.
            Ok(())
        }
        Value::Interface(Some(dynamic)) => {
            let Dynamic {
                name,
                schema,
                value,
            } = &**dynamic;
            w.enter()?;
            let ty = w.schema_type(schema);
            w.interface(name, ty, |w| put_value(value, schema, schema.root(), w))
                .map_err(|e| e.in_field(&format!("({name})")))?;
            w.leave();
            Ok(())
        }
        simple => match simple.basic_type() {
            Some((name, id)) => {
                let schema = Schema::basic(id);
                let ty = w.schema_type(&schema);
                w.interface(name, ty, |w| put_value(simple, &schema, id, w))
            }
            None => Err(unsupported(format!(
                "{} in an interface needs a name and a type: wrap it in a Value::Interface",
                simple.kind()
            ))),
        },
    }
}

#[cold]
fn unsupported(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

/// Go's `any`.
impl Gob for Value {
    fn describe(_: &mut Describer) -> NodeId {
        NodeId::INTERFACE
    }

    fn zero() -> Option<Self> {
        Some(Self::Interface(None))
    }

    fn is_left_out(&self) -> bool {
        matches!(self, Self::Interface(None))
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        put_interface(self, w)
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        ValueReader::new(r).value(NodeId::INTERFACE)
    }
}

// A tag and a word: the memory limits of untyped values rely on it.
const _: () = assert!(size_of::<Value>() == 2 * size_of::<u64>());
