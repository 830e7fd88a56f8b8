//! Values as JSON: without loss, and for people.

use std::collections::HashMap;

use farcall_gob::{
    Encoder, ErrorKind, Field, Gob, Kind, Limits, NodeId, Schema, SchemaBuilder, Value,
};
use serde_json::{Value as Json, json};

use crate::vectors::{each_value, records};

/// The types that interfaces in a value hold, by name.
fn inner_types(value: &Value, found: &mut HashMap<String, Schema>) {
    match value {
        Value::List(items) => items.iter().for_each(|item| inner_types(item, found)),
        Value::Map(pairs) => pairs.iter().for_each(|(k, v)| {
            inner_types(k, found);
            inner_types(v, found);
        }),
        Value::Struct(fields) => fields
            .iter()
            .for_each(|(_, value)| inner_types(value, found)),
        Value::Interface(Some(dynamic)) => {
            found.insert(dynamic.name.to_string(), dynamic.schema.clone());
            inner_types(&dynamic.value, found);
        }
        _ => {}
    }
}

#[test]
fn values_come_back_from_their_canonical_form() {
    for file in ["hand.jsonl", "random.jsonl.gz"] {
        for record in records(file) {
            each_value(&record.stream(), Limits::default(), |decoder, raw| {
                let (value, schema) = (
                    decoder.decode_value(raw).unwrap(),
                    decoder.schema_of_value(raw).unwrap(),
                );
                let mut inner = HashMap::new();
                inner_types(&value, &mut inner);
                let text = value.to_canonical_json();
                let json: Json = serde_json::from_str(&text).unwrap();
                let back =
                    Value::from_canonical_json(&json, &schema, &|name| inner.get(name).cloned());
                let back = back.unwrap_or_else(|e| panic!("{}: {e}", record.name));
                assert_eq!(back.to_canonical_json(), text, "{}", record.name);
                // And the form for people does not fail either.
                let mut filled = value;
                filled.fill_zeros(&schema, usize::MAX).unwrap();
                filled.to_plain_json();
            })
            .unwrap();
        }
    }
}

#[derive(Gob, Debug, PartialEq)]
struct Order {
    order_id: u64,
    note: String,
    paid: bool,
    price: f64,
    data: Vec<u8>,
    lines: Vec<Line>,
    by_name: HashMap<String, i64>,
    by_number: HashMap<i64, String>,
    any: Value,
    first: Line,
    maybe: Option<Line>,
    pair: [i64; 2],
}

#[derive(Gob, Debug, PartialEq)]
struct Line {
    count: i64,
}

/// What a receiver makes of some JSON that was sent as an order.
fn sent(json: &Json) -> Order {
    let schema = Schema::of::<Order>();
    let value = Value::from_json(json, &schema).unwrap();
    let mut stream = vec![];
    Encoder::new()
        .encode_value(&value, &schema, &mut stream)
        .unwrap();
    let mut found = None;
    each_value(&stream, Limits::default(), |decoder, raw| {
        found = Some(decoder.decode(raw).unwrap())
    })
    .unwrap();
    found.unwrap()
}

fn zero() -> Order {
    Order::zero().unwrap()
}

#[test]
fn json_of_people_becomes_values() {
    assert_eq!(sent(&json!({})), zero());
    assert_eq!(
        sent(&json!({"OrderID": null, "Lines": null, "Unknown": 1, "First": null})),
        zero()
    );
    let all = json!({
        "orderid": 7, "NOTE": "n", "Paid": true, "Price": 2, "Data": "AP8=", "Lines": [{"Count": 1}, {}],
        "ByName": {"a": -1}, "ByNumber": {"-5": "x"}, "Any": {"k": [1, 2.5, "x", null, true]}, "First": {"count": 3},
        "Maybe": {}, "Pair": [1, 2],
    });
    let order = sent(&all);
    assert_eq!(
        (order.order_id, &*order.note, order.paid, order.price),
        (7, "n", true, 2.0)
    );
    assert_eq!(
        (order.data, order.lines),
        (vec![0, 255], vec![Line { count: 1 }, Line { count: 0 }])
    );
    assert_eq!((order.by_name["a"], &*order.by_number[&-5]), (-1, "x"));
    assert_eq!(
        (order.first.count, order.maybe, order.pair),
        (3, Some(Line { count: 0 }), [1, 2])
    );
    assert_eq!(
        order.any.to_plain_json(),
        json!({"k": [1, 2.5, "x", null, true]})
    );
}

