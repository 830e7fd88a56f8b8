//! Layers around calls, on servers, clients and clusters: their order, what they see and change, and that a call with
//! layers ends as one without them. What they cost is measured elsewhere.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farcall::discover::Static;
use farcall::middleware::{
    Call, Meter, Middleware, Next, Recorder, Reply, Running, Side, auth, concurrency_limit,
    rate_limit, trace,
};
use farcall::{
    Address, Client, ClientBuilder, Cluster, Code, Codec, Context, Error, Reached, Result, Server,
    ServerBuilder,
};
use farcall_wire::{Features, Flags};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::support::{Log, Raw, place, running, soon, to_end, until};

/// Every dialect that a client speaks, and its codecs.
const WAYS: [(&str, &[Codec]); 6] = [
    ("tcp", &Codec::ALL),
    ("http", &[Codec::Gob]),
    ("geerpc+http", &[Codec::Gob, Codec::Json]),
    ("netrpc+tcp", &[Codec::Gob]),
    ("netrpc+http", &[Codec::Gob]),
    ("jsonrpc+tcp", &[Codec::Json]),
];

fn ways() -> impl Iterator<Item = (&'static str, Codec)> {
    let ways = WAYS.into_iter();
    ways.flat_map(|(form, codecs)| codecs.iter().map(move |codec| (form, *codec)))
}

#[farcall::message]
#[derive(Debug, PartialEq)]
struct Point {
    x: i64,
    name: String,
}

fn services() -> ServerBuilder {
    Server::builder()
        .method("Echo.Int", |number: i64| async move { Ok(number) })
        .method("Echo.Point", |point: Point| async move { Ok(point) })
        .method("Echo.Later", |number: i64| async move {
            tokio::task::yield_now().await;
            Ok(number)
        })
        .method("Echo.Fail", |text: String| async move {
            Err::<(), _>(Error::new(Code::NotFound, text))
        })
        .method("Echo.Panic", |(): ()| async move {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(())
        })
        .method("Echo.Never", |(): ()| pending::<Result<()>>())
        .method(
            "Echo.Metadata",
            |context: Context, name: String| async move {
                Ok(context.metadata(&name).unwrap_or_default().to_owned())
            },
        )
        .bind("tcp@127.0.0.1:0")
}

fn builder(form: &str, server: &Server, codec: Codec) -> ClientBuilder {
    let address: Address = format!("{form}@{}", place(server)).parse().unwrap();
    Client::builder(address).codec(codec)
}

async fn connect(server: &Server) -> Client {
    let client = builder("tcp", server, Codec::Postcard).connect();
    soon(client).await.unwrap()
}

/// One HTTP request and its answer: status and body.
async fn post(server: &Server, method: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(place(server)).await.unwrap();
    let request = format!(
        "POST /rpc/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(to_end(&mut stream).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, body.trim().to_owned())
}

/// What layers did, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// A layer that writes what comes by it.
    fn layer(&self, name: &'static str) -> impl Middleware {
        let diary = self.clone();
        move |call: Call, next: Next| {
            let diary = diary.clone();
            async move {
                diary.write(format!("{name} {} {}", call.side(), call.method()));
                let outcome = next.run(call).await;
                match &outcome {
                    Ok(_) => diary.write(format!("{name} ok")),
                    Err(error) => diary.write(format!("{name} {}", error.code())),
                }
                outcome
            }
        }
    }
}

#[tokio::test]
async fn the_first_layer_is_the_outermost_in_every_dialect() {
    let diary = Diary::default();
    let mut builder_of_server = services();
    for name in ["first", "second", "third"] {
        builder_of_server = builder_of_server.layer(diary.layer(name));
    }
    let server = builder_of_server.start().await.unwrap();
    let ok = |method: &str| {
        let down = ["first", "second", "third"].map(|name| format!("{name} server {method}"));
        let up = ["third", "second", "first"].map(|name| format!("{name} ok"));
        [down, up].concat()
    };
    for (form, codec) in ways() {
        let client = builder(form, &server, codec).connect().await.unwrap();
        let point = Point {
            x: -7,
            name: "später".to_owned(),
        };
        let reply: Point = soon(client.call("Echo.Point", &point).into_future())
            .await
            .unwrap();
        assert_eq!(reply, point, "{form} {codec}");
        assert_eq!(diary.take(), ok("Echo.Point"), "{form} {codec}");
        let reply: i64 = client.call("Echo.Later", &5_i64).await.unwrap();
        assert_eq!(reply, 5);
        assert_eq!(diary.take(), ok("Echo.Later"), "{form} {codec}");
        let error = client.call::<()>("Echo.Fail", &"no".to_owned()).await;
        assert_eq!(error.unwrap_err().message(), "no");
        let up = ["third", "second", "first"].map(|name| format!("{name} not_found"));
        assert_eq!(diary.take()[3..], up, "{form} {codec}");
    }
    let answer = post(&server, "Echo.Int", "", "42").await;
    assert_eq!(answer, ("200".to_owned(), "42".to_owned()));
    assert_eq!(diary.take(), ok("Echo.Int"));
}

