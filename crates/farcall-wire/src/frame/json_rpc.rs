//! JSON-RPC: one JSON object for each message, of version 1.0 as Go's net/rpc/jsonrpc has it, or of 2.0 with batches
//! and notifications. The two are told apart message by message.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_pairs::next_value;
use super::{Header, Side, Step};
use crate::json::JsonScan;
use crate::{Body, BodyRef, Code, EncodeError, Limits, Violation};

/// Requests in one batch. Their replies are kept until the last of them is there.
const BATCH_MAX: usize = 1_000;

/// What a JSON-RPC request must get back beside its Seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonCall {
    /// The id as it stood, without white space. None in a notification, which gets no reply.
    id: Option<Box<str>>,
    version: Version,
    batch: Option<Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The batch that a request came in: its replies go out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    number: u64,
    /// How many of its requests get replies.
    replies: usize,
}

pub(super) struct Reader {
    side: Side,
    pub(super) header: Header,
    argument: Argument,
    scan: JsonScan,
    limits: Limits,
    /// What was found in the value at the front of the input, and not yet handed out.
    found: VecDeque<(Header, Argument)>,
    /// How long that value is.
    found_len: usize,
    batches: u64,
    /// The peer has spoken 2.0, so it understands a reply to what is no request.
    speaks_two: bool,
}

/// What stands where the argument or the reply should.
#[derive(Debug)]
enum Argument {
    Json(Range<usize>),
    /// No argument was given, which is the zero value.
    Zero,
    /// Something that no method can take. A method that does not exist is still the first thing to complain of.
    Bad(&'static str),
}

/// The members of a message. Go matches their names without case, and the last of two counts.
#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value()?;
                    let Members {
                        jsonrpc,
                        method,
                        params,
                        id,
                        result,
                        error,
                    } = &mut members;
                    let known = [
                        ("jsonrpc", jsonrpc),
                        ("method", method),
                        ("params", params),
                        ("id", id),
                        ("result", result),
                        ("error", error),
                    ];
                    for (known, slot) in known {
                        if name.eq_ignore_ascii_case(known) {
                            *slot = Some(value);
                        }
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Members<'_> {
    fn version(&self) -> Version {
        match self.jsonrpc.map(RawValue::get) {
            Some("\"2.0\"") => Version::Two,
            _ => Version::One,
        }
    }
}

/// The value, unless it is `null` or missing.
fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

impl Reader {
    pub(super) fn new(limits: &Limits, side: Side) -> Reader {
        Reader {
            side,
            header: Header::default(),
            argument: Argument::Zero,
            scan: JsonScan::new(limits.depth_max),
            limits: limits.clone(),
            found: VecDeque::new(),
            found_len: 0,
            batches: 0,
            speaks_two: false,
        }
    }

    pub(super) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Violation> {
        while self.found.is_empty() {
            let Some(place) = next_value(&mut self.scan, input, &self.limits)? else {
                return Ok(Step::More {
                    consumed: self.scan.take_blank(),
                    at_least: 1,
                });
            };
            self.found_len = place.end;
            self.parse(input, place)?;
            if self.found.is_empty() {
                // An empty batch of notifications, or nothing that gets an answer.
                return Ok(Step::More {
                    consumed: self.found_len,
                    at_least: 1,
                });
            }
        }
        let Some((header, argument)) = self.found.pop_front() else {
            return Err(Violation::new("no message was found where one was"));
        };
        let body = match &argument {
            Argument::Json(place) => input.get(place.clone()).unwrap_or_default(),
            Argument::Zero | Argument::Bad(_) => &[],
        };
        self.header = header;
        self.argument = argument;
        // The bodies lie in the value, so it is consumed with the last of them.
        let consumed = match self.found.is_empty() {
            true => self.found_len,
            false => 0,
        };
        Ok(Step::Message { consumed, body })
    }

