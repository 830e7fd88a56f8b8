//! Encodes and decodes values in a warm stream, and tells how much of a processor's time that takes or how often it
//! allocates.
//! It does what its input says, line by line, so that `run` can let it take turns with others.

mod samples;

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write};

use farcall_gob::{Gob, Next, Serde};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let &[codec, case, direction] = &words[..] else {
            return Err("a line should be: codec case direction".into());
        };
        let Measured { each, bytes } = measure(codec, case, direction)?;
        println!("{each} {bytes}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn measure(codec: &str, case: &str, direction: &str) -> Result<Measured> {
    match case {
        "args" => one(codec, direction, samples::args()),
        "order" => one(codec, direction, samples::order()),
        "points" => one(codec, direction, samples::points()),
        "counting" => one(codec, direction, samples::counting()),
        "random" => one(codec, direction, samples::random()),
        "map" => one(codec, direction, samples::map()),
        // serde takes a Vec<u8> for a list.
        "bytes" if codec == "serde" => farcall(direction, &Serde(ByteBuf::from(samples::bytes()))),
        "bytes" if codec == "postcard" => postcard(direction, &ByteBuf::from(samples::bytes())),
        "bytes" => one(codec, direction, samples::bytes()),
        "strings" => one(codec, direction, samples::strings()),
        _ => Err(format!("no such case: {case}").into()),
    }
}

fn one<T>(codec: &str, direction: &str, value: T) -> Result<Measured>
where
    T: Gob + gobwire::Encode + gobwire::Decode + Default + Serialize + DeserializeOwned,
{
    match codec {
        "farcall" => farcall(direction, &value),
        "serde" => farcall(direction, &Serde(value)),
        "gobwire" => gobwire(direction, &value),
        "postcard" => postcard(direction, &value),
        _ => Err(format!("no such codec: {codec}").into()),
    }
}

fn farcall<T: Gob>(direction: &str, value: &T) -> Result<Measured> {
    let mut encoder = farcall_gob::Encoder::new();
    let mut first = vec![];
    encoder.encode(value, &mut first)?;
    let mut out = vec![];
    encoder.encode(value, &mut out)?;
    if direction == "encode" {
        return Ok(repeat(|| {
            out.clear();
            encoder.encode(black_box(value), &mut out).is_ok() as usize * out.len()
        }));
    }
    let mut decoder = farcall_gob::Decoder::new(farcall_gob::Limits::default());
    let Next::Value { raw, .. } = decoder.next(&first)? else {
        return Err("the first message is not whole".into());
    };
    decoder.decode::<T>(raw)?;
    Ok(repeat(|| match decoder.next(black_box(&out)) {
        Ok(Next::Value { raw, consumed }) => {
            black_box(&decoder.decode::<T>(raw)).is_ok() as usize * consumed
        }
        _ => 0,
    }))
}

fn gobwire<T>(direction: &str, value: &T) -> Result<Measured>
where
    T: gobwire::Encode + gobwire::Decode + Default,
{
    let mut encoder = gobwire::Encoder::new();
    let mut first = vec![];
    encoder.encode_into(value, &mut first)?;
    let mut out = vec![];
    encoder.encode_into(value, &mut out)?;
    if direction == "encode" {
        return Ok(repeat(|| {
            out.clear();
            encoder.encode_into(black_box(value), &mut out).is_ok() as usize * out.len()
        }));
    }
    let mut decoder = gobwire::Decoder::new();
    let mut rest = &first[..];
    while let Some((width, len)) = gobwire::parse_length_prefix(rest)? {
        decoder.push_message(&rest[width..width + len])?;
        rest = &rest[width + len..];
        if rest.is_empty() {
            break;
        }
    }
    decoder.decode::<T>()?;
    Ok(repeat(|| {
        let message = black_box(&out[..]);
        let Ok(Some((width, len))) = gobwire::parse_length_prefix(message) else {
            return 0;
        };
        if decoder.push_message(&message[width..width + len]).is_err() {
            return 0;
        }
        black_box(&decoder.decode::<T>()).is_ok() as usize * message.len()
    }))
}

fn postcard<T: Serialize + DeserializeOwned>(direction: &str, value: &T) -> Result<Measured> {
    let bytes = postcard::to_stdvec(value)?;
    if direction == "encode" {
        let mut out = vec![0; bytes.len()];
        return Ok(repeat(|| {
            postcard::to_slice(black_box(value), &mut out).map_or(0, |out| out.len())
        }));
    }
    Ok(repeat(|| {
        let message = black_box(&bytes[..]);
        black_box(&postcard::from_bytes::<T>(message)).is_ok() as usize * message.len()
    }))
}

struct Measured {
    /// Nanoseconds, or allocations.
    each: f64,
    /// The length of the message, as the last repetition told it; 0 if it failed.
    bytes: usize,
}

#[cfg(feature = "allocations")]
fn repeat(mut run: impl FnMut() -> usize) -> Measured {
    const TIMES: u32 = 100;
    let mut bytes = 0;
    let counted = allocation_counter::measure(|| (0..TIMES).for_each(|_| bytes = run()));
    let each = counted.count_total as f64 / f64::from(TIMES);
    Measured { each, bytes }
}

#[cfg(not(feature = "allocations"))]
fn repeat(mut run: impl FnMut() -> usize) -> Measured {
    use std::time::Duration;

    use cpu_time::ProcessTime;

    const AT_LEAST: Duration = Duration::from_millis(20);
    let (mut times, mut bytes) = (1_u32, 0);
    // The last round is the one that counts; those before warm up.
    loop {
        let start = ProcessTime::now();
        for _ in 0..times {
            bytes = run();
        }
        let took = start.elapsed();
        if took >= AT_LEAST {
            let each = took.as_nanos() as f64 / f64::from(times);
            return Measured { each, bytes };
        }
        times *= 2;
    }
}
