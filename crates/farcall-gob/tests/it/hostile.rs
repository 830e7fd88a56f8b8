//! Streams of enemies: whatever comes, it takes little memory and little time, and nothing falls over.

use std::time::{Duration, Instant};

use farcall_gob::{Decoder, Encoder, Error, ErrorKind, Gob, Limits, Next, Value};

use crate::named::{Node, Payload20, RecSlice, TwoAny, rust_type};
use crate::vectors::{each_value, records};

/// Slow builds on busy machines are given more.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 1 });

/// Runs something; gives the most memory it took at a time.
#[track_caller]
fn peak(run: impl FnOnce()) -> u64 {
    let start = Instant::now();
    let memory = allocation_counter::measure(run).bytes_max;
    let took = start.elapsed();
    assert!(took < TIME_MAX, "it took {took:?}");
    memory
}

/// What the default limits promise.
fn allowed(stream: &[u8]) -> u64 {
    16 * stream.len() as u64 + (64 << 10)
}

#[test]
fn broken_streams_take_little_memory_and_time() {
    let mut worst = vec![];
    for record in records("malformed.jsonl.gz") {
        let stream = record.stream();
        let name: String = record.part("recv_go_type");
        let typed = rust_type(&name).unwrap_or_else(|| panic!("{name} has no Rust type"));
        // Each way of reading by itself, since each is bounded by itself.
        let takes = [
            peak(|| drop(each_value(&stream, Limits::default(), |_, _| {}))),
            peak(|| {
                let _ = each_value(&stream, Limits::default(), |decoder, raw| {
                    let (mut encoder, mut out) = (Encoder::new(), vec![]);
                    let _ = typed(decoder, raw, &mut encoder, &mut out);
                });
            }),
            peak(|| {
                drop(each_value(&stream, Limits::default(), |decoder, raw| {
                    drop(decoder.decode_value(raw))
                }));
            }),
            peak(|| {
                drop(each_value(&stream, Limits::default(), |decoder, raw| {
                    drop(decoder.decode::<()>(raw))
                }))
            }),
            peak(|| {
                drop(each_value(&stream, Limits::default(), |decoder, raw| {
                    drop(decoder.schema_of_value(raw))
                }));
            }),
        ];
        for (way, taken) in takes.into_iter().enumerate() {
            assert!(
                taken <= allowed(&stream),
                "{} takes {taken} bytes for {} (way {way})",
                record.name,
                stream.len()
            );
            worst.push(taken as f64 / allowed(&stream) as f64);
        }
    }
    assert!(worst.len() > 9_000);
}

fn uint(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let skip = value.leading_zeros() as usize / 8;
    if value < 128 {
        out.push(value as u8);
    } else {
        out.push(((8 - skip) as u8).wrapping_neg());
        out.extend_from_slice(&bytes[skip..]);
    }
}

