//! How much a peer may ask of us. Enforced where the bytes are read; only the numbers live here.

/// Bounds on what encoding and decoding may take. Every field can be set; the defaults are safe for
/// bytes from strangers.
///
/// ```
/// use farcall_gob::Limits;
///
/// let limits = Limits { message: 1 << 20, ..Limits::default() };
/// assert_eq!(limits.depth, 10_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one value's messages together, and of one definition. Default: 64 MiB.
    pub message: usize,
    /// How deep values may nest. Default: 10,000.
    pub depth: usize,
    /// How many bytes of the stack the nesting may use, which keeps a deep value from overflowing the thread's stack,
    /// in slow builds too. Default: 1 MiB, half of what threads have by default.
    pub stack: usize,
    /// Types that one stream may define. Default: 10,000.
    pub types: usize,
    /// Bytes of all definitions that one stream may send. They are kept as long as the stream is read, and take several
    /// times as much memory. Default: 1 MiB.
    pub definitions: usize,
    /// Fields of one struct type. Default: 10,000.
    pub fields: usize,
    /// A decoded value may take `memory_base + memory_factor * (bytes of its messages)` bytes of memory. Default: 16.
    ///
    /// One byte on the wire can be a large struct full of zeros in memory, so whoever expects many of those raises
    /// `memory_base`.
    pub memory_factor: usize,
    /// See [`memory_factor`](Self::memory_factor). Default: 64 KiB.
    pub memory_base: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 64 << 20,
            depth: 10_000,
            stack: 1 << 20,
            types: 10_000,
            definitions: 1 << 20,
            fields: 10_000,
            memory_factor: 16,
            memory_base: 64 << 10,
        }
    }
}

impl Limits {
    /// Limits for one's own data: only the stack is guarded.
    pub fn trusting() -> Self {
        Self {
            message: usize::MAX,
            depth: usize::MAX,
            types: usize::MAX,
            definitions: usize::MAX,
            fields: usize::MAX,
            memory_base: usize::MAX,
            ..Self::default()
        }
    }

    /// How many bytes of memory a value may take that came in so many bytes of messages.
    pub fn memory_for(&self, bytes: usize) -> usize {
        bytes
            .saturating_mul(self.memory_factor)
            .saturating_add(self.memory_base)
    }
}

/// Counts nesting, by levels and by the stack that they take.
#[derive(Debug)]
pub(crate) struct Depth {
    left: usize,
    base: usize,
    stack: usize,
}

impl Depth {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            left: limits.depth,
            base: stack_pointer(),
            stack: limits.stack,
        }
    }

    /// Goes one level down; false if that is too deep.
    #[cfg_attr(not(debug_assertions), inline(always))]
    #[must_use]
    pub(crate) fn enter(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) if self.base.abs_diff(stack_pointer()) <= self.stack => {
                self.left = left;
                true
            }
            _ => false,
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn leave(&mut self) {
        self.left += 1;
    }
}

/// Roughly where the stack ends now.
#[cfg_attr(not(debug_assertions), inline(always))]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here) as usize
}
