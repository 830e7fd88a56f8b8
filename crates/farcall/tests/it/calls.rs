//! Calls between a farcall client and a farcall server over real sockets.

use std::time::Duration;

use farcall::{Client, Code, Codec, Context, Error, Method, Reached, Server, Service};

pub(crate) async fn server() -> Server {
    Server::builder()
        .register(
            Service::new("Foo")
                .with(Method::new("Double", |_, number: i64| async move {
                    Ok(number * 2)
                }))
                .with(Method::new("Fail", |_, text: String| async move {
                    Err::<(), _>(Error::from(text))
                }))
                .with(Method::new("Panic", |_, _: ()| async move {
                    if true {
                        panic!("on purpose");
                    }
                    Ok(())
                }))
                .with(Method::new("Never", |_, _: ()| {
                    std::future::pending::<farcall::Result<()>>()
                })),
        )
        .method("Echo.Bytes", |bytes: Vec<u8>| async move { Ok(bytes) })
        .method("Echo.Later", |text: String| async move {
            tokio::task::yield_now().await;
            Ok(text)
        })
        .method("Who.Calls", |context: Context, _: ()| async move {
            Ok(format!(
                "{} {} {:?}",
                context.dialect(),
                context.codec(),
                context.metadata("tenant")
            ))
        })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap()
}

async fn client(server: &Server, codec: Codec) -> Client {
    Client::builder(server.address().clone())
        .codec(codec)
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn every_codec_carries_calls_errors_and_panics() {
    let server = server().await;
    for codec in Codec::ALL {
        let client = client(&server, codec).await;
        let reply: i64 = client.call("Foo.Double", &21_i64).await.unwrap();
        assert_eq!(reply, 42);
        let bytes = vec![0, 255, 7];
        assert_eq!(
            client.call::<Vec<u8>>("Echo.Bytes", &bytes).await.unwrap(),
            bytes
        );
        let text = "später".to_owned();
        assert_eq!(
            client.call::<String>("Echo.Later", &text).await.unwrap(),
            text
        );
        let error = client
            .call::<()>("Foo.Fail", &"100% of %d".to_owned())
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::Failed, "100% of %d")
        );
        let error = client.call::<()>("Foo.Panic", &()).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        let error = client.call::<()>("Nope.X", &1_i64).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::Unimplemented, "rpc server: can't find service Nope")
        );
        let error = client.call::<()>("Foo.Nope", &1_i64).await.unwrap_err();
        assert_eq!(error.message(), "rpc server: can't find method Nope");
        let error = client.call::<()>("Foo", &1_i64).await.unwrap_err();
        assert_eq!(
            error.message(),
            "rpc server: service/method request ill-formed: Foo"
        );
        let error = client
            .call::<i64>("Foo.Double", &"text".to_owned())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        let who: String = client
            .call("Who.Calls", &())
            .metadata("tenant", "7")
            .await
            .unwrap();
        assert_eq!(who, format!("farcall {codec} Some(\"7\")"));
        assert_eq!(
            client.call::<i64>("Foo.Double", &4_i64).await.unwrap(),
            8,
            "the connection stays in step"
        );
        assert_eq!(client.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_its_handler() {
    let server = server().await;
    let client = client(&server, Codec::Gob).await;
    let begun = std::time::Instant::now();
    let error = client
        .call::<()>("Foo.Never", &())
        .timeout(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.reached()),
        (Code::DeadlineExceeded, Reached::Unknown),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    until(|| {
        server.services()[1]
            .methods
            .iter()
            .all(|method| method.in_flight == 0)
    })
    .await;
}

#[tokio::test]
async fn a_dropped_call_stops_its_handler() {
    let server = server().await;
    let client = client(&server, Codec::Json).await;
    let pending = client.go::<()>("Foo.Never", ());
    until(|| {
        server.services()[1]
            .methods
            .iter()
            .any(|method| method.in_flight == 1)
    })
    .await;
    drop(pending);
    until(|| {
        server.services()[1]
            .methods
            .iter()
            .all(|method| method.in_flight == 0)
    })
    .await;
    assert_eq!(client.in_flight(), 0);
}

/// Waits for something that another task will do.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it should hold soon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_replies_arrive_whole_behind_each_other() {
    let server = server().await;
    for codec in Codec::ALL {
        let client = client(&server, codec).await;
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..12_usize {
            let client = client.clone();
            callers.spawn(async move {
                for round in 0..4 {
                    // Of every size around those at which buffers are handed over, grow, and are not kept.
                    let len = (caller * 97 + round * 31) % 16 * (50 << 10) + caller;
                    let sent: Vec<u8> = (0..len).map(|i| (i * 7 + caller) as u8).collect();
                    let back = client.call::<Vec<u8>>("Echo.Bytes", &sent).await.unwrap();
                    assert!(back == sent, "{codec}: {len} bytes of caller {caller}");
                }
            });
        }
        crate::support::soon(callers.join_all()).await;
    }
}