#[tokio::test]
async fn the_layers_of_clients_and_clusters_stand_in_the_same_order() {
    let server = services().start().await.unwrap();
    let diary = Diary::default();
    let expected = [
        "outer client Echo.Int",
        "inner client Echo.Int",
        "inner ok",
        "outer ok",
    ];
    for (form, codec) in ways() {
        let client = builder(form, &server, codec)
            .layer(diary.layer("outer"))
            .layer(diary.layer("inner"));
        let client = client.connect().await.unwrap();
        let reply: i64 = soon(client.call("Echo.Int", &9_i64).into_future())
            .await
            .unwrap();
        assert_eq!(reply, 9);
        assert_eq!(diary.take(), expected, "{form} {codec}");
        assert_eq!(client.go::<i64>("Echo.Int", 10_i64).await.unwrap(), 10);
        assert_eq!(diary.take(), expected, "{form} {codec}");
        if codec != Codec::Postcard {
            let called = client.call_json("Echo.Int", json!(11), None, None);
            assert_eq!(called.await.unwrap(), json!(11));
            assert_eq!(diary.take(), expected, "{form} {codec}");
        }
    }
    let cluster = Cluster::builder(Static::new([server.address().clone()]))
        .layer(diary.layer("outer"))
        .layer(diary.layer("inner"))
        .build();
    let reply: i64 = cluster.call("Echo.Int", &9_i64).await.unwrap();
    assert_eq!(reply, 9);
    assert_eq!(diary.take(), expected);
    let all = cluster.broadcast::<i64>("Echo.Int", &3_i64).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(*all[0].1.as_ref().unwrap(), 3);
    assert_eq!(diary.take(), expected);
}

#[tokio::test]
async fn layers_can_be_a_list_made_at_run_time_and_shared() {
    let count = Arc::new(AtomicUsize::new(0));
    let counting: Arc<dyn Middleware> = {
        let count = Arc::clone(&count);
        Arc::new(move |call: Call, next: Next| {
            count.fetch_add(1, Ordering::Relaxed);
            next.run(call)
        })
    };
    let list: Vec<Box<dyn Middleware>> = vec![
        Box::new(trace()),
        Box::new(Arc::clone(&counting)),
        Box::new(concurrency_limit(10)),
    ];
    let mut builder = services().layer(counting);
    for layer in list {
        builder = builder.layer(layer);
    }
    let server = builder.start().await.unwrap();
    let reply: i64 = connect(&server)
        .await
        .call("Echo.Int", &1_i64)
        .await
        .unwrap();
    assert_eq!((reply, count.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn a_rejected_call_is_never_decoded_and_the_stream_stays_in_step() {
    /// Counts how often it is decoded.
    #[derive(serde::Serialize)]
    struct Heavy(i64);
    static DECODED: AtomicUsize = AtomicUsize::new(0);
    impl<'de> serde::Deserialize<'de> for Heavy {
        fn deserialize<D: serde::Deserializer<'de>>(
            from: D,
        ) -> std::result::Result<Heavy, D::Error> {
            DECODED.fetch_add(1, Ordering::Relaxed);
            i64::deserialize(from).map(Heavy)
        }
    }
    #[farcall::message]
    struct Wrapped {
        inner: farcall::Serde<Heavy>,
        is_welcome: bool,
    }
    let server = services()
        .method("Heavy.Lift", |wrapped: Wrapped| async move {
            Ok(wrapped.inner.0.0)
        })
        .layer(|call: Call, next: Next| async move {
            match call.method() {
                "Heavy.Lift" if call.metadata("welcome").is_none() => {
                    Err(Error::new(Code::PermissionDenied, "not you"))
                }
                _ => next.run(call).await,
            }
        })
        .start()
        .await
        .unwrap();
    // Registering a method looks at its types.
    DECODED.store(0, Ordering::Relaxed);
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).connect().await.unwrap();
        let heavy = |number, is_welcome| Wrapped {
            inner: farcall::Serde(Heavy(number)),
            is_welcome,
        };
        let argument = heavy(1, false);
        // The first one brings gob's definitions, which must not be skipped with it.
        for _ in 0..3 {
            let error = client.call::<i64>("Heavy.Lift", &argument).await;
            let error = error.unwrap_err();
            assert_eq!(
                (error.code(), error.message(), error.reached()),
                (Code::PermissionDenied, "not you", Reached::Refused),
                "{codec}"
            );
            assert!(error.is_retryable());
        }
        assert_eq!(DECODED.load(Ordering::Relaxed), 0, "{codec}");
        let argument = heavy(77, true);
        let lifted = client.call::<i64>("Heavy.Lift", &argument);
        assert_eq!(lifted.metadata("welcome", "yes").await.unwrap(), 77);
        assert_ne!(DECODED.swap(0, Ordering::Relaxed), 0, "{codec}");
    }
}

#[tokio::test]
async fn a_rejection_is_told_in_every_dialect() {
    let server = services()
        .layer(auth(|context: &Context| {
            match context.metadata("authorization") {
                Some("open sesame") => Ok("Ali Baba".to_owned()),
                Some(_) => Err(Error::new(Code::PermissionDenied, "wrong words")),
                None => Err("say the words".into()),
            }
        }))
        .method("Who.AmI", |context: Context, (): ()| async move {
            Ok(context.get::<String>().cloned().unwrap_or_default())
        })
        .start()
        .await
        .unwrap();
    for (form, codec) in ways() {
        let client = builder(form, &server, codec).connect().await.unwrap();
        for _ in 0..2 {
            let error = soon(client.call::<String>("Who.AmI", &()).into_future()).await;
            let error = error.unwrap_err();
            assert_eq!(error.message(), "say the words", "{form} {codec}");
            match form {
                "tcp" | "http" => assert_eq!(
                    (error.code(), error.reached()),
                    (Code::Unauthenticated, Reached::Refused)
                ),
                "jsonrpc+tcp" => {}
                _ => assert_eq!(error.code(), Code::Failed, "no codes travel there"),
            }
        }
        let call = || client.call::<String>("Who.AmI", &());
        if let "tcp" | "http" = form {
            let error = call().metadata("authorization", "mumble").await;
            assert_eq!(error.unwrap_err().code(), Code::PermissionDenied);
            let name = call().metadata("authorization", "open sesame").await;
            assert_eq!(name.unwrap(), "Ali Baba");
        }
    }
    let (status, body) = post(&server, "Who.AmI", "", "").await;
    assert_eq!(status, "401", "{body}");
    let (status, body) = post(&server, "Who.AmI", "Authorization: mumble\r\n", "").await;
    assert_eq!(status, "403", "{body}");
    let answer = post(&server, "Who.AmI", "Authorization: open sesame\r\n", "").await;
    assert_eq!(answer, ("200".to_owned(), "\"Ali Baba\"".to_owned()));
}

