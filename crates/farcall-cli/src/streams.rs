//! The items of a call with streams: lines of stdin go up, what comes down is printed. How the call ends is told by
//! `call`.

use std::io::BufRead;
use std::pin::pin;
use std::time::Duration;

use farcall::{
    Cluster, Code, Dynamic, Error, Incoming, Items, Json, MethodTypes, NoItems, Outgoing, Schema,
    StreamCall,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::out::{self, Failure};

/// Lines that were read and not sent yet.
const LINES_MAX: usize = 64;

/// Which streams a method has.
pub(crate) struct Streams {
    takes_items: bool,
    /// The type of an item that it takes.
    types: Option<Schema>,
}

impl Streams {
    /// The streams of a method, if it has some.
    pub(crate) fn of(method: &MethodTypes) -> Option<Streams> {
        let takes_items = method.incoming_type.is_some();
        (takes_items || method.outgoing_type.is_some()).then(|| Streams {
            takes_items,
            types: method.incoming_schema(),
        })
    }

    /// Makes the call, and gives what it ended with.
    pub(crate) async fn run(
        &self,
        cluster: &Cluster,
        method: &str,
        args: &Dynamic,
        limit: Option<Duration>,
        json: bool,
    ) -> Result<farcall::Result<Value>, Failure> {
        match self.takes_items {
            true => {
                let call = with_limit(
                    cluster.stream_dynamic::<Json, Json, Json>(method, args),
                    limit,
                );
                let (out, items, reply) = match call.await {
                    Ok(streaming) => streaming.split(),
                    Err(error) => return Ok(Err(error)),
                };
                let mut sending = pin!(send_lines(out, self.types.clone()));
                let mut taking = pin!(print(items, json));
                let mut is_sending = true;
                let unread = loop {
                    tokio::select! {
                        // Its handler may end before stdin does.
                        printed = &mut taking => break printed?,
                        () = &mut sending, if is_sending => is_sending = false,
                    }
                };
                Ok(ended(reply.await, unread))
            }
            false => {
                let call = with_limit(
                    cluster.stream_dynamic::<NoItems, Json, Json>(method, args),
                    limit,
                );
                let (_, items, reply) = match call.await {
                    Ok(streaming) => streaming.split(),
                    Err(error) => return Ok(Err(error)),
                };
                let unread = print(items, json).await?;
                Ok(ended(reply.await, unread))
            }
        }
    }
}

fn with_limit<Up: Items, Down: Items>(
    call: StreamCall<'_, Up, Down, Json>,
    limit: Option<Duration>,
) -> StreamCall<'_, Up, Down, Json> {
    match limit {
        Some(limit) => call.timeout(limit),
        None => call,
    }
}

/// Prints what comes, and gives what kept further items from being printed.
async fn print(mut items: Incoming<Json>, json: bool) -> Result<Option<Error>, Failure> {
    while let Some(item) = items.next().await {
        match (item, json) {
            (Ok(Json(item)), true) => out::json(&json!({ "item": item }))?,
            (Ok(Json(item)), false) => out::json(&item)?,
            (Err(error), _) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// The reply, if all items could be read.
fn ended(reply: farcall::Result<Json>, unread: Option<Error>) -> farcall::Result<Value> {
    match (reply, unread) {
        (Ok(_), Some(unread)) => Err(unread),
        (reply, _) => reply.map(|Json(reply)| reply),
    }
}

/// Sends each line of stdin as an item, until its end or the call's.
async fn send_lines(mut items: Outgoing<Json>, types: Option<Schema>) {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let item = line.and_then(|line| {
            serde_json::from_str(&line).map_err(|error| format!("a line of stdin: {error}"))
        });
        let item = match item {
            Ok(item) => Dynamic::new(item, types.clone()),
            Err(text) => return items.break_off(&Error::new(Code::InvalidArgument, text)),
        };
        if let Err(error) = items.send(&item).await {
            return items.break_off(&error);
        }
    }
    items.finish();
}

/// The lines of stdin that hold something. Their thread is left behind where it waits.
fn lines() -> mpsc::Receiver<Result<String, String>> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| format!("stdin: {error}"));
            if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
                continue;
            }
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