#[test]
fn json_that_does_not_fit_is_refused_with_its_path() {
    let schema = Schema::of::<Order>();
    for (json, text) in [
        (
            json!({"OrderID": -1}),
            "gob: OrderID: -1 is given where a uint is expected",
        ),
        (
            json!({"Lines": [{"Count": "x"}]}),
            "gob: Lines[].Count: \"x\" is given where an int is expected",
        ),
        (
            json!({"Data": "?"}),
            "gob: Data: \"?\" is given where a []byte as base64 is expected",
        ),
        (
            json!({"Pair": [1]}),
            "gob: Pair: [1] is given where an array of 2 is expected",
        ),
        (json!([]), "gob: [] is given where the struct Order"),
    ] {
        let error = Value::from_json(&json, &schema).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn values_become_json_for_people() {
    let mut stream = vec![];
    let order = Order {
        order_id: 1,
        data: vec![1],
        price: f64::INFINITY,
        by_number: [(2, "x".into())].into(),
        ..zero()
    };
    Encoder::new().encode(&order, &mut stream).unwrap();
    each_value(&stream, Limits::default(), |decoder, raw| {
        let mut value = decoder.decode_value(raw).unwrap();
        let memory = decoder.limits().memory_for(raw.len());
        value
            .fill_zeros(&decoder.schema_of_value(raw).unwrap(), memory)
            .unwrap();
        let expected = json!({
            "OrderID": 1, "Note": "", "Paid": false, "Price": "+Inf", "Data": "AQ==", "Lines": [], "ByName": {},
            "ByNumber": {"2": "x"}, "Any": null, "First": {"Count": 0}, "Pair": [0, 0],
        });
        assert_eq!(value.to_plain_json(), expected);
    })
    .unwrap();
}

#[test]
fn zeros_that_were_not_sent_take_no_more_memory_than_allowed() {
    // A list of structs that are a byte each on the wire, of a hundred fields.
    let mut builder = SchemaBuilder::new();
    let field = |number| Field {
        name: format!("Field{number}").into(),
        ty: NodeId::STRING,
    };
    let wide = Kind::Struct {
        fields: (0..100).map(field).collect(),
    };
    let wide = builder.add("Wide", wide);
    let list = builder.add("", Kind::Slice { elem: wide });
    let schema = builder.finish(list);
    let sent = Value::List(vec![Value::Struct(vec![].into()); 3_000].into());
    let mut stream = vec![];
    Encoder::new()
        .encode_value(&sent, &schema, &mut stream)
        .unwrap();
    let limits = Limits {
        memory_base: 1 << 20,
        ..Limits::default()
    };
    each_value(&stream, limits.clone(), |decoder, raw| {
        let memory = decoder.limits().memory_for(raw.len());
        let mut value = decoder.decode_value(raw).unwrap();
        let taken = allocation_counter::measure(|| {
            let error = value.fill_zeros(&schema, memory).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
        });
        assert!(taken.bytes_max <= memory as u64, "{taken:?}");
        let mut value = decoder.decode_value(raw).unwrap();
        value.fill_zeros(&schema, 64 << 20).unwrap();
        let text = value.to_plain_json().to_string();
        assert_eq!(text.matches("Field99").count(), 3_000);
    })
    .unwrap();
}

#[test]
fn types_are_guessed_from_json() {
    for (json, text) in [
        (json!(1), "int"),
        (json!(u64::MAX), "uint"),
        (json!(1.5), "float64"),
        (json!([1, 2.5]), "[]float64"),
        (json!([]), "[]any"),
        (
            json!({"a": "x", "B": [{"c": null}]}),
            "struct{B []struct{C any}; A string}",
        ),
    ] {
        let schema = Schema::infer(&json);
        assert_eq!(schema.to_string(), text);
        Value::from_json(&json, &schema).unwrap();
    }
    assert!(matches!(
        Schema::infer(&json!({})).root_node().kind,
        Kind::Struct { .. }
    ));
}