#[tokio::test]
async fn metadata_that_layers_add_travels_and_reaches_the_handler() {
    let server = services()
        .method("Reply.Metadata", |context: Context, (): ()| async move {
            context.reply_metadata("handler", "was here");
            Ok(())
        })
        .layer(|mut call: Call, next: Next| {
            let tenant = call.metadata("tenant").map(str::to_owned);
            call.insert_metadata("seen", format!("{tenant:?} at the server"));
            call.context().reply_metadata("layer", "was here");
            next.run(call)
        })
        .start()
        .await
        .unwrap();
    let tenant = |mut call: Call, next: Next| {
        call.insert_metadata("tenant", "seven");
        next.run(call)
    };
    let cluster = Cluster::builder(Static::new([server.address().clone()]));
    let cluster = cluster.layer(tenant).build();
    let ask = |name: &str| name.to_owned();
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).layer(tenant);
        let client = client.connect().await.unwrap();
        let [of_layer, of_server, of_caller] = ["tenant", "seen", "other"].map(ask);
        let call = |name| client.call::<String>("Echo.Metadata", name);
        assert_eq!(call(&of_layer).await.unwrap(), "seven");
        let hidden = call(&of_layer).metadata("tenant", "six").await;
        assert_eq!(hidden.unwrap(), "seven", "the last one counts");
        let seen = call(&of_server).await.unwrap();
        assert_eq!(seen, "Some(\"seven\") at the server");
        let kept = call(&of_caller).metadata("other", "kept").await;
        assert_eq!(kept.unwrap(), "kept");
        let came = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&came);
        let looking = move |call: Call, next: Next| {
            let seen = Arc::clone(&seen);
            async move {
                let reply = next.run(call).await?;
                let both = ["layer", "handler"].map(|name| reply.metadata(name));
                let are_there = both == [Some("was here"); 2];
                seen.fetch_add(usize::from(are_there), Ordering::Relaxed);
                Ok(reply)
            }
        };
        let client = builder("tcp", &server, codec).layer(looking).build();
        let reply = client.call::<()>("Reply.Metadata", &()).with_metadata();
        let mut metadata = reply.await.unwrap().metadata;
        metadata.sort();
        let metadata: Vec<&str> = metadata.iter().map(|(name, _)| &**name).collect();
        assert_eq!(metadata, ["handler", "layer"]);
        client.call::<()>("Reply.Metadata", &()).await.unwrap();
        assert_eq!(came.load(Ordering::Relaxed), 1, "who did not ask got none");
    }
    let seen: String = cluster.call("Echo.Metadata", &ask("seen")).await.unwrap();
    assert_eq!(seen, "Some(\"seven\") at the server");
}

#[tokio::test]
async fn a_layer_may_answer_by_itself() {
    let cached = |call: Call, next: Next| async move {
        match call.method() {
            "Echo.Int" => Ok(Reply::new(-1_i64)),
            "Echo.Later" => Ok(Reply::new("no number".to_owned())),
            _ => next.run(call).await,
        }
    };
    let server = services().layer(cached).start().await.unwrap();
    for (form, codec) in ways() {
        let client = builder(form, &server, codec).connect().await.unwrap();
        assert_eq!(client.call::<i64>("Echo.Int", &5_i64).await.unwrap(), -1);
        let wrong = client.call::<i64>("Echo.Later", &5_i64).await;
        assert_eq!(wrong.unwrap_err().code(), Code::Internal, "{form} {codec}");
    }
    let answer = post(&server, "Echo.Int", "", "5").await;
    assert_eq!(answer, ("200".to_owned(), "-1".to_owned()));
    let nobody: Address = "tcp@127.0.0.1:1".parse().unwrap();
    let client = Client::builder(nobody).layer(cached).build();
    assert_eq!(client.call::<i64>("Echo.Int", &5_i64).await.unwrap(), -1);
    let json = client.call_json("Echo.Int", json!(5), None, None).await;
    assert_eq!(json.unwrap(), json!(-1));
    let wrong = client.call::<i64>("Echo.Later", &5_i64).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Internal, "{wrong}");
}

#[tokio::test]
async fn a_layer_may_turn_a_success_into_an_error_and_an_error_into_a_success() {
    let turn = |call: Call, next: Next| async move {
        match next.run(call).await {
            Ok(_) => Err(Error::new(Code::DataLoss, "it went well")),
            Err(error) => Ok(Reply::new(error.message().to_owned())),
        }
    };
    let server = services().layer(turn).start().await.unwrap();
    let client = connect(&server).await;
    let error = client.call::<i64>("Echo.Int", &5_i64).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DataLoss, Reached::Answered),
        "the handler did run"
    );
    let reply: String = client.call("Echo.Fail", &"gone".to_owned()).await.unwrap();
    assert_eq!(reply, "gone");
    let plain = services().start().await.unwrap();
    let client = builder("tcp", &plain, Codec::Gob).layer(turn).build();
    let error = client.call::<i64>("Echo.Int", &5_i64).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    let reply: String = client.call("Echo.Fail", &"gone".to_owned()).await.unwrap();
    assert_eq!(reply, "gone");
}

