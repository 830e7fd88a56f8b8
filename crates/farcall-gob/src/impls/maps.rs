//! Maps. Empty ones are sent in fields too: a Go map that was not sent is nil, and writing to a nil map panics.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

fn put<'m, K: Gob, V: Gob>(
    w: &mut Writer<'_>,
    pairs: impl ExactSizeIterator<Item = (&'m K, &'m V)>,
) -> Result<(), Error> {
    w.uint(pairs.len() as u64);
    w.enter()?;
    for (key, value) in pairs {
        key.put(w)?;
        value.put(w)?;
    }
    w.leave();
    Ok(())
}

fn get<K: Gob, V: Gob, M>(
    r: &mut Reader<'_>,
    at: At<'_>,
    memory: impl FnOnce(usize) -> usize,
    with_room_for: impl FnOnce(usize) -> M,
    mut insert: impl FnMut(&mut M, K, V),
) -> Result<M, Error> {
    let count = r.elements(2)?;
    r.charge(memory(count))?;
    r.enter()?;
    let mut map = with_room_for(count);
    let (key_at, value_at) = at.pair();
    for _ in 0..count {
        let key = K::get(r, key_at).map_err(Error::in_element)?;
        let value = V::get(r, value_at).map_err(Error::in_element)?;
        insert(&mut map, key, value);
    }
    r.leave();
    Ok(map)
}

impl<K: Gob + Eq + Hash, V: Gob, S: BuildHasher + Default + 'static> Gob for HashMap<K, V, S> {
    fn describe(d: &mut Describer) -> NodeId {
        d.map::<HashMap<K, V, ()>, K, V>()
    }

    fn zero() -> Option<Self> {
        Some(Self::default())
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        put(w, self.iter())
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        // A table of a power of two places, of which 7/8 are used, with a byte for each and some more.
        let memory = |count: usize| {
            let places = match count {
                0 => return 0,
                1..4 => 4,
                4..8 => 8,
                8..15 => 16,
                _ => (count.saturating_mul(8) / 7 + 1).next_power_of_two(),
            };
            places
                .max(16 / size_of::<(K, V)>().max(1))
                .saturating_mul(size_of::<(K, V)>() + 1)
                .saturating_add(32)
        };
        get(
            r,
            at,
            memory,
            |count| Self::with_capacity_and_hasher(count, S::default()),
            |map, key, value| {
                map.insert(key, value);
            },
        )
    }
}

impl<K: Gob + Ord, V: Gob> Gob for BTreeMap<K, V> {
    fn describe(d: &mut Describer) -> NodeId {
        // The same type on the wire as a HashMap, which shares the definition.
        d.map::<HashMap<K, V, ()>, K, V>()
    }

    fn zero() -> Option<Self> {
        Some(Self::new())
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        put(w, self.iter())
    }

    fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
        // Nodes of eleven places, at least half of which are used.
        let memory = |count: usize| {
            count
                .saturating_mul(2 * size_of::<(K, V)>() + 8)
                .saturating_add(16)
        };
        get(
            r,
            at,
            memory,
            |_| Self::new(),
            |map, key, value| {
                map.insert(key, value);
            },
        )
    }
}