    pub(super) fn body<'a>(&self, raw: &'a [u8]) -> BodyRef<'a> {
        match self.argument {
            Argument::Json(_) => BodyRef::Json(raw),
            Argument::Zero => BodyRef::Zero,
            Argument::Bad(why) => BodyRef::Bad(why),
        }
    }

    fn parse(&mut self, input: &[u8], place: Range<usize>) -> Result<(), Violation> {
        let value = input.get(place).unwrap_or_default();
        if self.side == Side::Client {
            let members = serde_json::from_slice(value).map_err(|error| no_object(&error))?;
            let found = read_reply(input, &members)?;
            self.found.push_back(found);
            return Ok(());
        }
        if !value.starts_with(b"[") {
            let found = self.read_request(input, value, None)?;
            self.found.push_back(found);
            return Ok(());
        }
        let elements: Vec<&RawValue> =
            serde_json::from_slice(value).map_err(|error| no_object(&error))?;
        if elements.len() > BATCH_MAX {
            let text = format!(
                "a JSON-RPC batch has {} requests, more than {BATCH_MAX}",
                elements.len()
            );
            return Err(Violation::new(text));
        }
        if elements.is_empty() {
            self.found.push_back(no_request(None));
        }
        self.batches += 1;
        let number = self.batches;
        for element in &elements {
            let batch = Batch { number, replies: 0 };
            let found = self.read_request(input, element.get().as_bytes(), Some(batch))?;
            self.found.push_back(found);
        }
        // How many replies there will be is known only now.
        let calls = self
            .found
            .iter()
            .filter_map(|(header, _)| header.json.as_deref());
        let replies = calls.filter(|call| call.id.is_some()).count();
        for (header, _) in &mut self.found {
            if let Some(batch) = header
                .json
                .as_deref_mut()
                .and_then(|call| call.batch.as_mut())
            {
                batch.replies = replies;
            }
        }
        Ok(())
    }

    fn read_request(
        &mut self,
        input: &[u8],
        value: &[u8],
        batch: Option<Batch>,
    ) -> Result<(Header, Argument), Violation> {
        let members = match serde_json::from_slice::<Members<'_>>(value) {
            Ok(members) => members,
            // A peer that has spoken 2.0 (and only such peers send batches) is told; Go's server hangs up.
            Err(_) if self.speaks_two || (batch.is_some() && !value.starts_with(b"{")) => {
                return Ok(no_request(batch));
            }
            Err(error) => return Err(no_object(&error)),
        };
        let version = members.version();
        if version == Version::One && batch.is_some() {
            return Err(Violation::new("JSON-RPC 1.0 has no batches"));
        }
        self.speaks_two |= version == Version::Two;
        let method: Option<String> = members
            .method
            .and_then(|method| serde_json::from_str(method.get()).ok());
        let Some(service_method) = method else {
            return match version {
                Version::Two => Ok(no_request(batch)),
                Version::One => Err(Violation::new("a JSON-RPC request has no method name")),
            };
        };
        let id = match (version, members.id) {
            (Version::Two, None) => None,
            (_, id) => Some(id.map_or("null".into(), |id| without_spaces(id.get()).into())),
        };
        let header = Header {
            service_method,
            json: Some(Box::new(JsonCall { id, version, batch })),
            ..Header::default()
        };
        Ok((header, argument(input, version, members.params)))
    }
}

/// The argument within `params`.
fn argument(input: &[u8], version: Version, params: Option<&RawValue>) -> Argument {
    let within = |part: &str| match range_of(input, part.as_bytes()) {
        Some(place) => Argument::Json(place),
        None => Argument::Bad("jsonrpc: the params lie outside the request"),
    };
    let Some(params) = present(params) else {
        return match version {
            Version::One => Argument::Bad("jsonrpc: request body missing params"),
            Version::Two => Argument::Zero,
        };
    };
    if params.get().starts_with('{') && version == Version::Two {
        return within(params.get());
    }
    match serde_json::from_str::<Vec<&RawValue>>(params.get()) {
        Ok(list) if list.len() > 1 && version == Version::Two => Argument::Bad(
            "jsonrpc: a method takes one argument, by position or as an object of its members",
        ),
        Ok(list) => match present(list.first().copied()) {
            Some(first) => within(first.get()),
            None => Argument::Zero,
        },
        Err(_) => Argument::Bad("json: params must be an array"),
    }
}

