//! Values under numbers that are never used twice: an index, and how often its place was used before.

/// Finding, adding and removing take no search and, once grown, no memory.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    uses: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                uses: 0,
                value: None,
            });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.uses = place.uses.wrapping_add(1);
        place.value = Some(value);
        u64::from(place.uses) << 32 | u64::from(index)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let place = self.places.get_mut(id as u32 as usize)?;
        if u64::from(place.uses) != id >> 32 {
            return None;
        }
        place.value.as_mut()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        self.get_mut(id)?;
        let index = id as u32;
        self.free.push(index);
        self.places.get_mut(index as usize)?.value.take()
    }

    /// Takes every value out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut values = Vec::new();
        for (place, index) in self.places.iter_mut().zip(0..) {
            if let Some(value) = place.value.take() {
                self.free.push(index);
                values.push(value);
            }
        }
        values
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let places = self.places.iter().zip(0_u64..);
        places.filter_map(|(place, index)| {
            let id = u64::from(place.uses) << 32 | index;
            place.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_value_for_ever() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_ne!(first, second);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(second, &"second")]);
        assert_eq!((slab.len(), slab.is_empty()), (1, false));
        assert_eq!(slab.drain(), ["second"]);
        let third = slab.insert("third");
        assert_ne!(second, third);
        assert_eq!((slab.remove(second), slab.len()), (None, 1));
    }
}