#[tokio::test]
async fn layers_see_what_became_of_the_call_whatever_it_was() {
    let diary = Diary::default();
    let server = services().layer(diary.layer("layer"));
    let server = server.start().await.unwrap();
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).connect().await.unwrap();
        let error = client.call::<()>("Echo.Panic", &()).await.unwrap_err();
        assert_eq!(error.message(), "rpc server: the handler panicked");
        assert_eq!(diary.take()[1..], ["layer internal"]);
        // Too short for a point in every codec.
        let error = client.call::<Point>("Echo.Point", &false).await;
        assert_eq!(error.unwrap_err().code(), Code::InvalidArgument, "{codec}");
        assert_eq!(diary.take()[1..], ["layer invalid_argument"], "{codec}");
        let error = client.call::<()>("Echo.Nope", &1_i64).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert_eq!(diary.take(), [""; 0], "there is no such method");
    }
}

/// Panics where the call's metadata say.
fn clumsy(call: Call, next: Next) -> Running {
    let place = call.metadata("panic").map(str::to_owned);
    assert_ne!(place.as_deref(), Some("at once"));
    Box::pin(async move {
        assert_ne!(place.as_deref(), Some("before"));
        let outcome = next.run(call).await;
        assert_ne!(place.as_deref(), Some("after"));
        outcome
    })
}

#[tokio::test]
async fn a_panic_in_a_layer_is_its_calls_error_and_nobody_elses() {
    let layered = services().layer(clumsy).start().await.unwrap();
    let plain = services().start().await.unwrap();
    let client_of_layered = connect(&layered).await;
    let layered_client = builder("tcp", &plain, Codec::Postcard);
    let layered_client = layered_client.layer(clumsy).build();
    for (client, before, after) in [
        (client_of_layered, Reached::Refused, Reached::Answered),
        (layered_client, Reached::NotSent, Reached::Answered),
    ] {
        let other = client.go::<i64>("Echo.Later", 5_i64);
        for (place, reached) in [("at once", before), ("before", before), ("after", after)] {
            for method in ["Echo.Int", "Echo.Later"] {
                let call = client.call::<i64>(method, &5_i64);
                let error = soon(call.metadata("panic", place).into_future()).await;
                let error = error.unwrap_err();
                assert_eq!(
                    (error.code(), error.message(), error.reached()),
                    (Code::Internal, "rpc server: a layer panicked", reached),
                    "{place}"
                );
            }
        }
        assert_eq!(other.await.unwrap(), 5);
        assert_eq!(client.call::<i64>("Echo.Int", &6_i64).await.unwrap(), 6);
    }
}

#[tokio::test]
async fn giving_a_call_up_reaches_through_the_layers_of_both_sides() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicUsize::new(0));
    let noticing = || {
        let gone = Arc::clone(&gone);
        move |call: Call, next: Next| {
            let gone = Gone(Arc::clone(&gone));
            async move {
                let _gone = gone;
                next.run(call).await
            }
        }
    };
    let server = services().layer(noticing()).start().await.unwrap();
    let client = builder("tcp", &server, Codec::Json).layer(noticing());
    let client = client.connect().await.unwrap();
    let pending = client.go::<()>("Echo.Never", ());
    until(|| running(&server) == 1).await;
    assert_eq!(gone.load(Ordering::Relaxed), 0);
    drop(pending);
    until(|| gone.load(Ordering::Relaxed) == 2).await;
    until(|| running(&server) == 0).await;
    until(|| client.in_flight() == 0).await;
    // A layer may give up by itself what it runs, and go on.
    let impatient = |call: Call, next: Next| async move {
        let limit = Duration::from_millis(20);
        match tokio::time::timeout(limit, next.run(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(Reply::new(())),
        }
    };
    let client = builder("tcp", &server, Codec::Json).layer(impatient);
    let client = client.connect().await.unwrap();
    soon(client.call::<()>("Echo.Never", &()).into_future())
        .await
        .unwrap();
    until(|| running(&server) == 0 && client.in_flight() == 0).await;
}

#[tokio::test]
async fn the_callers_timeout_counts_for_layers_that_only_wait() {
    let server = services().start().await.unwrap();
    let stuck = |_: Call, _: Next| pending::<Result<Reply>>();
    let client = builder("tcp", &server, Codec::Gob).layer(stuck).build();
    let call = client.call::<i64>("Echo.Int", &1_i64);
    let call = call.timeout(Duration::from_millis(20));
    let error = soon(call.into_future()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::NotSent),
        "{error}"
    );
    let server = services().layer(stuck);
    let server = server.handle_timeout(Duration::from_millis(20));
    let server = server.start().await.unwrap();
    for (form, codec) in ways() {
        let client = builder(form, &server, codec).connect().await.unwrap();
        let call = client.call::<i64>("Echo.Int", &1_i64);
        let error = soon(call.into_future()).await.unwrap_err();
        let text = error.message();
        assert!(
            text.contains("expect within 20ms"),
            "{form} {codec}: {text}"
        );
    }
    let (status, _) = post(&server, "Echo.Int", "", "1").await;
    assert_eq!(status, "504");
    until(|| running(&server) == 0).await;
}

