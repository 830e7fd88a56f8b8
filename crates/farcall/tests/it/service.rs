//! `#[farcall::service]` on the real runtime: what the attribute writes, called through a server and a typed client.

use farcall::{Client, Code, Codec, Context, Server};

#[derive(Debug)]
struct TooHot(i64);

impl From<TooHot> for farcall::Error {
    fn from(TooHot(degrees): TooHot) -> farcall::Error {
        farcall::Error::new(Code::OutOfRange, format!("{degrees} degrees are too hot"))
    }
}

/// Keeps a room warm.
#[farcall::service]
trait Heater {
    /// Sets the temperature, and gives the one before.
    #[rpc(name = "SetTo", idempotent)]
    async fn set(&self, degrees: i64) -> Result<i64, TooHot>;

    /// Tells who asks, and in which codec.
    async fn who(&self, cx: &Context) -> farcall::Result<String>;

    #[rpc(spawn)]
    async fn on_its_own_task(&self) -> farcall::Result<()>;

    /// Blocks its thread.
    #[rpc(blocking)]
    async fn wait(&self, words: Vec<String>) -> farcall::Result<String> {
        Ok(words.join(" "))
    }
}

struct Room;

impl Heater for Room {
    async fn set(&self, degrees: i64) -> Result<i64, TooHot> {
        match degrees {
            ..=30 => Ok(20),
            _ => Err(TooHot(degrees)),
        }
    }

    async fn who(&self, cx: &Context) -> farcall::Result<String> {
        Ok(format!("{} {}", cx.dialect(), cx.codec()))
    }

    async fn on_its_own_task(&self) -> farcall::Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

async fn server() -> Server {
    let server = Server::builder().register(Room.into_service());
    server.bind("tcp@127.0.0.1:0").start().await.unwrap()
}

#[tokio::test]
async fn a_typed_client_reaches_every_method_in_every_codec() {
    let server = server().await;
    for codec in Codec::ALL {
        let client = Client::builder(server.address().clone()).codec(codec);
        let heater = HeaterClient::new(client.connect().await.unwrap());
        assert_eq!(heater.set(&25).await.unwrap(), 20);
        assert_eq!(heater.who().await.unwrap(), format!("farcall {codec}"));
        heater.on_its_own_task().await.unwrap();
        let words = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(heater.wait(&words).await.unwrap(), "a b");

        let error = heater.set(&99).await.unwrap_err();
        assert_eq!(error.code(), Code::OutOfRange);
        assert_eq!(error.message(), "99 degrees are too hot");
    }
}

#[tokio::test]
async fn a_typed_client_connects_to_an_address() {
    let server = server().await;
    let heater = HeaterClient::connect(&server.address().to_string()).await;
    assert_eq!(heater.unwrap().set(&25).await.unwrap(), 20);
    let error = HeaterClient::connect("nowhere").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_server_knows_names_and_descriptions() {
    let services = server().await.services();
    let [service] = &services[..] else {
        panic!("one service, and not {services:?}")
    };
    assert_eq!(
        (&*service.name, &*service.doc),
        ("Heater", "Keeps a room warm.")
    );
    let methods: Vec<_> = service
        .methods
        .iter()
        .map(|m| (&*m.name, &*m.doc, m.idempotent))
        .collect();
    let expected = [
        ("OnItsOwnTask", "", false),
        (
            "SetTo",
            "Sets the temperature, and gives the one before.",
            true,
        ),
        ("Wait", "Blocks its thread.", false),
        ("Who", "Tells who asks, and in which codec.", false),
    ];
    assert_eq!(methods, expected);
}

#[tokio::test]
async fn a_server_describes_itself_to_whoever_asks_at_its_address() {
    let server = server().await;
    let heater = HeaterClient::connect(&server.address().to_string()).await;
    heater.unwrap().set(&99).await.unwrap_err();
    let limit = std::time::Duration::from_secs(5);
    let services = farcall::describe(server.address(), limit).await.unwrap();
    assert_eq!(services[0].name, "Heater");
    let set = services[0].methods.iter().find(|m| m.name == "SetTo");
    assert_eq!(set.map(|m| (m.calls, m.errors)), Some((1, 1)));
}

#[tokio::test]
async fn nobody_no_answer_and_an_answer_that_is_no_description_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = farcall::Address::tcp(listener.local_addr().unwrap());
    let limit = std::time::Duration::from_millis(50);
    let error = farcall::describe(&address, limit).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);

    let limit = std::time::Duration::from_secs(5);
    let answer = async {
        // The first is the connection of above.
        let _ = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let nonsense = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        tokio::io::AsyncWriteExt::write_all(&mut stream, nonsense)
            .await
            .unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(farcall::describe(&address, limit), answer);
    assert_eq!(error.unwrap_err().code(), Code::Unimplemented);

    drop(listener);
    let error = farcall::describe(&address, limit).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.is_retryable());
}
