//! The debug page and its JSON: what a server's methods are and what they did. It only reads snapshots.

use crate::http::{self, Reply, Request, Surface};
use crate::router::{MethodSnapshot, ServiceSnapshot};

/// The page without its services; their place is [`SERVICES`].
const PAGE: &str = include_str!("dashboard.html");
const SERVICES: &str = "<!-- services -->\n";

/// The first name is ours, the others are those of the Go originals.
const PATHS: &[&str] = &[
    "/debug/farcall",
    "/debug/tinyrpc",
    "/debug/rpc",
    "/debug/geerpc",
];
const JSON_PATHS: &[&str] = &[
    JSON_PATH,
    "/debug/tinyrpc.json",
    "/debug/rpc.json",
    "/debug/geerpc.json",
];

/// The JSON at its own name.
pub(crate) const JSON_PATH: &str = "/debug/farcall.json";

/// Answers with the page and its JSON, each time from a new snapshot.
pub(crate) fn mount<F>(surface: Surface, snapshot: F) -> Surface
where
    F: Fn() -> Vec<ServiceSnapshot> + Clone + Send + Sync + 'static,
{
    let for_json = snapshot.clone();
    surface
        .at(PATHS, move |request| {
            let reply = look(&request, || http::page(html(&snapshot())));
            async move { reply }
        })
        .at(JSON_PATHS, move |request| {
            let reply = look(&request, || {
                http::json(&Page {
                    services: for_json(),
                })
            });
            async move { reply }
        })
}

/// The JSON, as it is written and read.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Page {
    pub(crate) services: Vec<ServiceSnapshot>,
}

fn look(request: &Request, reply: impl FnOnce() -> Reply) -> Reply {
    match http::is_read(request.method()) {
        true => reply(),
        false => http::method_not_allowed("GET, HEAD"),
    }
}

fn html(services: &[ServiceSnapshot]) -> String {
    let mut sections = String::new();
    for service in services {
        section(&mut sections, service);
    }
    if services.is_empty() {
        sections.push_str("<section><p>No services are registered.</p></section>\n");
    }
    PAGE.replacen(SERVICES, &sections, 1)
}

