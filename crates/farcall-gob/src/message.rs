//! What the attribute `message` applies to fields, so that their JSON is as Go's `encoding/json` has it.
//! Formats that are not for people, where `null` and text would be something else, are left alone.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use crate::gob::GobField;

/// The value of a member that is missing.
pub fn zero<T: GobField>() -> T {
    T::zero().expect("the derive refuses fields without a zero")
}

/// A member that may be `null`.
///
/// # Errors
/// If it is something else that does not fit.
pub fn field<'de, D: Deserializer<'de>, T: GobField + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    if deserializer.is_human_readable() {
        Ok(Option::deserialize(deserializer)?.unwrap_or_else(zero))
    } else {
        T::deserialize(deserializer)
    }
}

/// A struct in a format for people, as Go reads it: an object whose names may be in any case, or `null` for zero.
/// Not a list, which serde would take, too: its elements would become whatever members stand in their places.
pub struct Object<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(OfMembers { visitor, names })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The visitor or the members of a struct with these names.
struct OfMembers<V> {
    visitor: V,
    names: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OfMembers<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let OfMembers { visitor, names } = self;
        visitor.visit_map(Members { members, names })
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        let none = std::iter::empty::<(&str, ())>();
        self.visitor.visit_map(MapDeserializer::new(none))
    }
}

/// An object's members under the names that the struct has for them.
struct Members<A> {
    members: A,
    names: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let names = self.names;
        self.members.next_key_seed(Name { seed, names })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

struct Name<K> {
    seed: K,
    names: &'static [&'static str],
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<K::Value, E> {
        let Name { seed, names } = self;
        let same = |name: &&&str| name.eq_ignore_ascii_case(given);
        let name = match names.contains(&given) {
            true => given,
            false => names.iter().find(same).copied().unwrap_or(given),
        };
        seed.deserialize(name.into_deserializer())
    }
}

/// Members that are bytes or hold bytes: base64 for people, bytes as such otherwise.
pub mod base64 {
    use std::collections::{BTreeMap, HashMap};
    use std::fmt;
    use std::hash::{BuildHasher, Hash};

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::base64;
    use crate::gob::GobField;

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer, T: Bytes>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.write(serializer)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// If the text is no base64, or something else does not fit.
    pub fn deserialize<'de, D: Deserializer<'de>, T: Bytes + GobField>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        if deserializer.is_human_readable() {
            Ok(Option::deserialize(deserializer)?.map_or_else(super::zero, |Owned(value)| value))
        } else {
            T::read(deserializer)
        }
    }

    /// Types that are bytes or hold bytes.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` is not known to hold bytes that are base64 in JSON"
    )]
    pub trait Bytes: Sized {
        /// Serializes.
        ///
        /// # Errors
        /// Those of the format.
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

        /// Deserializes.
        ///
        /// # Errors
        /// If it does not fit.
        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    }

    struct Borrowed<'a, T>(&'a T);

    impl<T: Bytes> Serialize for Borrowed<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.write(serializer)
        }
    }

    struct Owned<T>(T);

    impl<'de, T: Bytes> Deserialize<'de> for Owned<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            T::read(deserializer).map(Self)
        }
    }

    macro_rules! bytes {
        ($($ty:ty),*) => {$(
            impl Bytes for $ty {
                fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    if serializer.is_human_readable() {
                        serializer.serialize_str(&base64::encode(self))
                    } else {
                        serializer.serialize_bytes(self)
                    }
                }

                fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let bytes = if deserializer.is_human_readable() {
                        deserializer.deserialize_any(BytesVisitor)
                    } else {
                        deserializer.deserialize_byte_buf(BytesVisitor)
                    };
                    bytes.map(Self::from)
                }
            }
        )*};
    }

    bytes!(Vec<u8>, Box<[u8]>);

    #[cfg(feature = "bytes")]
    bytes!(bytes::Bytes);

    struct BytesVisitor;

    impl<'de> Visitor<'de> for BytesVisitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes as base64")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
            base64::decode(text).ok_or_else(|| E::custom("bytes should be base64, with padding"))
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        // Go takes a list of numbers too.
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = vec![];
            while let Some(byte) = items.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<u8>, E> {
            Ok(vec![])
        }
    }

    impl<T: Bytes> Bytes for Option<T> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.as_ref().map(Borrowed).serialize(serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Option::<Owned<T>>::deserialize(deserializer)?.map(|Owned(value)| value))
        }
    }

    impl<T: Bytes> Bytes for Vec<T> {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.iter().map(Borrowed))
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let items = Vec::<Owned<T>>::deserialize(deserializer)?;
            Ok(items.into_iter().map(|Owned(item)| item).collect())
        }
    }

    impl<K, T, H> Bytes for HashMap<K, T, H>
    where
        K: Serialize + for<'k> Deserialize<'k> + Eq + Hash,
        T: Bytes,
        H: BuildHasher + Default,
    {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            write_map(self.len(), self.iter(), serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let map = HashMap::<K, Owned<T>>::deserialize(deserializer)?;
            Ok(map
                .into_iter()
                .map(|(key, Owned(value))| (key, value))
                .collect())
        }
    }

    impl<K, T> Bytes for BTreeMap<K, T>
    where
        K: Serialize + for<'k> Deserialize<'k> + Ord,
        T: Bytes,
    {
        fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            write_map(self.len(), self.iter(), serializer)
        }

        fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let map = BTreeMap::<K, Owned<T>>::deserialize(deserializer)?;
            Ok(map
                .into_iter()
                .map(|(key, Owned(value))| (key, value))
                .collect())
        }
    }

    fn write_map<'m, S: Serializer, K: Serialize + 'm, T: Bytes + 'm>(
        len: usize,
        pairs: impl Iterator<Item = (&'m K, &'m T)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(len))?;
        for (key, value) in pairs {
            map.serialize_entry(key, &Borrowed(value))?;
        }
        map.end()
    }
}
