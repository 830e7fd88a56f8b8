//! What a peer may take before it is refused.

/// Bounds on what one peer can make this side hold. Every value can be set; none is unlimited by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest handshake: the bytes of the JSON `Option`, of the HTTP head before it, and of the members of a
    /// JSON-RPC object before the one that names it such. Default 8 KiB.
    pub hello_len_max: usize,
    /// Largest header or body of one message, in bytes on the wire. Default 4 MiB.
    pub message_len_max: usize,
    /// Deepest nesting of JSON objects and arrays, and of gob values. Default 128.
    pub depth_max: usize,
    /// Bytes of a stream's items that are held until somebody takes them: one slow stream's memory. The other side
    /// is told, and sends no more. A connection can have as many such streams as calls in flight. Default 256 KiB.
    pub stream_window: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hello_len_max: 8 << 10,
            message_len_max: 4 << 20,
            depth_max: 128,
            stream_window: 256 << 10,
        }
    }
}