#[tokio::test]
async fn a_layer_makes_a_calls_time_shorter_and_never_longer() {
    let limit = |limit: Duration| {
        move |mut call: Call, next: Next| {
            call.limit(limit);
            next.run(call)
        }
    };
    let short = || limit(Duration::from_millis(20));
    let server = services().layer(short()).start().await.unwrap();
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).connect().await.unwrap();
        let error = soon(client.call::<()>("Echo.Never", &()).into_future()).await;
        let error = error.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::DeadlineExceeded, Reached::Answered),
            "{error}"
        );
    }
    let server = services().start().await.unwrap();
    let diary = Diary::default();
    let client = builder("tcp", &server, Codec::Gob).layer(short());
    let client = client.layer(diary.layer("layer")).build();
    let error = soon(client.call::<()>("Echo.Never", &()).into_future()).await;
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(diary.take()[1..], ["layer deadline_exceeded"]);
    until(|| running(&server) == 0).await;
    let long = limit(Duration::from_secs(3600));
    let client = builder("tcp", &server, Codec::Gob).layer(long);
    let client = client.call_timeout(Duration::from_millis(20)).build();
    let error = soon(client.call::<()>("Echo.Never", &()).into_future()).await;
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_layer_may_run_a_call_again_or_twice_at_once() {
    let tries = Arc::new(AtomicUsize::new(0));
    let flaky = {
        let tries = Arc::clone(&tries);
        move |point: Point| {
            let is_third = tries.fetch_add(1, Ordering::Relaxed) % 3 == 2;
            ready(match is_third {
                true => Ok(point),
                false => Err(Error::new(Code::Aborted, "try again")),
            })
        }
    };
    async fn again(call: Call, next: Next) -> Result<Reply> {
        loop {
            match next.clone().run(call.clone()).await {
                Err(error) if error.code() == Code::Aborted => {}
                outcome => return outcome,
            }
        }
    }
    async fn twice(call: Call, next: Next) -> Result<Reply> {
        let (first, second) = (next.clone().run(call.clone()), next.run(call));
        let (first, second) = tokio::join!(first, second);
        first.and(second)
    }
    let point = Point {
        x: 1,
        name: "again".to_owned(),
    };
    for codec in Codec::ALL {
        let server = services().method("Flaky.Point", flaky.clone());
        let server = server.layer(again).start().await.unwrap();
        let client = builder("tcp", &server, codec).connect().await.unwrap();
        let reply: Point = client.call("Flaky.Point", &point).await.unwrap();
        assert_eq!(reply, point);
        let server = services().method("Flaky.Point", flaky.clone());
        let server = server.start().await.unwrap();
        let client = builder("tcp", &server, codec).layer(again).build();
        let reply: Point = client.call("Flaky.Point", &point).await.unwrap();
        assert_eq!(reply, point);
        assert_eq!(tries.swap(0, Ordering::Relaxed), 6, "{codec}");
        let client = builder("tcp", &server, codec).layer(twice).build();
        let reply: i64 = client.call("Echo.Later", &3_i64).await.unwrap();
        assert_eq!(reply, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_may_run_a_call_on_a_task_of_its_own() {
    async fn elsewhere(call: Call, next: Next) -> Result<Reply> {
        tokio::spawn(next.run(call)).await.unwrap()
    }
    let server = services().layer(elsewhere).start().await.unwrap();
    let client = builder("tcp", &server, Codec::Gob).layer(elsewhere);
    let client = client.connect().await.unwrap();
    for number in 0..200_i64 {
        let reply: i64 = soon(client.call("Echo.Later", &number).into_future())
            .await
            .unwrap();
        assert_eq!(reply, number);
    }
    // What runs elsewhere for a caller that has gone ends, too.
    let pending = client.go::<()>("Echo.Never", ());
    until(|| running(&server) == 1).await;
    drop(pending);
    until(|| client.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_calls_through_layers_mix_nothing_up() {
    let server = services()
        .layer(trace())
        .layer(|call: Call, next: Next| async move {
            if call.metadata("reject").is_some() {
                return Err(Error::new(Code::ResourceExhausted, "not now"));
            }
            tokio::task::yield_now().await;
            next.run(call).await
        })
        .start()
        .await
        .unwrap();
    let pass = |call: Call, next: Next| next.run(call);
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).layer(pass);
        let client = client.connect().await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64_i64 {
            let client = client.clone();
            tasks.spawn(async move {
                for round in 0..50 {
                    let number = task * 1000 + round;
                    let method = ["Echo.Int", "Echo.Later"][(number % 2) as usize];
                    let call = client.call::<i64>(method, &number);
                    match number % 7 {
                        0 => {
                            let error = call.metadata("reject", "").await.unwrap_err();
                            assert_eq!(error.message(), "not now");
                        }
                        _ => assert_eq!(call.await.unwrap(), number),
                    }
                }
            });
        }
        while let Some(task) = soon(tasks.join_next()).await {
            task.unwrap();
        }
        assert_eq!(client.in_flight(), 0);
    }
    assert_eq!(running(&server), 0);
}

#[tokio::test]
async fn a_large_argument_goes_through_layers_whole() {
    let server = services()
        .method("Echo.Bytes", |bytes: Vec<u8>| async move { Ok(bytes) })
        .layer(trace())
        .start()
        .await
        .unwrap();
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|i| (i * 7) as u8).collect();
    for codec in Codec::ALL {
        let client = builder("tcp", &server, codec).layer(trace());
        let client = client.connect().await.unwrap();
        let reply: Vec<u8> = soon(client.call("Echo.Bytes", &bytes).into_future())
            .await
            .unwrap();
        assert!(reply == bytes, "{codec}");
    }
}

#[tokio::test]
async fn methods_that_run_elsewhere_have_layers_too() {
    use farcall::{Method, Service};
    let diary = Diary::default();
    let blocking = Method::new("Block", |_, number: i64| async move {
        std::thread::yield_now();
        Ok(number)
    });
    let spawned = Method::new("Spawn", |_, number: i64| async move { Ok(number) });
    let service = Service::new("Run")
        .with(blocking.blocking())
        .with(spawned.spawned());
    let server = services().register(service).layer(diary.layer("layer"));
    let server = server.start().await.unwrap();
    let client = connect(&server).await;
    for method in ["Run.Block", "Run.Spawn"] {
        let reply: i64 = soon(client.call(method, &8_i64).into_future())
            .await
            .unwrap();
        assert_eq!(reply, 8);
        assert_eq!(
            diary.take(),
            [format!("layer server {method}"), "layer ok".to_owned()]
        );
    }
}

#[tokio::test]
async fn a_layer_knows_who_is_at_the_other_end() {
    let peers = Arc::new(Mutex::new(Vec::new()));
    let note = || {
        let peers = Arc::clone(&peers);
        move |call: Call, next: Next| {
            let note = format!("{} {}", call.peer(), call.context().dialect());
            peers.lock().unwrap().push(note);
            next.run(call)
        }
    };
    let server = services().layer(note()).start().await.unwrap();
    let client = builder("netrpc+tcp", &server, Codec::Gob).layer(note());
    client
        .build()
        .call::<i64>("Echo.Int", &1_i64)
        .await
        .unwrap();
    let place = place(&server);
    let peers = std::mem::take(&mut *peers.lock().unwrap());
    assert_eq!(peers[0], format!("netrpc+tcp@{place} net/rpc"));
    assert!(peers[1].starts_with("127.0.0.1:"), "{peers:?}");
    assert!(peers[1].ends_with(" net/rpc"), "{peers:?}");
}

#[tokio::test]
async fn no_more_calls_run_than_the_limit_and_every_one_beyond_is_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let server = services()
        .method("Gate.Pass", move |number: i64| {
            let opened = Arc::clone(&opened);
            async move {
                opened.acquire().await.unwrap().forget();
                Ok(number)
            }
        })
        .layer(concurrency_limit(3))
        .start()
        .await
        .unwrap();
    let (first, second) = (connect(&server).await, connect(&server).await);
    let inside: Vec<_> = (0..3_i64)
        .map(|number| [&first, &second][number as usize % 2].go::<i64>("Gate.Pass", number))
        .collect();
    until(|| running(&server) == 3).await;
    for client in [&first, &second] {
        let error = client.call::<i64>("Echo.Int", &1_i64).await.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::ResourceExhausted, Reached::Refused),
            "{error}"
        );
    }
    gate.add_permits(3);
    for (number, call) in (0..).zip(inside) {
        assert_eq!(soon(call).await.unwrap(), number);
    }
    assert_eq!(first.call::<i64>("Echo.Int", &1_i64).await.unwrap(), 1);
    // A call that is given up gives its place back.
    let given_up: Vec<_> = (0..3).map(|_| first.go::<()>("Echo.Never", ())).collect();
    until(|| running(&server) == 3).await;
    drop(given_up);
    until(|| running(&server) == 0).await;
    assert_eq!(first.call::<i64>("Echo.Int", &1_i64).await.unwrap(), 1);
}

