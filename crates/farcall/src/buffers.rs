//! Memory for short runs of bytes, which a thread uses again and again. What the bytes are is not known here.

use std::cell::RefCell;
use std::ops::Range;

/// Buffers that a thread keeps, and how large they may be.
const POOL_MAX: usize = 256;
pub(crate) const LEN_MAX: usize = 4 << 10;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, which may have room already.
pub(crate) fn take() -> Vec<u8> {
    // A thread that is ending has no pool any more.
    let pooled = POOL.try_with(|pool| pool.borrow_mut().pop());
    pooled.ok().flatten().unwrap_or_default()
}

/// Gives a buffer back that is not needed any more. Large ones are freed.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if !(1..=LEN_MAX).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOL_MAX {
            pool.push(buffer);
        }
    });
}

/// Bytes that outlive the inbox they came through. Their memory is used again for the next ones.
#[derive(Default)]
pub(crate) struct Kept {
    buffer: Vec<u8>,
    /// Where they begin and end in it.
    place: Range<usize>,
}

impl Kept {
    pub(crate) fn copy(bytes: &[u8]) -> Kept {
        let mut kept = Kept {
            buffer: Vec::new(),
            place: 0..bytes.len(),
        };
        // Put in place: passed on by value, it would be written in parts and read as a whole, which processors are slow
        // at.
        let _ = POOL.try_with(|pool| {
            if bytes.len() <= LEN_MAX {
                if let Some(buffer) = pool.borrow_mut().pop() {
                    kept.buffer = buffer;
                }
            }
        });
        kept.buffer.extend_from_slice(bytes);
        kept
    }

    /// The bytes at `place` in a buffer that nobody else needs.
    pub(crate) fn part(buffer: Vec<u8>, place: Range<usize>) -> Kept {
        Kept { buffer, place }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.place.clone()).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}
