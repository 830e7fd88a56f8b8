//! The registry's own page: who is there, and what happened since its start.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::{Listed, Registry, wants_json};
use crate::dashboard::escaped;
use crate::http::{self, Reply, Request};

pub(super) const PATHS: &[&str] = &["/debug/registry"];

/// All that the page says, as `GET /debug/registry` with `Accept: application/json` gives it.
#[derive(Serialize)]
struct Page {
    epoch: String,
    revision: u64,
    warming: bool,
    frozen: bool,
    watchers: usize,
    beats: u64,
    entered: u64,
    withdrawn: u64,
    expired: u64,
    refused: u64,
    servers: Vec<Listed>,
}

impl Registry {
    pub(super) fn page(&self, request: &Request, now: Instant) -> Reply {
        if !http::is_read(request.method()) {
            return http::method_not_allowed("GET, HEAD");
        }
        let servers = self.listed(now);
        let watchers = self.watching();
        let page = self.with(|table| Page {
            epoch: self.0.epoch.clone(),
            revision: table.revision(),
            warming: table.is_warming(now),
            frozen: table.frozen_since().is_some(),
            watchers,
            beats: table.counts.beats,
            entered: table.counts.entered,
            withdrawn: table.counts.withdrawn,
            expired: table.counts.expired,
            refused: table.counts.refused,
            servers,
        });
        match wants_json(request.headers()) {
            true => http::json(&page),
            false => http::page(html(&page)),
        }
    }
}

fn html(page: &Page) -> String {
    let mut html = String::from(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"/><title>farcall registry</title><style>\
         body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}\
         td,th{border:1px solid #999;padding:.3em .6em;text-align:left}</style></head><body><h1>Registry</h1><p>",
    );
    let servers = page.servers.len();
    let Page {
        watchers,
        beats,
        entered,
        withdrawn,
        expired,
        refused,
        ..
    } = page;
    // Writing to a string does not fail.
    let _ = write!(
        html,
        "{servers} servers, {watchers} watchers. Since the start: {beats} heartbeats, {entered} entered, \
         {withdrawn} withdrawn, {expired} expired, {refused} refused.</p>"
    );
    if page.warming {
        html += "<p>Warming up: servers of an earlier life may still come back.</p>";
    }
    if page.frozen {
        html += "<p>Frozen: too many servers stopped beating at once; nobody expires until they are back.</p>";
    }
    html += "<table><tr><th>address</th><th>state</th><th>weight</th><th>zone</th><th>services</th><th>last beat</th></tr>";
    for Listed { record, age_s } in &page.servers {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{age_s} s ago</td></tr>",
            escaped(&record.address),
            record.state(),
            record.weight,
            escaped(&record.zone),
            escaped(&record.services.join(", ")),
        );
    }
    html + "</table></body></html>"
}
