//! Streams of values: what goes out first, what is consumed, what is undone.

use farcall_gob::{Decoder, Encoder, Error, ErrorKind, Gob, Limits, Next};

#[derive(Gob, Debug, PartialEq, Clone, Default)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Debug, PartialEq, Clone, Default)]
struct Header {
    service_method: String,
    seq: u64,
    error: String,
}

/// As Go writes Point{22, 33}, {0, 0}, {1, 0} and {0, -1}.
const POINTS: &str = "1e7f03010105506f696e7401ff80000102010158010400010159010400000007ff80012c01420003ff800005ff8001020005ff80020100";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn points() -> [Point; 4] {
    [
        Point { x: 22, y: 33 },
        Point { x: 0, y: 0 },
        Point { x: 1, y: 0 },
        Point { x: 0, y: -1 },
    ]
}

#[test]
fn structs_are_the_bytes_that_go_writes() {
    let mut encoder = Encoder::new();
    let mut out = vec![];
    for point in points() {
        encoder.encode(&point, &mut out).unwrap();
    }
    assert_eq!(out, unhex(POINTS));
}

fn read_all<T: Gob>(stream: &[u8]) -> Result<Vec<T>, Error> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut at, mut values) = (0, vec![]);
    while let Next::Value { consumed, raw } = decoder.next(&stream[at..])? {
        at += consumed;
        values.push(decoder.decode(raw)?);
    }
    Ok(values)
}

#[test]
fn values_are_found_however_the_bytes_arrive() {
    let stream = unhex(POINTS);
    for chunk in 1..stream.len() {
        let mut decoder = Decoder::new(Limits::default());
        let (mut buffer, mut values) = (vec![], vec![]);
        for piece in stream.chunks(chunk) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.next(&buffer).unwrap() {
                    Next::Value { consumed, raw } => {
                        values.push(decoder.decode::<Point>(raw).unwrap());
                        buffer.drain(..consumed);
                    }
                    Next::More { consumed, at_least } => {
                        assert!(at_least > 0);
                        buffer.drain(..consumed);
                        break;
                    }
                }
            }
        }
        assert_eq!(values, points(), "in pieces of {chunk}");
        assert!(buffer.is_empty());
    }
}

#[test]
fn a_mismatch_leaves_the_stream_in_step() {
    let mut encoder = Encoder::new();
    let mut stream = vec![];
    let header = Header {
        service_method: "Arith.Multiply".into(),
        seq: 7,
        error: String::new(),
    };
    encoder.encode(&header, &mut stream).unwrap();
    encoder.encode(&points()[0], &mut stream).unwrap();
    encoder.encode(&header, &mut stream).unwrap();
    let mut decoder = Decoder::new(Limits::default());
    let mut at = 0;
    for turn in 0..3 {
        let Next::Value { consumed, raw } = decoder.next(&stream[at..]).unwrap() else {
            panic!("value {turn} is whole")
        };
        at += consumed;
        match decoder.decode::<Header>(raw) {
            Ok(found) => assert_eq!(found, header),
            Err(error) => {
                assert_eq!((turn, error.kind()), (1, ErrorKind::Mismatch));
                assert!(
                    error.to_string().starts_with("gob: type mismatch"),
                    "{error}"
                );
                assert_eq!(decoder.decode::<Point>(raw).unwrap(), points()[0]);
                decoder.decode::<()>(raw).unwrap();
            }
        }
    }
    assert_eq!(at, stream.len());
}

#[test]
fn handles_know_what_the_decoder_learns_later() {
    let mut stream = vec![];
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(Limits::default());
    let types = decoder.types();
    encoder.encode(&points()[0], &mut stream).unwrap();
    encoder
        .encode(&vec![points()[1].clone()], &mut stream)
        .unwrap();
    let Next::Value { consumed, raw } = decoder.next(&stream).unwrap() else {
        panic!("it is whole")
    };
    assert_eq!(types.decode::<Point>(raw).unwrap(), points()[0]);
    let Next::Value { raw, .. } = decoder.next(&stream[consumed..]).unwrap() else {
        panic!("it is whole")
    };
    assert_eq!(
        types.clone().decode::<Vec<Point>>(raw).unwrap(),
        [points()[1].clone()]
    );
    assert_eq!(
        types.decode::<Point>(raw).unwrap_err().kind(),
        ErrorKind::Mismatch
    );
}

#[test]
fn what_is_rolled_back_was_never_said() {
    let mut encoder = Encoder::new();
    let mut out = vec![1, 2, 3];
    let mark = encoder.mark(out.len());
    encoder.encode(&points()[0], &mut out).unwrap();
    encoder.encode(&Header::default(), &mut out).unwrap();
    encoder.rollback(mark, &mut out);
    assert_eq!(out, [1, 2, 3]);
    out.clear();
    for point in points() {
        encoder.encode(&point, &mut out).unwrap();
    }
    assert_eq!(out, unhex(POINTS));
    assert_eq!(read_all::<Point>(&out).unwrap(), points());
}

#[test]
fn an_encoder_that_fails_has_written_nothing() {
    let mut encoder = Encoder::with_limits(Limits {
        message: 100,
        ..Limits::default()
    });
    let mut out = vec![];
    let error = encoder
        .encode(&vec![Point { x: 1, y: 1 }; 100], &mut out)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(out.is_empty());
    encoder.encode(&points()[0], &mut out).unwrap();
    assert_eq!(read_all::<Point>(&out).unwrap(), &points()[..1]);
}

#[test]
fn what_a_connection_needs_goes_between_threads() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + Clone>() {}
    send::<Encoder>();
    send::<Decoder>();
    share::<farcall_gob::Types>();
    share::<farcall_gob::Schema>();
    share::<farcall_gob::Value>();
    send::<Error>();
}

#[test]
fn values_are_decoded_elsewhere_while_the_stream_goes_on() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(Limits::default());
    let types = decoder.types();
    std::thread::scope(|scope| {
        for turn in 0..20 {
            let mut stream = vec![];
            encoder
                .encode(&Point { x: turn, y: -turn }, &mut stream)
                .unwrap();
            encoder
                .encode(&vec![turn.to_string(); 3], &mut stream)
                .unwrap();
            let Next::Value { consumed, raw } = decoder.next(&stream).unwrap() else {
                panic!("it is whole")
            };
            let (point, types_of_point) = (raw.to_vec(), types.clone());
            let Next::Value { raw, .. } = decoder.next(&stream[consumed..]).unwrap() else {
                panic!("it is whole")
            };
            let (texts, types) = (raw.to_vec(), types.clone());
            scope.spawn(move || {
                assert_eq!(
                    types_of_point.decode::<Point>(&point).unwrap(),
                    Point { x: turn, y: -turn }
                )
            });
            scope.spawn(move || {
                assert_eq!(
                    types.decode::<Vec<String>>(&texts).unwrap(),
                    vec![turn.to_string(); 3]
                )
            });
        }
    });
}
