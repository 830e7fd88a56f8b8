//! Calls by anyone with curl: JSON in, JSON out, and what there is to call.

use std::time::Duration;

use farcall::{Client, Code, Context, Error, Limits, Server, ServerBuilder, message, service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{counts, place, soon, to_end, until};

#[message]
struct Operands {
    a: i64,
    b: i64,
}

/// Arithmetic.
#[service]
trait Arith {
    /// Answers A * B.
    #[rpc(idempotent)]
    async fn multiply(&self, args: Operands) -> farcall::Result<i64>;
    async fn backwards(&self, bytes: Vec<u8>) -> farcall::Result<Vec<u8>>;
    async fn nothing(&self) -> farcall::Result<()>;
    async fn fail(&self, code: u32) -> farcall::Result<()>;
    async fn panic(&self, text: String) -> farcall::Result<()>;
    async fn hang(&self) -> farcall::Result<()>;
    async fn who(&self, cx: &Context) -> farcall::Result<String>;
}

struct Calculator;

impl Arith for Calculator {
    async fn multiply(&self, args: Operands) -> farcall::Result<i64> {
        args.a.checked_mul(args.b).ok_or_else(|| "too large".into())
    }

    async fn backwards(&self, mut bytes: Vec<u8>) -> farcall::Result<Vec<u8>> {
        bytes.reverse();
        Ok(bytes)
    }

    async fn nothing(&self) -> farcall::Result<()> {
        Ok(())
    }

    async fn fail(&self, code: u32) -> farcall::Result<()> {
        Err(Error::new(Code::from_number(code.into()), "as you wish"))
    }

    async fn panic(&self, text: String) -> farcall::Result<()> {
        panic!("{text}")
    }

    async fn hang(&self) -> farcall::Result<()> {
        std::future::pending().await
    }

    async fn who(&self, cx: &Context) -> farcall::Result<String> {
        Ok(format!("{} in {}", cx.dialect(), cx.codec()))
    }
}

fn builder() -> ServerBuilder {
    let server = Server::builder().register(Calculator.into_service());
    server.bind("tcp@127.0.0.1:0")
}

async fn server() -> Server {
    builder().start().await.unwrap()
}

/// One HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(
            self.head.contains("content-type: application/json"),
            "{self:?}"
        );
        serde_json::from_str(&self.body).unwrap()
    }

    fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