fn read_reply(input: &[u8], members: &Members<'_>) -> Result<(Header, Argument), Violation> {
    let seq = match present(members.id) {
        None => 0,
        Some(id) => serde_json::from_str(id.get()).map_err(|_| {
            Violation::new(format!(
                "a JSON-RPC reply has the id {id}, which no request had"
            ))
        })?,
    };
    let mut header = Header {
        seq,
        ..Header::default()
    };
    let result = present(members.result);
    match (present(members.error), result) {
        (None, Some(result)) => {
            let place = range_of(input, result.get().as_bytes());
            Ok((header, place.map_or(Argument::Zero, Argument::Json)))
        }
        (error, _) => {
            header.error = error_text(error)?;
            Ok((header, Argument::Zero))
        }
    }
}

/// An error is a text in 1.0, and an object with a message in 2.0.
fn error_text(error: Option<&RawValue>) -> Result<String, Violation> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ErrorMember {
        Text(String),
        Object { message: String },
    }
    let given = error.map_or("null", RawValue::get);
    let text = match serde_json::from_str(given) {
        Ok(ErrorMember::Text(text) | ErrorMember::Object { message: text }) => text,
        Err(_) => {
            return Err(Violation::new(format!(
                "a JSON-RPC reply has the invalid error {given}"
            )));
        }
    };
    Ok(match text.is_empty() {
        true => "unspecified error".to_owned(),
        false => text,
    })
}

fn no_object(error: &serde_json::Error) -> Violation {
    Violation::new(format!("a JSON-RPC message is malformed: {error}"))
}

/// What is answered to something that is no request: it is met as a call of a method without a name.
fn no_request(batch: Option<Batch>) -> (Header, Argument) {
    let call = JsonCall {
        id: Some("null".into()),
        version: Version::Two,
        batch,
    };
    let header = Header {
        json: Some(Box::new(call)),
        ..Header::default()
    };
    (header, Argument::Bad("Invalid Request"))
}

/// Where `part` lies in `whole`, of which it is a part.
fn range_of(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// JSON without the white space between its parts.
fn without_spaces(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    json.chars()
        .filter(|&c| {
            let keeps = in_string || !c.is_ascii_whitespace();
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = in_string,
                '"' => in_string = !in_string,
                _ => {}
            }
            keeps
        })
        .collect()
}

pub(super) struct Writer {
    side: Side,
    pub(super) header: Header,
    /// Batches of which not every reply is there yet.
    batches: HashMap<u64, Replies>,
}

struct Replies {
    missing: usize,
    /// Those that are there, separated by commas.
    text: Vec<u8>,
}

impl Writer {
    pub(super) fn new(side: Side) -> Writer {
        Writer {
            side,
            header: Header::default(),
            batches: HashMap::new(),
        }
    }

    pub(super) fn write(&mut self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match (self.side, self.header.json.take()) {
            (Side::Client, _) => self.write_request(body, out),
            (Side::Server, Some(call)) => self.write_reply(&call, body, out),
            // Only JSON-RPC's own requests are answered here.
            (Side::Server, None) => Ok(()),
        }
    }

    fn write_request(&self, body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(b"{\"method\":");
        write_text(&self.header.service_method, out)?;
        out.extend_from_slice(b",\"params\":[");
        body.to_json(out)?;
        out.extend_from_slice(format!("],\"id\":{}}}\n", self.header.seq).as_bytes());
        Ok(())
    }

    fn write_reply(
        &mut self,
        call: &JsonCall,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Some(id) = &call.id else {
            // A notification gets no reply, whatever became of it.
            return Ok(());
        };
        let Some(batch) = call.batch else {
            self.write_object(id, call.version, body, out)?;
            out.push(b'\n');
            return Ok(());
        };
        let mut object = Vec::new();
        self.write_object(id, call.version, body, &mut object)?;
        let replies = self.batches.entry(batch.number).or_insert_with(|| Replies {
            missing: batch.replies,
            text: Vec::new(),
        });
        if !replies.text.is_empty() {
            replies.text.push(b',');
        }
        replies.text.append(&mut object);
        replies.missing = replies.missing.saturating_sub(1);
        if replies.missing == 0 {
            let text = self
                .batches
                .remove(&batch.number)
                .map(|replies| replies.text);
            out.push(b'[');
            out.extend_from_slice(&text.unwrap_or_default());
            out.extend_from_slice(b"]\n");
        }
        Ok(())
    }