/// A client of a server over a pipe in memory: with real sockets a paused clock would run on while the kernel works.
async fn piped(server: &Server, builder: ClientBuilder) -> Client {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    server.serve_stream(theirs, "a pipe");
    builder.connect_on(ours).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_by_the_clock_that_tests_can_pause() {
    let server = services().layer(rate_limit(10.0, 5)).start().await.unwrap();
    let client = piped(&server, builder("tcp", &server, Codec::Json)).await;
    let burst = async |count| {
        let mut passed = 0;
        for _ in 0..count {
            match client.call::<i64>("Echo.Int", &1_i64).await {
                Ok(_) => passed += 1,
                Err(error) => {
                    assert_eq!(
                        (error.code(), error.reached()),
                        (Code::ResourceExhausted, Reached::Refused),
                        "{error}"
                    );
                }
            }
        }
        passed
    };
    assert_eq!(burst(20).await, 5);
    tokio::time::advance(Duration::from_millis(301)).await;
    assert_eq!(burst(20).await, 3);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(burst(20).await, 5);
}

#[tokio::test]
async fn a_cluster_takes_a_call_elsewhere_that_a_limit_refused_and_not_one_that_may_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let refusing = |code: Code| {
        let calls = Arc::clone(&calls);
        services().layer(move |_: Call, _: Next| {
            calls.fetch_add(1, Ordering::Relaxed);
            ready(Err::<Reply, _>(Error::new(code, "not here")))
        })
    };
    let busy = refusing(Code::ResourceExhausted).start().await.unwrap();
    let forbidding = refusing(Code::PermissionDenied).start().await.unwrap();
    let forbidding_too = refusing(Code::PermissionDenied).start().await.unwrap();
    let willing = services().start().await.unwrap();
    let cluster = |servers: [&Server; 2]| {
        let addresses = servers.map(|server| server.address().clone());
        Cluster::builder(Static::new(addresses)).build()
    };
    let half_busy = cluster([&busy, &willing]);
    for number in 0..40_i64 {
        let reply: i64 = half_busy.call("Echo.Int", &number).await.unwrap();
        assert_eq!(reply, number);
    }
    assert!(calls.swap(0, Ordering::Relaxed) > 0, "both were chosen");
    let closed = cluster([&forbidding, &forbidding_too]);
    let error = closed.call::<i64>("Echo.Int", &1_i64).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_error_of_a_call_that_a_handler_made_does_not_say_that_the_handler_did_not_run() {
    let busy = services()
        .layer(concurrency_limit(0))
        .start()
        .await
        .unwrap();
    for layer in [false, true] {
        let behind = connect(&busy).await;
        let mut builder = services().method("Relay.Int", move |number: i64| {
            let behind = behind.clone();
            async move { behind.call::<i64>("Echo.Int", &number).await }
        });
        if layer {
            builder = builder.layer(trace());
        }
        let server = builder.start().await.unwrap();
        let client = connect(&server).await;
        let error = client.call::<i64>("Relay.Int", &1_i64).await.unwrap_err();
        assert_eq!(
            (error.code(), error.reached()),
            (Code::ResourceExhausted, Reached::Answered)
        );
    }
}

#[tokio::test]
async fn what_a_caller_says_of_its_call_gets_through_layers() {
    let (ran, runs) = tokio::sync::mpsc::unbounded_channel();
    let mut runs = runs;
    let server = services()
        .method("Note.Idempotent", move |context: Context, (): ()| {
            ran.send(context.is_idempotent()).unwrap();
            ready(Ok(()))
        })
        .layer(trace());
    let server = server.start().await.unwrap();
    let inner = connect(&server).await;
    let client = builder("tcp", &server, Codec::Gob).layer(trace()).build();
    client.call::<()>("Note.Idempotent", &()).await.unwrap();
    assert_eq!(soon(runs.recv()).await, Some(false));
    let call = client.call::<()>("Note.Idempotent", &()).idempotent();
    call.await.unwrap();
    assert_eq!(soon(runs.recv()).await, Some(true));
    // It ends before its handler does, which never will.
    let one_way = client.call::<()>("Echo.Never", &()).one_way();
    soon(one_way.into_future()).await.unwrap();
    // A handler's calls end with it, through layers of servers and of clients.
    let relays = services().method("Relay.Never", move |(): ()| {
        let (client, inner) = (client.clone(), inner.clone());
        async move {
            let both = tokio::join!(
                client.call::<()>("Echo.Never", &()),
                inner.call::<()>("Echo.Never", &())
            );
            both.0.and(both.1)
        }
    });
    let relays = relays.layer(|mut call: Call, next: Next| {
        call.limit(Duration::from_millis(20));
        next.run(call)
    });
    let relays = relays.start().await.unwrap();
    let error = connect(&relays).await;
    let error = soon(error.call::<()>("Relay.Never", &()).into_future()).await;
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
    until(|| running(&relays) == 0 && running(&server) == 1).await;
}

#[tokio::test]
async fn a_refusal_travels_only_where_codes_do() {
    let server = services()
        .layer(concurrency_limit(0))
        .start()
        .await
        .unwrap();
    for (features, code) in [(Features::ALL, 8), (Features::default(), 0)] {
        for codec in Codec::ALL {
            let mut raw = Raw::connect(&server, codec, features).await;
            raw.send(1, "Echo.Int", &1_i64).await;
            let (header, _) = raw.receive().await.unwrap();
            assert_eq!(header.code, code, "{codec}");
            assert_eq!(header.flags.has(Flags::REFUSED), code > 0, "{codec}");
            assert_eq!(header.error, "Echo.Int: 0 calls run already");
        }
    }
}

/// What meters were told: a line for each method and outcome.
#[derive(Clone, Default)]
struct Ledger {
    diary: Diary,
    begun: Arc<AtomicUsize>,
    elapsed: Arc<Mutex<Vec<Duration>>>,
    /// Asks for a panic in every function.
    is_clumsy: Arc<AtomicBool>,
    ended: Arc<Notify>,
}

struct Line(Ledger, String);

impl Recorder for Ledger {
    fn meter(&self, side: Side, method: &str) -> Arc<dyn Meter> {
        Arc::new(Line(self.clone(), format!("{side} {method}")))
    }
}

impl Meter for Line {
    fn begun(&self) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        assert!(!self.0.is_clumsy.load(Ordering::Relaxed), "on purpose");
    }

    fn ended(&self, outcome: Result<(), Code>, elapsed: Duration) {
        let Line(ledger, method) = self;
        let outcome = outcome.err().map_or("ok", Code::as_str);
        ledger.diary.write(format!("{method} {outcome}"));
        ledger.elapsed.lock().unwrap().push(elapsed);
        ledger.ended.notify_one();
        assert!(!ledger.is_clumsy.load(Ordering::Relaxed), "on purpose");
    }
}

