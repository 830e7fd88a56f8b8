//! What the debug pages of the Go originals tell: services, methods, and how Go calls their types. Written for people,
//! they are read with tolerance: whatever is not understood is passed over.

use super::{MethodTypes, ServiceTypes};

/// Where net/rpc, TinyRPC and geerpc have theirs.
pub(crate) const PATHS: &[&str] = &["/debug/rpc", "/debug/tinyrpc", "/debug/geerpc"];

/// The services on such a page; `None` if it is none.
pub(crate) fn read(html: &str) -> Option<Vec<ServiceTypes>> {
    let mut services: Vec<ServiceTypes> = Vec::new();
    for text in texts(html) {
        if let Some(name) = text.strip_prefix("Service ") {
            services.push(ServiceTypes {
                name: name.trim().to_owned(),
                doc: String::new(),
                methods: Vec::new(),
            });
        } else if let (Some(service), Some((name, args, reply))) =
            (services.last_mut(), signature(&text))
        {
            let name = format!("{}.{name}", service.name);
            service.methods.push(MethodTypes {
                name,
                args_type: args.to_owned(),
                // Replies are pointers, for the handler to fill.
                reply_type: reply.strip_prefix('*').unwrap_or(reply).to_owned(),
                ..MethodTypes::default()
            });
        }
    }
    (!services.is_empty()).then_some(services)
}

/// The texts between tags, as they are meant.
fn texts(html: &str) -> impl Iterator<Item = String> {
    let between = html.split('<').enumerate();
    between.filter_map(|(ix, piece)| {
        let text = match ix {
            0 => piece,
            _ => piece.split_once('>')?.1,
        };
        let text = unescaped(text.trim());
        (!text.is_empty()).then_some(text)
    })
}

/// The parts of `Multiply(main.Args, *int) error`.
fn signature(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let (types, _) = rest.rsplit_once(')')?;
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    // The comma between the two types is one that stands in no brackets.
    let mut depth = 0_i32;
    let comma = types.char_indices().find(|(_, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        *c == ',' && depth == 0
    });
    let (args, reply) = types.split_at(comma?.0);
    Some((name, args.trim(), reply.get(1..)?.trim()))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let meant = after
            .split_once(';')
            .and_then(|(name, after)| Some((entity(name)?, after)));
        match meant {
            Some((letter, after)) => {
                out.push(letter);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn services_and_signatures_are_found_between_whatever_tags_there_are() {
        let page = "<html><title>Services</title><hr>\nService Arith\n<hr><table><th>Method</th><tr>\
                    <td align=left>Divide(main.Args, *main.Quotient) error</td><td>7</td></tr>\
                    <tr><td>Odd(main.Pair[int,string], *map[string]struct { A, B int }) error</td></tr></table>\
                    <hr>Service net.rpc.Echo<td>Say(&lt;-chan&#32;int, *[]uint8) error";
        let services = read(page).unwrap();
        let told: Vec<_> = services
            .iter()
            .flat_map(|service| &service.methods)
            .map(|m| (&*m.name, &*m.args_type, &*m.reply_type))
            .collect();
        let expected = [
            ("Arith.Divide", "main.Args", "main.Quotient"),
            (
                "Arith.Odd",
                "main.Pair[int,string]",
                "map[string]struct { A, B int }",
            ),
            ("net.rpc.Echo.Say", "<-chan int", "[]uint8"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn another_page_has_no_services() {
        for page in ["", "404 page not found", "<html>Hello (you, there)</html>"] {
            assert_eq!(read(page), None, "{page}");
        }
    }

    proptest! {
        #[test]
        fn no_page_is_too_strange(
            words in proptest::collection::vec(
                proptest::sample::select(vec!["<", ">", "Service ", "A", "(", ")", ",", "[", "&", "&#", "x", ";", "é", "9"]),
                0..50,
            )
        ) {
            read(&words.concat());
        }
    }
}