fn section(out: &mut String, service: &ServiceSnapshot) {
    put(
        out,
        &["<section>\n<h2>", &escaped(&service.name), "</h2>\n"],
    );
    description(out, &service.doc);
    out.push_str(
        "<table>\n<thead><tr><th>Method</th><th>Argument</th><th>Reply</th><th class=\"count\">Calls</th>\
         <th class=\"count\">Errors</th><th class=\"count\">In flight</th></tr></thead>\n<tbody>\n",
    );
    for method in &service.methods {
        row(out, method);
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

fn row(out: &mut String, method: &MethodSnapshot) {
    put(out, &["<tr><td><code>", &escaped(&method.name), "</code>"]);
    description(out, &method.doc);
    out.push_str("</td>");
    for (schema, role, items) in [
        (&method.args, "incoming", &method.incoming),
        (&method.reply, "outgoing", &method.outgoing),
    ] {
        put(out, &["<td><code>", &escaped(schema), "</code>"]);
        if let Some(items) = items {
            put(
                out,
                &["<p>", role, " <code>", &escaped(items), "</code></p>"],
            );
        }
        out.push_str("</td>");
    }
    let errors = if method.errors > 0 {
        "count bad"
    } else {
        "count"
    };
    for (class, count) in [
        ("count", method.calls),
        (errors, method.errors),
        ("count", method.in_flight),
    ] {
        put(
            out,
            &["<td class=\"", class, "\">", &count.to_string(), "</td>"],
        );
    }
    out.push_str("</tr>\n");
}

fn description(out: &mut String, doc: &str) {
    if !doc.is_empty() {
        put(out, &["<p>", &escaped(doc), "</p>\n"]);
    }
}

fn put(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
}

/// The text as it stands between tags, and in quoted attributes. What no page may contain is shown as `U+FFFD`.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn method(name: &str) -> MethodSnapshot {
        MethodSnapshot {
            name: name.into(),
            doc: format!("doc {name}"),
            args: format!("args {name}"),
            reply: format!("reply {name}"),
            incoming: Some(format!("incoming {name}")),
            outgoing: None,
            idempotent: false,
            calls: 12_345,
            errors: 67,
            in_flight: 8,
        }
    }

    fn service(name: &str, methods: &[&str]) -> ServiceSnapshot {
        ServiceSnapshot {
            name: name.into(),
            doc: format!("about {name}"),
            methods: methods.iter().map(|name| method(name)).collect(),
        }
    }

    /// The elements and attributes of a page, and its pieces of text in order. The page is strict enough for an
    /// XML parser, which forgives nothing.
    fn read(html: &str) -> (BTreeSet<String>, Vec<String>) {
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        let page = roxmltree::Document::parse_with_options(html, options).unwrap();
        let mut structure = BTreeSet::new();
        for node in page.descendants().filter(|node| node.is_element()) {
            let tag = node.tag_name().name();
            structure.insert(tag.to_owned());
            structure.extend(
                node.attributes()
                    .map(|a| format!("{tag} {}={}", a.name(), a.value())),
            );
        }
        let texts = page
            .descendants()
            .filter(|node| node.is_text())
            .filter_map(|node| node.text());
        (
            structure,
            texts
                .map(str::to_owned)
                .filter(|text| !text.trim().is_empty())
                .collect(),
        )
    }

    #[test]
    fn the_page_shows_types_docs_and_counts_of_every_method_in_order() {
        let services = [
            service("Arith", &["Divide", "Multiply"]),
            service("Echo", &["Say"]),
        ];
        let (_, texts) = read(&html(&services));
        let from = texts.iter().position(|text| text == "Arith").unwrap();
        let method = |name: &str| {
            [
                name.to_owned(),
                format!("doc {name}"),
                format!("args {name}"),
                "incoming ".to_owned(),
                format!("incoming {name}"),
                format!("reply {name}"),
                "12345".into(),
                "67".into(),
                "8".into(),
            ]
        };
        let heads = [
            "Method",
            "Argument",
            "Reply",
            "Calls",
            "Errors",
            "In flight",
        ]
        .map(str::to_owned);
        let mut expected = vec!["Arith".to_owned(), "about Arith".into()];
        expected.extend(heads.clone());
        expected.extend(method("Divide"));
        expected.extend(method("Multiply"));
        expected.extend(["Echo".to_owned(), "about Echo".into()]);
        expected.extend(heads);
        expected.extend(method("Say"));
        assert_eq!(texts[from..], expected);
    }

    #[test]
    fn a_server_without_services_says_so() {
        let (_, texts) = read(&html(&[]));
        assert_eq!(texts.last().unwrap(), "No services are registered.");
    }

    #[test]
    fn hostile_names_are_text_wherever_they_stand() {
        let (plain, _) = read(&html(&[service("Arith", &["Add"])]));
        let parts = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "\"><svg onload=alert(1)>",
            "' onmouseover='alert(1)",
            "</td></tr></table>",
            "</title><script>",
            "</style><b>",
            "<!--",
            "-->",
            "]]>",
            "<![CDATA[",
            "&lt;b&gt;",
            "&#60;b&#62;",
            "&",
            "&amp",
            "<",
            ">",
            "<b",
            "b>",
            "\"",
            "'",
            "`",
            "javascript:alert(1)",
            "{{7*7}}",
            "${7*7}",
            "<?xml?>",
            "<!DOCTYPE x>",
            "<!-- services -->\n",
        ];
        let mut payloads: Vec<String> = parts.iter().map(|part| part.to_string()).collect();
        payloads.extend(
            parts
                .iter()
                .map(|part| format!("Add{part}\t\u{202e}é</code>{part}")),
        );
        assert!(payloads.len() >= 50);
        for payload in payloads {
            let (structure, texts) = read(&html(&[service(&payload, &[&payload])]));
            assert_eq!(structure, plain, "{payload:?} made elements");
            for text in ["", "about ", "doc ", "args ", "incoming ", "reply "] {
                let expected = format!("{text}{payload}");
                assert!(
                    texts.contains(&expected),
                    "{expected:?} is not in {texts:?}"
                );
            }
        }
    }

    #[test]
    fn what_no_page_may_contain_is_replaced() {
        assert_eq!(
            escaped("a\0\u{1b}[31m\u{85}\u{ffff}\r\nb\tc"),
            "a\u{fffd}\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}\nb\tc"
        );
        read(&html(&[service("\0\u{1}\u{7f}", &["\u{fffe}"])]));
    }
}
