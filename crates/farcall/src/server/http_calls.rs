//! Calls by anyone with curl: `POST /rpc/Service.Method` with JSON in and out, and `GET /rpc`, which tells what there is.
//! They run through the same router, limits and counters as calls of every other dialect.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use farcall_gob::Schema;
use farcall_wire::{Body, BodyRef, Codec, Metadata};
use hyper::header::{HOST, ORIGIN};
use hyper::{Method as HttpMethod, StatusCode};
use serde_json::json;

use super::Shared;
use crate::context::Peer;
use crate::describe::{MethodTypes, ServiceTypes, TYPES_PATH, Types};
use crate::http::{self, Reply, Request, Surface};
use crate::link::now;
use crate::middleware::outcome_of;
use crate::router::{ReplyTo, Router, no_streams};
use crate::run::{Held, TimeLimit};
use crate::schema::{example, json_schema};
use crate::stream::carrier::Carrier;
use crate::{Code, Context, Error, Result, run};

const CALLS: &str = "/rpc/";

/// Answers at `/rpc` and beneath it.
pub(super) fn mount(surface: Surface, body_len_max: usize, shared: Weak<Shared>) -> Surface {
    let for_list = shared.clone();
    surface
        .at(&[TYPES_PATH], move |request| {
            let shared = for_list.upgrade();
            let reply = match http::is_read(request.method()) {
                true => http::json(&shared.map(|shared| describe(&shared.router))),
                false => http::method_not_allowed(
                    "GET, HEAD; calls are made by POST /rpc/Service.Method",
                ),
            };
            async move { reply }
        })
        .at_with_body(body_len_max, &[CALLS], move |request| {
            let shared = shared.upgrade();
            async move {
                match shared {
                    Some(shared) => answer(&shared, &request).await,
                    None => failed(&Error::new(Code::Unavailable, "the server has ended")),
                }
            }
        })
}

/// Services and methods with the types of arguments and replies.
fn describe(router: &Router) -> Types {
    let services = router.snapshot().into_iter().map(|service| {
        let methods = service.methods.into_iter().filter_map(|method| {
            let name = format!("{}.{}", service.name, method.name);
            let found = router.find(&name).ok()?.0;
            let (args, reply) = found.types();
            let (incoming, outgoing) = found.items();
            Some(MethodTypes {
                name,
                doc: method.doc,
                idempotent: method.idempotent,
                args_type: method.args,
                reply_type: method.reply,
                incoming_type: method.incoming,
                outgoing_type: method.outgoing,
                args_go: Some(args.to_go()),
                reply_go: Some(reply.to_go()),
                incoming_go: incoming.map(Schema::to_go),
                outgoing_go: outgoing.map(Schema::to_go),
                args: Some(json_schema(args)),
                reply: Some(json_schema(reply)),
                incoming: incoming.map(json_schema),
                outgoing: outgoing.map(json_schema),
                example: Some(example(args)),
            })
        });
        ServiceTypes {
            methods: methods.collect(),
            name: service.name,
            doc: service.doc,
        }
    });
    Types {
        services: services.collect(),
    }
}

async fn answer(shared: &Shared, request: &Request) -> Reply {
    if request.method() != HttpMethod::POST {
        return http::method_not_allowed("POST");
    }
    if is_cross_site(request) {
        let text = "a page of another site may not make calls";
        return failed(&Error::new(Code::PermissionDenied, text));
    }
    match call(shared, request).await {
        Ok(mut body) => {
            body.push(b'\n');
            http::json_text(StatusCode::OK, body)
        }
        Err(error) => failed(&error),
    }
}

/// Browsers send `Origin` with what a page asks them to post. A page of the same host may; curl sends none.
fn is_cross_site(request: &Request) -> bool {
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    match text(ORIGIN) {
        None => request.headers().contains_key(ORIGIN),
        Some(origin) => origin.split_once("://").map(|(_, host)| host) != text(HOST),
    }
}

async fn call(shared: &Shared, request: &Request) -> Result<Vec<u8>> {
    let name = request.uri().path().strip_prefix(CALLS).unwrap_or_default();
    let (method, name) = match shared.router.find(name) {
        Ok(found) => found,
        Err(missing) => return Err(Error::new(Code::Unimplemented, missing.go_text(name))),
    };
    let limit = shared.config.handle_timeout.and_then(|limit| {
        let deadline = now().checked_add(limit)?;
        Some(TimeLimit { deadline, limit })
    });
    let address = request
        .extensions()
        .get::<http::Peer>()
        .map(|peer| peer.0.to_string());
    let context = || Context {
        peer: Arc::new(Peer {
            address: address.clone().unwrap_or_default(),
            dialect: "http",
            codec: Codec::Json,
        }),
        deadline: limit.map(|limit| limit.deadline),
        metadata: headers(request),
        is_idempotent: false,
        reply_metadata: None,
        values: None,
    };
    let body = match request.body().trim_ascii() {
        [] => BodyRef::Zero,
        json => BodyRef::Json(json),
    };
    let kept = Arc::new(Kept::default());
    let rpc = crate::router::Request::default();
    method.runs();
    let mut counted = Counted {
        method,
        began: method.began(now),
        outcome: Err(Code::Cancelled),
    };
    let layers = shared.layers.layers();
    let started = method
        .open_streams(&kept, &rpc)
        .and_then(|streams| run::start(layers, name, method, &context, body, streams));
    let to = Held::Caller {
        to: Arc::clone(&kept) as Arc<dyn ReplyTo>,
        request: rpc,
    };
    let ended = match started {
        Ok(running) => run::to_end(running, method, limit, to, ()).await,
        Err(error) => Err(error),
    };
    counted.outcome = outcome_of(&ended);
    ended?;
    Ok(std::mem::take(
        &mut *kept.0.lock().unwrap_or_else(PoisonError::into_inner),
    ))
}

/// The request's headers, as the call's metadata. Those that are not text are left out.
fn headers(request: &Request) -> Option<Arc<[u8]>> {
    let headers = request.headers().iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str(), value))
    });
    Some(headers.collect::<Metadata>().as_bytes().into())
}

/// Counts a call's end, also when the peer has gone and the call with it.
struct Counted<'a> {
    method: &'a crate::Method,
    began: Option<Instant>,
    outcome: Result<(), Code>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // In this order, none is over that was not counted.
        self.method.ended(self.began, self.outcome);
        self.method.stops();
    }
}

/// Keeps the one reply of an HTTP request as JSON.
#[derive(Default)]
struct Kept(Mutex<Vec<u8>>);

impl ReplyTo for Kept {
    fn reply(&self, _: &crate::router::Request, body: Body<'_>) -> Result<()> {
        let mut json = Vec::new();
        body.to_json(&mut json).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("the reply cannot be encoded: {error}"),
            )
        })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = json;
        Ok(())
    }

    fn streams(self: Arc<Self>, _: &crate::router::Request, _: bool) -> Result<Arc<dyn Carrier>> {
        Err(no_streams("HTTP"))
    }
}

fn failed(error: &Error) -> Reply {
    let mut body =
        json!({ "error": { "code": error.code().as_str(), "message": error.message() } });
    if let Some(Ok(details)) = error.details_json() {
        body["error"]["details"] = details;
    }
    http::json_text(status(error.code()), format!("{body}\n").into_bytes())
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        // The handler's own no: the request was understood, and cannot be done.
        Code::Failed => StatusCode::UNPROCESSABLE_ENTITY,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