fn int(out: &mut Vec<u8>, value: i64) {
    uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// A message of these contents.
fn message(contents: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    uint(&mut out, contents.len() as u64);
    out.extend_from_slice(contents);
    out
}

/// The definition of a slice type.
fn slice_of(id: i64, elem: i64) -> Vec<u8> {
    let mut out = vec![];
    int(&mut out, -id);
    out.extend_from_slice(&[2, 2]); // SliceT, its Elem
    int(&mut out, elem);
    out.extend_from_slice(&[0, 0]);
    message(&out)
}

/// The definition of a struct with a field `F` of each type.
fn struct_of(id: i64, fields: &[(&str, i64)]) -> Vec<u8> {
    let mut out = vec![];
    int(&mut out, -id);
    out.extend_from_slice(&[3, 2]); // StructT, its Field
    uint(&mut out, fields.len() as u64);
    for (name, ty) in fields {
        out.push(1);
        uint(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        out.push(1);
        int(&mut out, *ty);
        out.push(0);
    }
    out.extend_from_slice(&[0, 0]);
    message(&out)
}

fn value(id: i64, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    int(&mut out, id);
    out.extend_from_slice(contents);
    message(&out)
}

type Read<'a> = dyn FnMut(&mut Decoder, &[u8]) -> Result<(), Error> + 'a;

/// All that can be done with a stream, each within its bounds; gives the errors.
#[track_caller]
fn survives<T: Gob>(stream: &[u8]) -> [Option<ErrorKind>; 3] {
    let limits = Limits::default;
    let allowed = allowed(stream);
    let mut errors = [None; 3];
    let bounded = |run: &mut dyn FnMut(&mut Option<ErrorKind>), error: &mut Option<ErrorKind>| {
        let taken = peak(|| run(error));
        assert!(
            taken <= allowed,
            "it takes {taken} bytes for {}",
            stream.len()
        );
    };
    let each = |error: &mut Option<ErrorKind>, read: &mut Read<'_>| {
        let end = each_value(stream, limits(), |decoder, raw| {
            if let Err(failed) = read(decoder, raw) {
                *error = Some(failed.kind());
            }
        });
        if let Err(failed) = end {
            *error = Some(failed.kind());
        }
    };
    let [typed, untyped, skipped] = &mut errors;
    bounded(
        &mut |e| each(e, &mut |d, raw| d.decode::<T>(raw).map(drop)),
        typed,
    );
    bounded(
        &mut |e| each(e, &mut |d, raw| d.decode_value(raw).map(drop)),
        untyped,
    );
    bounded(&mut |e| each(e, &mut |d, raw| d.decode::<()>(raw)), skipped);
    errors
}

#[test]
fn deep_lists_are_refused_before_the_stack_ends() {
    const DEPTH: usize = 200_000;
    let mut list = vec![];
    list.extend([2, 1].repeat(DEPTH)); // Next, and in it Next, ...
    list.extend([0].repeat(DEPTH + 1));
    let mut stream = struct_of(65, &[("Val", 2), ("Next", 65)]);
    stream.extend(value(65, &list));
    assert_eq!(survives::<Node>(&stream), [Some(ErrorKind::Limit); 3]);
    // And from our side: values that are too deep to be read are not written.
    let mut slices = RecSlice::default();
    for _ in 0..9_000 {
        slices = RecSlice(vec![slices]);
    }
    let mut out = vec![];
    match Encoder::new().encode(&slices, &mut out) {
        Ok(()) => assert!(out.len() > 9_000),
        Err(error) => assert_eq!((error.kind(), out.len()), (ErrorKind::Limit, 0)),
    }
}

#[test]
fn depth_within_the_limits_comes_back() {
    let mut node = Node::default();
    for _ in 0..1_000 {
        node = Node {
            next: Some(Box::new(node)),
            ..Node::default()
        };
    }
    let mut stream = vec![];
    Encoder::new().encode(&node, &mut stream).unwrap();
    let mut found = vec![];
    each_value(&stream, Limits::default(), |decoder, raw| {
        assert_eq!(decoder.decode::<Node>(raw).unwrap(), node);
        let value = decoder.decode_value(raw).unwrap();
        let schema = decoder.schema_of_value(raw).unwrap();
        Encoder::new()
            .encode_value(&value, &schema, &mut found)
            .unwrap();
    })
    .unwrap();
    assert_eq!(found, stream);
}

#[test]
fn elements_that_are_large_in_memory_only_are_bounded() {
    let mut encoder = Encoder::new();
    let mut stream = vec![];
    encoder
        .encode(&vec![Payload20::default()], &mut stream)
        .unwrap();
    for count in [100, 10_000, 1_000_000] {
        let mut zeros = vec![0];
        uint(&mut zeros, count);
        // Two empty structs and the end of each; the array is always sent.
        let mut one = vec![];
        encoder.encode(&Payload20::default(), &mut one).unwrap();
        zeros.extend([0].repeat(count as usize));
        let mut stream = stream.clone();
        stream.extend(value(64, &zeros));
        let errors = survives::<Vec<Payload20>>(&stream);
        assert!(
            errors[0].is_none_or(|kind| kind == ErrorKind::Limit),
            "{errors:?}"
        );
        assert_eq!(errors[2], None);
    }
    let empty_strings = [value(6, &[0, 0]), slice_of(64, 6), {
        let mut list = vec![0];
        uint(&mut list, 100_000);
        list.extend([0].repeat(100_000));
        value(64, &list)
    }]
    .concat();
    assert_eq!(survives::<Vec<String>>(&empty_strings)[2], None);
}

/// Lists and maps that announce many large elements and then nest, so that all of them are open at a time.
#[cfg(feature = "serde")]
#[test]
fn announced_elements_of_adapted_types_take_nothing_in_advance() {
    #[derive(serde::Serialize, serde::Deserialize, Default)]
    struct Tree {
        kids: Vec<Tree>,
        by_name: std::collections::HashMap<String, Tree>,
        large: [u64; 32],
    }
    type Adapted = farcall_gob::Serde<Tree>;
    let mut definitions = vec![];
    let tree = Adapted::default();
    Encoder::new().encode(&tree, &mut definitions).unwrap();
    let mut warm = Decoder::new(Limits::default());
    let mut at = 0;
    while let Next::Value { consumed, raw } = warm.next(&definitions[at..]).unwrap() {
        warm.decode::<Adapted>(raw).unwrap();
        at += consumed;
    }
    for step in [&[1, 64][..], &[2, 64, 0]] {
        let nested = [&step.repeat(500)[..], &[0; 200]].concat();
        let message = value(64, &nested);
        let Next::Value { raw, .. } = warm.next(&message).unwrap() else {
            panic!("it is whole")
        };
        let raw = raw.to_vec();
        let taken = peak(|| drop(warm.decode::<Adapted>(&raw)));
        assert!(taken <= allowed(&raw), "{taken} for {}", raw.len());
    }
}

#[test]
fn limits_can_be_raised() {
    let mut list = vec![0];
    uint(&mut list, 100_000);
    list.extend([0].repeat(100_000));
    let stream = [slice_of(64, 6), value(64, &list)].concat();
    let limits = Limits {
        memory_base: 8 << 20,
        ..Limits::default()
    };
    for (limits, ok) in [(Limits::default(), false), (limits, true)] {
        each_value(&stream, limits, |decoder, raw| {
            assert_eq!(decoder.decode::<Vec<String>>(raw).is_ok(), ok)
        })
        .unwrap();
    }
}

#[test]
fn floods_of_definitions_are_bounded() {
    // Each type is made of the one before, and a value of each is read into a type that fits them all.
    let mut stream = slice_of(64, 6400);
    for id in 65..4_000 {
        stream.extend(slice_of(id, id - 1));
    }
    stream.extend(slice_of(6400, 64));
    for id in 64..4_000 {
        stream.extend(value(id, &[0, 0]));
    }
    assert_eq!(survives::<RecSlice>(&stream), [None; 3]);
    // Too many of them.
    let many: Vec<u8> = (64..20_000).flat_map(|id| slice_of(id, 2)).collect();
    assert_eq!(survives::<RecSlice>(&many)[0], Some(ErrorKind::Limit));
    // One with many fields, and all the names that a small message has room for.
    let fields: Vec<_> = (0..9_000).map(|_| ("", 2)).collect();
    let wide = [struct_of(64, &fields), value(64, &[0])].concat();
    survives::<TwoAny>(&wide);
    let fields: Vec<_> = (0..20_000).map(|_| ("F", 2)).collect();
    assert_eq!(
        survives::<TwoAny>(&struct_of(64, &fields))[0],
        Some(ErrorKind::Limit)
    );
}

#[test]
fn definitions_without_end_are_refused() {
    // Few enough types, and few enough fields in each.
    let fields: Vec<_> = (0..500).map(|_| ("F", 2)).collect();
    let limits = Limits::default();
    let (mut refused, mut sent) = (None, vec![]);
    let taken = peak(|| {
        let mut decoder = Decoder::new(limits.clone());
        for id in 64..64 + 9_000 {
            sent.push(struct_of(id, &fields));
            if let Err(error) = decoder.next(sent.last().unwrap()) {
                refused = Some(error);
                break;
            }
        }
    });
    let refused = refused.expect("the definitions take more memory than anyone has asked for");
    assert_eq!(refused.kind(), ErrorKind::Limit);
    assert!(
        refused.to_string().contains("Limits::definitions"),
        "{refused}"
    );
    let sent: usize = sent.iter().map(Vec::len).sum();
    assert!((limits.definitions..limits.definitions + 4_096).contains(&sent));
    assert!(taken < 17 * sent as u64, "{taken}");
}

/// What the types of a stream look like to people, of its last value; printed in a part of the time that all have.
#[track_caller]
fn printed(stream: &[u8]) -> [String; 3] {
    let mut printed = None;
    let limits = Limits {
        memory_base: 64 << 20,
        ..Limits::default()
    };
    each_value(stream, limits, |decoder, raw| {
        let schema = decoder.schema_of_value(raw).unwrap();
        let start = Instant::now();
        printed = Some([schema.to_go(), schema.to_rust(), schema.to_string()]);
        let took = start.elapsed();
        assert!(took < TIME_MAX / 6, "it took {took:?}");
    })
    .unwrap();
    printed.unwrap()
}

#[test]
fn definitions_are_printed_in_the_time_that_they_take_to_read() {
    // A struct of many fields, each of which leads through a long chain of structs, and the chain does not come back.
    let mut stream = vec![];
    let last = 64 + 9_000;
    for id in 65..last {
        stream.extend(struct_of(id, &[("F", id + 1)]));
    }
    stream.extend(struct_of(last, &[("F", 2)]));
    let fields: Vec<_> = (0..9_900).map(|_| ("F", 65)).collect();
    stream.extend(struct_of(64, &fields));
    stream.extend(value(64, &[0]));
    let [go, rust, _] = printed(&stream);
    assert!(!go.contains('*') && !rust.contains("Option"));
    // The same, but it does: now all of them are pointers.
    let mut stream = vec![];
    for id in 65..last {
        stream.extend(struct_of(id, &[("F", id + 1)]));
    }
    stream.extend(struct_of(last, &[("F", 64)]));
    stream.extend(struct_of(64, &fields));
    stream.extend(value(64, &[0]));
    let [go, ..] = printed(&stream);
    let mut fields = go.lines().filter(|line| line.starts_with("\tF"));
    assert!(fields.all(|line| line.starts_with("\tF *")));
}

#[test]
fn one_long_name_does_not_widen_the_others() {
    // Longer than what the standard library can pad to, too.
    let long = "F".repeat(100_000);
    let mut fields: Vec<_> = (0..5_000).map(|_| ("F", 2)).collect();
    fields.push((&long, 2));
    let stream = [struct_of(64, &fields), value(64, &[0])].concat();
    let [go, rust, line] = printed(&stream);
    assert!(go.len() < 200_000 && rust.len() < 1_000_000 && line.len() < 100_000);
}

#[test]
fn values_in_many_pieces_take_time_for_each_piece_only() {
    // An []any of which each element brings a type along, so that each closes a message.
    let count = if cfg!(debug_assertions) { 2_000 } else { 9_000 };
    let mut pieces = vec![slice_of(64, 8)];
    let mut piece = vec![];
    int(&mut piece, 64);
    piece.push(0);
    uint(&mut piece, count);
    for id in 100..100 + count as i64 {
        piece.extend([1, b'x']);
        // The definition ends this message; the value stands in the next one.
        let definition = slice_of(id, 2);
        let (_, contents) = definition.split_at(1);
        piece.extend_from_slice(contents);
        pieces.push(message(&piece));
        piece.clear();
        int(&mut piece, id);
        piece.extend([2, 0, 0]);
    }
    pieces.push(message(&piece));
    let whole: Vec<u8> = pieces.concat();
    survives::<Vec<Value>>(&whole);
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = vec![];
    let mut found = 0;
    peak(|| {
        for piece in &pieces {
            buffer.extend_from_slice(piece);
            match decoder.next(&buffer).unwrap() {
                Next::More { consumed, at_least } => {
                    assert!(at_least > 0);
                    buffer.drain(..consumed);
                }
                Next::Value { consumed, raw } => {
                    decoder.decode::<()>(raw).unwrap();
                    found += 1;
                    assert_eq!(consumed, buffer.len());
                }
            }
        }
    });
    assert_eq!(found, 1);
}

#[test]
fn a_number_of_fields_alone_costs_nothing() {
    let mut definition = vec![];
    int(&mut definition, -64);
    definition.extend_from_slice(&[3, 2]); // StructT, its Field
    uint(&mut definition, 10_000);
    definition.extend([0; 10_000]);
    let stream = message(&definition);
    let taken = peak(|| {
        let error = Decoder::new(Limits::default()).next(&stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    });
    assert!(taken < 16 << 10, "{taken}");
}

#[test]
fn a_length_alone_costs_nothing() {
    for len in [63 << 20, 65 << 20, u64::MAX] {
        let mut stream = vec![];
        uint(&mut stream, len);
        let taken = peak(|| {
            let next = Decoder::new(Limits::default())
                .next(&stream)
                .map(|next| matches!(next, Next::More { .. }));
            assert_eq!(next.ok(), (len < 64 << 20).then_some(true));
        });
        assert!(taken < 16 << 10, "{taken}");
    }
}

#[test]
fn messages_of_types_without_heap_data_allocate_nothing() {
    #[derive(Gob, Debug, PartialEq, Clone, Copy)]
    struct Fixed {
        id: u64,
        point: [f64; 2],
        inner: Inner,
        maybe: Option<i16>,
    }
    #[derive(Gob, Debug, PartialEq, Clone, Copy)]
    struct Inner {
        flag: bool,
        letter: char,
    }
    let fixed = Fixed {
        id: 1 << 40,
        point: [0.5, -3.0],
        inner: Inner {
            flag: true,
            letter: 'x',
        },
        maybe: Some(0),
    };
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(Limits::default()));
    let types = decoder.types();
    let mut stream = Vec::with_capacity(4096);
    let mut turn = |out: &mut Vec<u8>| {
        out.clear();
        encoder.encode(&fixed, out).unwrap();
        encoder.encode(&7u8, out).unwrap();
        let Next::Value { consumed, raw } = decoder.next(out).unwrap() else {
            panic!("it is whole")
        };
        assert_eq!(decoder.decode::<Fixed>(raw).unwrap(), fixed);
        assert_eq!(types.decode::<Fixed>(raw).unwrap(), fixed);
        let Next::Value { raw, .. } = decoder.next(&out[consumed..]).unwrap() else {
            panic!("it is whole")
        };
        assert_eq!(decoder.decode::<u8>(raw).unwrap(), 7);
    };
    turn(&mut stream);
    let taken = allocation_counter::measure(|| (0..10).for_each(|_| turn(&mut stream)));
    assert_eq!(taken.count_total, 0, "{taken:?}");
}