/// A connection of an HTTP client.
struct Http {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Http {
    async fn connect(server: &Server) -> Http {
        let stream = TcpStream::connect(place(server)).await.unwrap();
        let inbox = Vec::new();
        Http { stream, inbox }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The next answer, whose length its head must tell.
    async fn answer(&mut self) -> Answer {
        loop {
            let text = String::from_utf8(self.inbox.clone()).unwrap();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let len = head.split("content-length: ").nth(1).unwrap();
                let len: usize = len.split("\r\n").next().unwrap().parse().unwrap();
                if let Some(body) = rest.get(..len) {
                    let answer = Answer {
                        status: head["http/1.1 ".len()..][..3].parse().unwrap(),
                        body: body.to_owned(),
                        head: head.clone(),
                    };
                    self.inbox.drain(..head.len() + 4 + len);
                    return answer;
                }
            }
            let read = soon(self.stream.read_buf(&mut self.inbox)).await.unwrap();
            assert!(read > 0, "the answer breaks off: {text}");
        }
    }
}

fn post(name: &str, body: &str) -> String {
    let len = body.len();
    format!("POST /rpc/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
}

async fn call(server: &Server, name: &str, body: &str) -> Answer {
    exchange(server, &post(name, body)).await
}

async fn exchange(server: &Server, request: &str) -> Answer {
    let mut http = Http::connect(server).await;
    http.send(request).await;
    http.answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_times_eight_is_fifty_six_with_curl() {
    let server = server().await;
    // As curl writes it: a form's content type, and `Accept: */*`.
    let body = r#"{"A":7,"B":8}"#;
    let request = format!(
        "POST /rpc/Arith.Multiply HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\
         Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        place(&server),
        body.len(),
    );
    let answer = exchange(&server, &request).await;
    assert_eq!((answer.status, &*answer.body), (200, "56\n"));
    assert_eq!(answer.json(), 56);

    let url = format!("http://{}/rpc/Arith.Multiply", place(&server));
    let curl = tokio::task::spawn_blocking(move || {
        let mut curl = std::process::Command::new("curl");
        let curl = curl.args(["-sS", "--noproxy", "*", "--max-time", "20"]);
        curl.args(["-d", r#"{"A":7,"B":8}"#, &url]).output()
    });
    match curl.await.unwrap() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert_eq!(output.stdout, b"56\n");
        }
        // The same request was made by hand above.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[tokio::test]
async fn the_list_tells_everything_that_a_call_needs() {
    let server = server().await;
    let list = exchange(&server, "GET /rpc HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(list.status, 200);
    let list = list.json();
    let [service] = list["services"].as_array().unwrap().as_slice() else {
        panic!("one service: {list}")
    };
    assert_eq!(
        (&service["name"], &service["doc"]),
        (&json!("Arith"), &json!("Arithmetic."))
    );
    let methods = service["methods"].as_array().unwrap();
    let method = |name: &str| {
        methods
            .iter()
            .find(|method| method["name"] == name)
            .unwrap()
    };
    let multiply = method("Arith.Multiply");
    for (member, value) in [
        ("doc", json!("Answers A * B.")),
        ("idempotent", json!(true)),
        ("args_type", json!("Operands{A int; B int}")),
        ("reply_type", json!("int")),
        (
            "args",
            json!({
                "$ref": "#/$defs/Operands",
                "$defs": {"Operands": {
                    "type": "object",
                    "properties": {"A": {"type": "integer"}, "B": {"type": "integer"}},
                }},
            }),
        ),
        ("reply", json!({"type": "integer"})),
        ("example", json!({"A": 0, "B": 0})),
    ] {
        assert_eq!(multiply[member], value, "{member}");
    }
    let bytes = json!({"type": "string", "contentEncoding": "base64"});
    assert_eq!(method("Arith.Backwards")["args"], bytes);
    assert_eq!(methods.len(), 7);
    // What stands there as an example can be sent as it stands.
    for name in [
        "Arith.Multiply",
        "Arith.Backwards",
        "Arith.Nothing",
        "Arith.Who",
    ] {
        let example = method(name)["example"].to_string();
        let answer = call(&server, name, &example).await;
        assert_eq!(answer.status, 200, "{name} {example}: {answer:?}");
    }
}

#[tokio::test]
async fn values_are_as_in_gos_json() {
    let server = server().await;
    for (name, body, reply) in [
        ("Arith.Multiply", r#" {"b":8, "A":7, "C":[]} "#, json!(56)),
        ("Arith.Multiply", r#"{"A":null}"#, json!(0)),
        // Nothing at all is zero.
        ("Arith.Multiply", "", json!(0)),
        ("Arith.Multiply", "null", json!(0)),
        ("Arith.Backwards", r#""AAEC""#, json!("AgEA")),
        ("Arith.Backwards", "", json!("")),
        ("Arith.Nothing", "", json!({})),
        ("Arith.Nothing", "{}", json!({})),
        ("Arith.Who", "", json!("http in json")),
    ] {
        let answer = call(&server, name, body).await;
        assert_eq!(answer.status, 200, "{name} {body}: {answer:?}");
        assert_eq!(answer.json(), reply, "{name} {body}");
        assert!(answer.body.ends_with('\n'));
    }
}

#[tokio::test]
async fn a_failed_call_is_json_with_a_fitting_status() {
    let server = builder().handle_timeout(Duration::from_millis(50));
    let server = server.start().await.unwrap();
    let large = format!(r#"{{"A":{},"B":2}}"#, i64::MAX);
    for (name, body, status, code, says) in [
        (
            "Nope.Nope",
            "{}",
            404,
            "unimplemented",
            "rpc: can't find service Nope.Nope",
        ),
        (
            "Arith.Nope",
            "{}",
            404,
            "unimplemented",
            "rpc: can't find method Arith.Nope",
        ),
        (
            "Nope",
            "{}",
            404,
            "unimplemented",
            "rpc: service/method request ill-formed: Nope",
        ),
        (
            "",
            "{}",
            404,
            "unimplemented",
            "rpc: service/method request ill-formed: ",
        ),
        ("Arith.Multiply", "{", 400, "invalid_argument", "json: "),
        ("Arith.Multiply", "{} {}", 400, "invalid_argument", "json: "),
        ("Arith.Multiply", "[1,2]", 400, "invalid_argument", "json: "),
        (
            "Arith.Multiply",
            r#"{"A":"x"}"#,
            400,
            "invalid_argument",
            "json: ",
        ),
        (
            "Arith.Multiply",
            r#"{"A":1.5}"#,
            400,
            "invalid_argument",
            "json: ",
        ),
        (
            "Arith.Backwards",
            "\"?\"",
            400,
            "invalid_argument",
            "json: ",
        ),
        ("Arith.Multiply", &large, 422, "failed", "too large"),
        (
            "Arith.Panic",
            "\"!\"",
            500,
            "internal",
            "rpc server: the handler panicked",
        ),
        (
            "Arith.Hang",
            "",
            504,
            "deadline_exceeded",
            "rpc server: request handle timeout: expect within 50ms",
        ),
    ] {
        let answer = call(&server, name, body).await;
        assert_eq!(answer.status, status, "{name} {body}: {answer:?}");
        let (got, message) = answer.error();
        assert_eq!(got, code, "{name} {body}");
        match says.ends_with("json: ") {
            true => assert!(message.starts_with(says), "{name} {body}: {message}"),
            false => assert_eq!(message, says),
        }
    }
}

#[tokio::test]
async fn a_handlers_code_becomes_the_status() {
    let server = server().await;
    for (code, status) in [
        (Code::InvalidArgument, 400),
        (Code::FailedPrecondition, 400),
        (Code::OutOfRange, 400),
        (Code::Unauthenticated, 401),
        (Code::PermissionDenied, 403),
        (Code::NotFound, 404),
        (Code::Unimplemented, 404),
        (Code::AlreadyExists, 409),
        (Code::Aborted, 409),
        (Code::Failed, 422),
        (Code::ResourceExhausted, 429),
        (Code::Internal, 500),
        (Code::Unavailable, 503),
        (Code::DeadlineExceeded, 504),
    ] {
        let answer = call(&server, "Arith.Fail", &code.number().to_string()).await;
        assert_eq!(answer.status, status, "{code:?}");
        assert_eq!(
            answer.error(),
            (code.as_str().to_owned(), "as you wish".to_owned())
        );
    }
}

#[tokio::test]
async fn other_methods_are_told_what_the_path_knows() {
    let server = server().await;
    for (line, allow) in [
        ("GET /rpc/Arith.Multiply", "post"),
        ("PUT /rpc/Arith.Multiply", "post"),
        ("POST /rpc", "get, head"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let answer = exchange(&server, &request).await;
        assert_eq!(answer.status, 405, "{line}");
        assert!(
            answer.head.contains(&format!("allow: {allow}")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn one_connection_carries_many_calls_also_unasked_ones() {
    let server = server().await;
    let mut http = Http::connect(&server).await;
    for factor in 0..3 {
        http.send(post(
            "Arith.Multiply",
            &format!(r#"{{"A":{factor},"B":8}}"#),
        ))
        .await;
        assert_eq!(http.answer().await.json(), factor * 8);
    }
    // Many in one write, with failures among them: the answers come in order.
    let body = |factor: i64| match factor % 3 {
        0 => "oops".to_owned(),
        _ => format!(r#"{{"A":{factor},"B":2}}"#),
    };
    let requests: String = (1..=30)
        .map(|factor| post("Arith.Multiply", &body(factor)))
        .collect();
    http.send(requests).await;
    for factor in 1..=30 {
        let answer = http.answer().await;
        match factor % 3 {
            0 => assert_eq!(answer.status, 400),
            _ => assert_eq!(answer.json(), factor * 2),
        }
    }
    // A body in chunks, and one that waits until it is wanted.
    http.send(
        "POST /rpc/Arith.Multiply HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
         6\r\n{\"A\":7\r\n7\r\n,\"B\":8}\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(http.answer().await.json(), 56);
    http.send(
        "POST /rpc/Arith.Multiply HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut said = vec![0; go_on.len()];
    soon(http.stream.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, go_on);
    http.send(r#"{"A":7,"B":8}"#).await;
    assert_eq!(http.answer().await.json(), 56);
    http.send("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(http.answer().await.body, "ok\n");
    assert!(to_end(&mut http.stream).await.is_empty());
}

#[tokio::test]
async fn bad_input_is_refused_and_harms_nobody() {
    let limits = Limits {
        message_len_max: 1000,
        ..Limits::default()
    };
    let server = builder().limits(limits).start().await.unwrap();
    let mut bystander = Http::connect(&server).await;
    bystander.send(post("Arith.Nothing", "")).await;
    assert_eq!(bystander.answer().await.status, 200);

    // Too long, announced and not.
    let long = format!("\"{}\"", "A".repeat(2000));
    let mut http = Http::connect(&server).await;
    http.send(post("Arith.Backwards", &long)).await;
    assert_eq!(http.answer().await.status, 413);
    to_end(&mut http.stream).await;
    let mut http = Http::connect(&server).await;
    let head =
        "POST /rpc/Arith.Backwards HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    http.send(format!("{head}7d2\r\n{long}\r\n0\r\n\r\n")).await;
    assert_eq!(http.answer().await.status, 413);

    // What is no HTTP, and what breaks off.
    for bytes in [
        "POST /rpc/Arith.Nothing HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST /rpc/Arith.Nothing HTTP/7\r\n\r\n",
        "POST /rpc/Arith.Nothing HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /rpc/Arith.Nothing\0 HTTP/1.1\r\n\r\n",
        "POST /rpc/Arith.Backwards HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n\"AA",
    ] {
        let mut http = Http::connect(&server).await;
        http.send(bytes).await;
        http.stream.shutdown().await.unwrap();
        let said = to_end(&mut http.stream).await;
        let is_refused = said.is_empty() || said.starts_with(b"HTTP/1.1 400 ");
        assert!(is_refused, "{bytes:?}: {}", said.escape_ascii());
    }
    assert_eq!(
        counts(&server, "Arith.Backwards"),
        (0, 0),
        "no handler saw any of it"
    );
    bystander
        .send(post("Arith.Multiply", r#"{"A":7,"B":8}"#))
        .await;
    assert_eq!(bystander.answer().await.json(), 56);
}

#[tokio::test]
async fn pages_of_other_sites_make_no_calls() {
    let server = server().await;
    let with_origin = |origin: &str| {
        let origin = format!("Host: h\r\nOrigin: {origin}");
        post("Arith.Nothing", "").replace("Host: h", &origin)
    };
    for origin in [
        "http://evil.example",
        "http://h.evil.example",
        "null",
        "https://h:81",
    ] {
        let answer = exchange(&server, &with_origin(origin)).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(answer.error().0, "permission_denied");
    }
    assert_eq!(
        exchange(&server, &with_origin("http://h")).await.status,
        200
    );
    until(|| counts(&server, "Arith.Nothing") == (0, 1)).await;
}

#[tokio::test]
async fn calls_are_counted_with_those_of_every_dialect() {
    let server = server().await;
    let client = Client::builder(server.address().clone());
    let arith = ArithClient::new(client.connect().await.unwrap());
    arith.multiply(&Operands { a: 7, b: 8 }).await.unwrap();
    call(&server, "Arith.Multiply", r#"{"A":7,"B":8}"#).await;
    call(&server, "Arith.Multiply", "[]").await;
    // A call is counted when it has ended, which its caller may see a moment earlier.
    until(|| counts(&server, "Arith.Multiply") == (0, 3)).await;
    let services = server.services();
    let mut methods = services[0].methods.iter();
    let multiply = methods.find(|method| method.name == "Multiply").unwrap();
    assert_eq!(multiply.errors, 1);
}
