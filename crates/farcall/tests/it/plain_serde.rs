//! Types that only have serde's traits.

use std::collections::BTreeMap;

use farcall::{Client, Codec, RegisterError, Serde, Server, StartError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    order_id: u64,
    lines: Vec<Line>,
    notes: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    what: String,
    price: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Shape {
    outline: Outline,
}

#[derive(Debug, Serialize, Deserialize)]
enum Outline {
    Circle { radius: f64 },
    Square(f64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    order_id: u64,
    lines: Vec<Line>,
}

#[tokio::test]
async fn plain_serde_types_travel_in_every_codec() {
    let server = Server::builder()
        .method("Shop.Twice", |Serde(mut order): Serde<Plain>| async move {
            order.lines.extend_from_within(..);
            Ok(Serde(order))
        })
        .bind("tcp@127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let line = Line {
        what: "tea".into(),
        price: 2.5,
    };
    let order = Plain {
        order_id: 7,
        lines: vec![line.clone()],
    };
    for codec in Codec::ALL {
        let client = Client::builder(server.address().clone())
            .codec(codec)
            .connect()
            .await
            .unwrap();
        let twice: Serde<Plain> = client
            .call("Shop.Twice", &Serde(order.clone()))
            .await
            .unwrap();
        let lines = vec![line.clone(), line.clone()];
        assert_eq!(
            twice.0,
            Plain {
                lines,
                ..order.clone()
            },
            "{codec}"
        );
    }
}

#[tokio::test]
async fn a_type_that_cannot_travel_is_refused_when_it_is_registered() {
    let refused = |started: Result<Server, StartError>| match started {
        Err(StartError::Register(RegisterError::BadType {
            method,
            path,
            reason,
        })) => (method, path, reason),
        other => panic!("{other:?}"),
    };
    let started = Server::builder()
        .method("Shapes.Draw", |_: Serde<Shape>| async { Ok(()) })
        .start()
        .await;
    let (method, path, reason) = refused(started);
    assert_eq!(method, "Shapes.Draw");
    assert!(
        reason.starts_with("its argument cannot travel: gob: "),
        "{reason}"
    );
    assert!(reason.to_lowercase().contains("outline"), "{reason}");
    assert!(path.to_lowercase().contains("outline"), "{path}");

    let started = Server::builder()
        .method("Shapes.All", |_: ()| async {
            Ok(Vec::<Serde<Shape>>::new())
        })
        .start()
        .await;
    let (_, _, reason) = refused(started);
    assert!(reason.starts_with("its reply cannot travel: "), "{reason}");

    let started = Server::builder()
        .method("Shop.Keep", |_: Serde<Order>| async { Ok(()) })
        .start()
        .await;
    let (_, _, reason) = refused(started);
    assert!(reason.to_lowercase().contains("notes"), "{reason}");
}
