//! Types that have serde's traits and not this crate's: found out once what they are, by letting them read made-up
//! values, then written and read through those traits.

mod de;
mod ser;
mod trace;

use std::any::TypeId;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::describe::{Describer, IdHash};
use crate::error::{Error, ErrorKind};
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::{Field, Kind, NodeId};
use crate::write::Writer;

/// A type that has serde's traits, as a type that gob can send and receive.
///
/// ```
/// use farcall_gob::{Decoder, Encoder, Limits, Next, Schema, Serde};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct User {
///     user_id: u64,
///     tags: Vec<String>,
/// }
///
/// assert_eq!(Schema::of::<Serde<User>>().to_string(), "User{UserID uint; Tags []string}");
/// # let user = Serde(User { user_id: 1, tags: vec!["x".into()] });
/// # let mut out = vec![];
/// # Encoder::new().encode(&user, &mut out)?;
/// # let mut decoder = Decoder::new(Limits::default());
/// # let Next::Value { raw, .. } = decoder.next(&out)? else { panic!() };
/// # assert_eq!(decoder.decode::<Serde<User>>(raw)?, user);
/// # Ok::<(), farcall_gob::Error>(())
/// ```
///
/// What the type is made of is found out when it is first used, by letting it deserialize made-up values:
/// [`check`](Self::check) does so in advance. Names of fields that begin with a small letter are made Go's. Enums
/// without fields are strings. A field that was not sent is zero, whatever serde's `default` says.
///
/// `#[derive(Gob)]` is several times faster, refuses at compile time what this can only refuse at run time, and knows
/// more: `time.Time`, interfaces, unions. What cannot be adapted: enums whose variants hold something, `flatten`,
/// `untagged`, tuples of different types, `Option` in lists and maps, 128-bit integers, and types that refuse 0 or ""
/// when they deserialize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serde<T>(pub T);

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> {
    /// Finds out whether the type can be sent.
    ///
    /// # Errors
    /// If it cannot, with the path of the field and the reason.
    pub fn check() -> Result<(), Error> {
        match &traced::<T>().failure {
            None => Ok(()),
            Some(failure) => Err(failure.error()),
        }
    }
}

impl<T> From<T> for Serde<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

/// In other formats it is the value it holds.
impl<T: Serialize> Serialize for Serde<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Serde<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl<T> Deref for Serde<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Serde<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What a type is made of.
#[derive(Debug)]
struct Traced {
    shapes: Vec<Shape>,
    root: usize,
    failure: Option<Failure>,
}

/// Why a type cannot be sent.
#[derive(Debug)]
struct Failure {
    path: Vec<String>,
    what: String,
}

impl Failure {
    fn error(&self) -> Error {
        let error = Error::new(ErrorKind::Unsupported, self.what.clone());
        self.path
            .iter()
            .rev()
            .fold(error, |error, part| error.in_field(part))
    }
}

/// One type, whose parts are indices of others.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Bool,
    /// Signed, of so many bits.
    Int,
    Uint,
    Float {
        single: bool,
    },
    Char,
    Str,
    /// Also every list of `u8`.
    Bytes,
    /// A number of eight bits.
    Byte,
    /// An element of a list of those, which is the byte itself.
    Raw,
    Unit,
    Option(usize),
    Seq(usize),
    Array(usize, usize),
    Map(usize, usize),
    Struct {
        name: &'static str,
        fields: Vec<(&'static str, usize)>,
    },
    Enum(&'static [&'static str]),
}

/// What a type is made of, from memory if it was found out before.
fn traced<T: DeserializeOwned + 'static>() -> &'static Traced {
    // A memo of pure facts about types: nothing depends on who filled it. It lasts as long as the program, as its types
    // do, so that nobody needs to count who uses it.
    static KNOWN: RwLock<Option<HashMap<TypeId, &'static Traced, IdHash>>> = RwLock::new(None);
    let ty = TypeId::of::<T>();
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = known.as_ref().and_then(|map| map.get(&ty)) {
        return known;
    }
    drop(known);
    let traced = trace::trace::<T>();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known
        .get_or_insert_default()
        .entry(ty)
        .or_insert_with(|| Box::leak(Box::new(traced)))
}

impl Traced {
    fn describe<T: 'static>(&self, shape: usize, d: &mut Describer) -> NodeId {
        let ix = u32::try_from(shape).unwrap_or(u32::MAX);
        match &self.shapes[shape] {
            Shape::Bool => NodeId::BOOL,
            Shape::Int | Shape::Char => NodeId::INT,
            Shape::Uint | Shape::Byte | Shape::Raw => NodeId::UINT,
            Shape::Float { .. } => NodeId::FLOAT,
            Shape::Str | Shape::Enum(_) => NodeId::STRING,
            Shape::Bytes => NodeId::BYTES,
            &Shape::Option(inner) => self.describe::<T>(inner, d),
            Shape::Unit => d.made_up::<T>(ix, "", |_| Kind::Struct { fields: vec![] }),
            &Shape::Seq(elem) => d.made_up::<T>(ix, "", |d| Kind::Slice {
                elem: self.describe::<T>(elem, d),
            }),
            &Shape::Array(elem, len) => d.made_up::<T>(ix, "", |d| Kind::Array {
                elem: self.describe::<T>(elem, d),
                len,
            }),
            &Shape::Map(key, elem) => d.made_up::<T>(ix, "", |d| Kind::Map {
                key: self.describe::<T>(key, d),
                elem: self.describe::<T>(elem, d),
            }),
            Shape::Struct { name, fields } => d.made_up::<T>(ix, name, |d| Kind::Struct {
                fields: fields
                    .iter()
                    .map(|&(name, ty)| Field {
                        name: wire_name(name).into(),
                        ty: self.describe::<T>(ty, d),
                    })
                    .collect(),
            }),
        }
    }
}

/// Go sends only names that begin with a capital letter.
fn wire_name(name: &str) -> String {
    match name.chars().next() {
        Some(first) if first.is_uppercase() => name.to_owned(),
        _ => crate::schema::go_name(name),
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Gob for Serde<T> {
    fn describe(d: &mut Describer) -> NodeId {
        let traced = traced::<T>();
        match &traced.failure {
            None => traced.describe::<Self>(traced.root, d),
            // Sending and receiving will say what is wrong, too.
            Some(failure) => {
                d.refuse(failure.error());
                d.made_up::<Self>(0, "", |_| Kind::Struct { fields: vec![] })
            }
        }
    }

    fn zero() -> Option<Self> {
        let traced = traced::<T>();
        traced
            .failure
            .is_none()
            .then(|| de::zero(traced, traced.root).map(Self).ok())?
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        let traced = traced::<T>();
        match &traced.failure {
            None => ser::put(&self.0, traced, w),
            Some(failure) => Err(failure.error()),
        }
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        let traced = traced::<T>();
        match &traced.failure {
            None => de::get(r, at, traced).map(Self),
            Some(failure) => Err(failure.error()),
        }
    }
}

impl serde::ser::Error for Error {
    fn custom<M: std::fmt::Display>(message: M) -> Self {
        Self::new(ErrorKind::Unsupported, message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<M: std::fmt::Display>(message: M) -> Self {
        Self::refused(message.to_string())
    }
}
