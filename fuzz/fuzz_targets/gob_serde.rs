//! Any bytes can be decoded into types that have serde's traits: no panic, no more memory than the limits allow, and what
//! comes out can be sent again and is then the same. A type that is also derived finds the same in them.
#![no_main]

use std::collections::{BTreeMap, HashMap};

use farcall_fuzz::{find, peak, roomy, roomy_encoder};
use farcall_gob::{Decoder, Error, ErrorKind, Gob, Limits, Serde};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Gob, Serialize, Deserialize)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Serialize, Deserialize)]
struct Header {
    service_method: String,
    seq: u64,
    error: String,
}

#[derive(Gob, Serialize, Deserialize)]
struct Tree {
    key: String,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    kids: Vec<Tree>,
    by_name: BTreeMap<String, Tree>,
}

#[derive(Gob, Serialize, Deserialize)]
struct Raw(u8);

#[derive(Gob, Serialize, Deserialize)]
#[gob(as = "string")]
enum Level {
    #[gob(rename = "")]
    #[serde(rename = "")]
    Unset,
    Info,
}

/// Large in memory and small on the wire: what the memory limit is for.
#[derive(Gob, Serialize, Deserialize)]
struct Wide {
    one: [[u64; 16]; 16],
    two: Option<Box<Wide>>,
}

#[derive(Gob, Serialize, Deserialize)]
struct Everything {
    a: bool,
    b: i8,
    c: u64,
    d: f32,
    e: f64,
    f: char,
    g: String,
    h: Vec<u8>,
    j: Vec<Raw>,
    k: [u8; 3],
    l: Vec<Vec<[i16; 2]>>,
    m: BTreeMap<u8, Vec<String>>,
    n: Option<i64>,
    o: Option<Box<Everything>>,
    s: Level,
    x: Option<String>,
    y: Vec<Point>,
}

/// What a value may take beside its parts: an error's text, and a table's own size.
const SLACK: usize = 8 << 10;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(Limits::default());
    for (raw, _) in find(&mut decoder, data).values {
        let mut stream = Stream {
            decoder: &mut decoder,
            raw: &raw,
        };
        stream.check::<bool>();
        stream.check::<i8>();
        stream.check::<i64>();
        stream.check::<u16>();
        stream.check::<u64>();
        stream.check::<f32>();
        stream.check::<f64>();
        stream.check::<char>();
        stream.check::<String>();
        stream.check::<Vec<u8>>();
        stream.check::<Vec<i32>>();
        stream.check::<Vec<u64>>();
        stream.check::<Vec<Vec<String>>>();
        stream.check::<[i16; 2]>();
        stream.check::<[u8; 3]>();
        stream.check::<BTreeMap<i64, Vec<u8>>>();
        stream.check::<BTreeMap<String, Point>>();
        stream.check::<Point>();
        stream.check::<Vec<Point>>();
        stream.check::<Header>();
        stream.check::<Tree>();
        stream.check::<Level>();
        stream.check::<Vec<Wide>>();
        stream.check::<Everything>();
        stream.check::<Vec<Everything>>();
        // The order of its pairs is by chance, so there are no bytes to compare.
        let _ = stream.decode::<HashMap<String, i64>>();
    }
});

struct Stream<'a> {
    decoder: &'a mut Decoder,
    raw: &'a [u8],
}

impl Stream<'_> {
    fn check<T: Gob + Serialize + DeserializeOwned>(&mut self) {
        let name = std::any::type_name::<T>();
        let adapted = self.decode::<T>();
        match (adapted, self.decoder.decode::<T>(self.raw)) {
            (Ok(adapted), Ok(derived)) => {
                let stream = written(&adapted);
                assert_eq!(stream, written(&derived), "{name}");
                let mut decoder = Decoder::new(roomy());
                let found = find(&mut decoder, &stream);
                for (raw, _) in &found.values {
                    let again: Serde<T> = decoder
                        .decode(raw)
                        .unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(written(&again), stream, "{name}");
                }
                assert_eq!(found.values.len(), 1);
            }
            (Err(_), Err(_)) => {}
            // Values cost the two of them differently.
            (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::Limit => {}
            // Of two fields of one name, gob takes the last.
            (Err(error), Ok(_)) if error.to_string().contains("duplicate field") => {}
            (Err(error), Ok(_)) => panic!("{name}: only the adapted type says {error}"),
            (Ok(_), Err(error)) => panic!("{name}: only the derived type says {error}"),
        }
    }

    /// Twice: the first time also works out how the types go together, so memory is counted the second time.
    fn decode<T: Serialize + DeserializeOwned + 'static>(&mut self) -> Result<Serde<T>, Error> {
        drop(self.decoder.decode::<Serde<T>>(self.raw));
        let limits = self.decoder.limits();
        let allowed = limits.memory_base + limits.memory_factor * self.raw.len();
        let (value, memory) = peak(|| self.decoder.decode(self.raw));
        assert!(
            memory <= allowed + SLACK,
            "{memory} bytes of memory for {} as {}",
            self.raw.len(),
            std::any::type_name::<T>()
        );
        value
    }
}

fn written<T: Gob>(value: &T) -> Vec<u8> {
    let mut stream = vec![];
    let done = roomy_encoder().encode(value, &mut stream);
    done.unwrap_or_else(|error| panic!("{error}"));
    stream
}