    fn write_object(
        &self,
        id: &str,
        version: Version,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let error = self.header.error.as_str();
        match version {
            Version::One => {
                out.extend_from_slice(format!("{{\"id\":{id},\"result\":").as_bytes());
                if error.is_empty() {
                    write_result(body, out)?;
                    out.extend_from_slice(b",\"error\":null}");
                } else {
                    out.extend_from_slice(b"null,\"error\":");
                    write_text(error, out)?;
                    out.push(b'}');
                }
            }
            Version::Two => {
                out.extend_from_slice(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},").as_bytes());
                if error.is_empty() {
                    out.extend_from_slice(b"\"result\":");
                    write_result(body, out)?;
                } else {
                    let code = Code::from_number(self.header.code.into());
                    let number = error_number(code, &self.header.service_method);
                    out.extend_from_slice(
                        format!("\"error\":{{\"code\":{number},\"message\":").as_bytes(),
                    );
                    write_text(error, out)?;
                    out.extend_from_slice(
                        format!(",\"data\":{{\"code\":\"{code}\"}}}}").as_bytes(),
                    );
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// The numbers that JSON-RPC 2.0 has for these errors; the others get one of those left to servers.
fn error_number(code: Code, service_method: &str) -> i32 {
    match code {
        Code::Unimplemented if service_method.is_empty() => -32600,
        Code::Unimplemented => -32601,
        Code::InvalidArgument => -32602,
        Code::Internal => -32603,
        other => -32000 - i32::from(other.number()),
    }
}

/// Writes a result, which is never `null`: Go's client takes that for an error.
fn write_result(body: Body<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    body.to_json(out)?;
    if out.get(start..) == Some(b"null") {
        out.truncate(start);
        out.extend_from_slice(b"{}");
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    serde_json::to_writer(out, text).map_err(|error| EncodeError::new("json", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server makes of the input: names, ids and bodies, or the violation.
    fn requests(input: &str) -> Result<Vec<(String, Option<String>, String)>, Violation> {
        let mut reader = Reader::new(&Limits::default(), Side::Server);
        let mut rest = input.as_bytes();
        let mut found = Vec::new();
        loop {
            match reader.next(rest)? {
                Step::More { consumed: 0, .. } => return Ok(found),
                Step::More { consumed, .. } => rest = &rest[consumed..],
                Step::Message { consumed, body } => {
                    let body = match &reader.argument {
                        Argument::Json(_) => String::from_utf8_lossy(body).into_owned(),
                        other => format!("{other:?}"),
                    };
                    let call = reader.header.json.take().unwrap();
                    found.push((
                        reader.header.service_method.clone(),
                        call.id.map(String::from),
                        body,
                    ));
                    rest = &rest[consumed..];
                }
            }
        }
    }

    fn one(input: &str) -> (String, Option<String>, String) {
        requests(input).unwrap().remove(0)
    }

    fn request(method: &str, id: Option<&str>, body: &str) -> (String, Option<String>, String) {
        (method.to_owned(), id.map(str::to_owned), body.to_owned())
    }

    #[test]
    fn requests_of_version_one_are_read_as_go_reads_them() {
        for (input, expected) in [
            (
                r#"{"method":"A.B","params":[{"A":1}],"id":0}"#,
                request("A.B", Some("0"), r#"{"A":1}"#),
            ),
            (
                r#"{"METHOD":"A.B","Params":[1],"ID":3}"#,
                request("A.B", Some("3"), "1"),
            ),
            (
                r#"{"method":"A.B","params":[1, 2],"id":"x y"}"#,
                request("A.B", Some("\"x y\""), "1"),
            ),
            (
                r#"{"method":"A.B","params":[]}"#,
                request("A.B", Some("null"), "Zero"),
            ),
            (
                r#"{"method":"A.B","params":[null],"id":[1, {"a": "b c"}]}"#,
                request("A.B", Some(r#"[1,{"a":"b c"}]"#), "Zero"),
            ),
            (
                r#"{"method":"A.B","id":1.50}"#,
                request(
                    "A.B",
                    Some("1.50"),
                    "Bad(\"jsonrpc: request body missing params\")",
                ),
            ),
            (
                r#"{"method":"A.B","params":{"A":1},"id":1}"#,
                request("A.B", Some("1"), "Bad(\"json: params must be an array\")"),
            ),
            (
                r#"{"method":"X","method":"A.B","params":[7],"id":1}"#,
                request("A.B", Some("1"), "7"),
            ),
        ] {
            assert_eq!(one(input), expected, "{input}");
        }
    }

    #[test]
    fn what_go_hangs_up_on_is_a_violation() {
        for input in [
            r#"{"method":5,"id":1}"#,
            r#"[{"method":"A.B","params":[1],"id":1}]"#,
            r#"{"method":"A.B",}"#,
            "7 ",
        ] {
            assert!(requests(input).is_err(), "{input}");
        }
    }

    #[test]
    fn requests_of_version_two_may_be_objects_notifications_and_batches() {
        let input = r#"[{"jsonrpc":"2.0","method":"A.B","params":{"A":1},"id":1},{"jsonrpc":"2.0","method":"A.C"}, 7]{"jsonrpc":"2.0"}"#;
        assert_eq!(
            requests(input).unwrap(),
            [
                request("A.B", Some("1"), r#"{"A":1}"#),
                request("A.C", None, "Zero"),
                request("", Some("null"), "Bad(\"Invalid Request\")"),
                request("", Some("null"), "Bad(\"Invalid Request\")"),
            ]
        );
    }

    #[test]
    fn a_batch_has_a_bound() {
        let batch = |len| {
            format!(
                "[{}]",
                vec![r#"{"jsonrpc":"2.0","method":"A.B","id":1}"#; len].join(",")
            )
        };
        assert_eq!(requests(&batch(BATCH_MAX)).unwrap().len(), BATCH_MAX);
        let refused = requests(&batch(BATCH_MAX + 1)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "a JSON-RPC batch has 1001 requests, more than 1000"
        );
    }

    #[test]
    fn the_same_requests_come_out_however_the_bytes_are_split() {
        let input = r#" {"method":"A.B","params":[{"A":"}"}],"id":0}[{"jsonrpc":"2.0","method":"C.D","id":"e"}]"#;
        let whole = requests(input).unwrap();
        for split in 0..input.len() {
            let mut reader = Reader::new(&Limits::default(), Side::Server);
            let mut found = Vec::new();
            let mut start = 0;
            for end in [split, input.len()] {
                loop {
                    match reader.next(&input.as_bytes()[start..end]).unwrap() {
                        Step::More { consumed, .. } => {
                            start += consumed;
                            break;
                        }
                        Step::Message { consumed, .. } => {
                            start += consumed;
                            found.push(reader.header.service_method.clone());
                        }
                    }
                }
            }
            let names: Vec<_> = whole.iter().map(|(name, ..)| name.clone()).collect();
            assert_eq!(found, names, "split at {split}");
        }
    }

    #[test]
    fn the_replies_of_a_batch_go_out_together() {
        let mut writer = Writer::new(Side::Server);
        let mut out = Vec::new();
        for (id, result) in [("1", 10_i64), ("\"b\"", 20)] {
            assert!(out.is_empty());
            writer.header.json = Some(Box::new(JsonCall {
                id: Some(id.into()),
                version: Version::Two,
                batch: Some(Batch {
                    number: 1,
                    replies: 2,
                }),
            }));
            writer.write(Body::from(&result), &mut out).unwrap();
        }
        let expected = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":10},{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"result\":20}]\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_success_is_never_null() {
        let mut writer = Writer::new(Side::Server);
        let mut out = Vec::new();
        writer.header.json = Some(Box::new(JsonCall {
            id: Some("0".into()),
            version: Version::One,
            batch: None,
        }));
        writer.write(Body::from(&()), &mut out).unwrap();
        assert_eq!(out, b"{\"id\":0,\"result\":{},\"error\":null}\n");
    }
}