#[tokio::test]
async fn every_call_is_measured_once_on_each_side_however_it_ends() {
    for with_layers in [false, true] {
        for (form, codec) in ways() {
            let (served, made) = (Ledger::default(), Ledger::default());
            let mut server = services().metrics(served.clone());
            if with_layers {
                server = server.layer(trace());
            }
            let server = server.start().await.unwrap();
            let mut client = builder(form, &server, codec).metrics(made.clone());
            if with_layers {
                client = client.layer(trace());
            }
            let client = client.build();
            client.call::<i64>("Echo.Int", &1_i64).await.unwrap();
            client.go::<i64>("Echo.Later", 1_i64).await.unwrap();
            let failed = client.call::<()>("Echo.Fail", &"x".to_owned()).await;
            let code = failed.unwrap_err().code();
            let mut of_server = vec![
                "server Echo.Int ok".to_owned(),
                "server Echo.Later ok".to_owned(),
                "server Echo.Fail not_found".to_owned(),
            ];
            let mut of_client = vec![
                "client Echo.Int ok".to_owned(),
                "client Echo.Later ok".to_owned(),
                format!("client Echo.Fail {code}"),
            ];
            if codec != Codec::Postcard {
                let called = client.call_json("Echo.Int", json!(1), None, None);
                called.await.unwrap();
                of_server.push("server Echo.Int ok".to_owned());
                of_client.push("client Echo.Int ok".to_owned());
            }
            until(|| running(&server) == 0).await;
            assert_eq!(served.diary.take(), of_server, "{form} {codec}");
            assert_eq!(made.diary.take(), of_client, "{form} {codec}");
            let given_up = client.go::<()>("Echo.Never", ());
            until(|| running(&server) == 1).await;
            drop(given_up);
            assert_eq!(made.diary.take(), ["client Echo.Never cancelled"]);
            client.close();
            if let "tcp" | "http" = form {
                soon(served.ended.notified()).await;
                until(|| running(&server) == 0).await;
                assert_eq!(served.diary.take(), ["server Echo.Never cancelled"]);
            }
        }
    }
}

#[tokio::test]
async fn calls_over_http_and_of_clusters_are_measured() {
    let (served, made) = (Ledger::default(), Ledger::default());
    let server = services().metrics(served.clone()).start().await.unwrap();
    post(&server, "Echo.Int", "", "1").await;
    post(&server, "Echo.Int", "", "\"x\"").await;
    post(&server, "Echo.Fail", "", "\"x\"").await;
    let lines = [
        "server Echo.Int ok",
        "server Echo.Int invalid_argument",
        "server Echo.Fail not_found",
    ];
    assert_eq!(served.diary.take(), lines);
    let cluster = Cluster::builder(Static::new([server.address().clone()]));
    let cluster = cluster.metrics(made.clone()).build();
    cluster.call::<i64>("Echo.Int", &1_i64).await.unwrap();
    cluster.go::<i64>("Echo.Int", 1_i64).await.unwrap();
    let called = cluster.call_json("Echo.Int", json!(1), None, None);
    called.await.unwrap();
    cluster.broadcast::<i64>("Echo.Int", &1_i64).await.unwrap();
    assert_eq!(made.diary.take(), ["client Echo.Int ok"; 4]);
}

#[tokio::test(start_paused = true)]
async fn the_time_measured_is_that_of_the_whole_call() {
    let (served, made) = (Ledger::default(), Ledger::default());
    let slow = |call: Call, next: Next| async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        next.run(call).await
    };
    let server = services().metrics(served.clone()).layer(slow);
    let server = server.start().await.unwrap();
    let client = builder("tcp", &server, Codec::Gob).metrics(made.clone());
    let client = piped(&server, client.layer(slow)).await;
    client.call::<i64>("Echo.Int", &1_i64).await.unwrap();
    soon(served.ended.notified()).await;
    let elapsed = |ledger: &Ledger| ledger.elapsed.lock().unwrap()[0];
    let near = |elapsed: Duration, seconds| {
        let due = Duration::from_secs(seconds);
        elapsed >= due && elapsed < due + Duration::from_millis(500)
    };
    assert!(near(elapsed(&served), 3), "{:?}", elapsed(&served));
    assert!(near(elapsed(&made), 6), "{:?}", elapsed(&made));
}

#[tokio::test]
async fn a_meter_that_panics_costs_no_call() {
    let ledger = Ledger::default();
    ledger.is_clumsy.store(true, Ordering::Relaxed);
    let server = services().metrics(ledger.clone()).start().await.unwrap();
    let client = builder("tcp", &server, Codec::Gob).metrics(ledger.clone());
    let client = client.build();
    for number in 0..3_i64 {
        assert_eq!(
            client.call::<i64>("Echo.Int", &number).await.unwrap(),
            number
        );
        let later = client.call::<i64>("Echo.Later", &number).await;
        assert_eq!(later.unwrap(), number);
    }
    until(|| running(&server) == 0).await;
    assert_eq!(ledger.begun.load(Ordering::Relaxed), 12);
}

#[tokio::test]
async fn names_from_outside_do_not_make_meters_without_end() {
    let ledger = Ledger::default();
    let cached = |_: Call, _: Next| ready(Ok(Reply::new(())));
    let nobody: Address = "tcp@127.0.0.1:1".parse().unwrap();
    let client = Client::builder(nobody).layer(cached);
    let client = client.metrics(ledger.clone()).build();
    for number in 0..700 {
        let method = format!("Some.Method{number}");
        client.call::<()>(&method, &()).await.unwrap();
    }
    let lines = ledger.diary.take();
    let others = lines.iter().filter(|line| *line == "client (other) ok");
    assert_eq!((lines.len(), others.count()), (700, 444));
}

#[tokio::test]
async fn a_span_tells_of_each_call_and_what_is_logged_within_it_is_inside() {
    let log = Log::start();
    let server = services()
        .method("Span.Name", |(): ()| async {
            let span = tracing::Span::current();
            Ok(span
                .metadata()
                .map_or("none", |span| span.name())
                .to_owned())
        })
        .layer(trace())
        .start()
        .await
        .unwrap();
    let client = builder("tcp", &server, Codec::Gob).layer(trace()).build();
    let name: String = client.call("Span.Name", &()).await.unwrap();
    assert_eq!(name, "call");
    let failed = client.call::<()>("Echo.Fail", &"no".to_owned()).await;
    failed.unwrap_err();
    let place = place(&server);
    let spans = |method: &str| log.lines(&format!("method=\"{method}\""));
    let seen = spans("Span.Name");
    let of_client = format!("SPAN call side=\"client\" method=\"Span.Name\" peer=\"tcp@{place}\"");
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0], of_client);
    let of_server = "SPAN call side=\"server\" method=\"Span.Name\" peer=\"127.0.0.1:";
    assert!(seen[1].starts_with(of_server), "{seen:?}");
    assert_eq!(spans("Echo.Fail").len(), 2);
    assert_eq!(log.lines("outcome=\"ok\"").len(), 2);
    assert_eq!(log.lines("outcome=\"not_found\"").len(), 2);
    assert_eq!(log.lines("error=no"), ["NOTE error=no"; 2]);
}
