//! The crate `url`: its `Url` is Go's `url.URL`.
//!
//! The text is sent, and made by the rules of the WHATWG, where Go keeps to RFC 3986: `HTTP://Host` comes back as
//! `http://host/`, and default ports, `..` and the like are gone. Refused: what these rules refuse, so above all
//! references without a scheme (`/path`), and the empty one, which is Go's zero; fields are an `Option`, Go's `*url.URL`.

use url::Url;

use crate::error::Error;
use crate::impls::SelfEncoded;
use crate::schema::Opaque;

impl SelfEncoded for Url {
    const HOW: Opaque = Opaque::Binary;
    const NAME: &'static str = "URL";
    const HAS_ZERO: bool = false;

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(self.as_str().as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::refused("a url.URL that is not UTF-8"))?;
        Self::parse(text)
            .map_err(|e| Error::refused(format!("a url.URL that is no Url of its own: {e}")))
    }

    fn zero() -> Option<Self> {
        None
    }
}

crate::self_encoded!(Url);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_made_by_the_rules_of_the_web() {
        for (sent, received) in [
            (
                "https://user:pw@h.example/p%20q?x=1#f",
                "https://user:pw@h.example/p%20q?x=1#f",
            ),
            ("HTTP://Host:80/a/../b", "http://host/b"),
            ("mailto:a@b.example", "mailto:a@b.example"),
        ] {
            let url = Url::decode(sent.as_bytes()).unwrap();
            assert_eq!(url.as_str(), received);
            let mut out = vec![];
            SelfEncoded::encode(&url, &mut out).unwrap();
            assert_eq!(out, received.as_bytes());
        }
    }

    #[test]
    fn references_and_other_bytes_are_refused_with_the_reason() {
        for (sent, reason) in [
            (&b""[..], "relative URL without a base"),
            (b"/path?q", "relative URL without a base"),
            (b"http://h:99999/", "invalid port number"),
            (b"\xff", "not UTF-8"),
        ] {
            let error = Url::decode(sent).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_received_once_stays_as_it_is(text in "[a-z]{1,6}:(//)?[ -~é]{0,30}") {
            if let Ok(url) = Url::decode(text.as_bytes()) {
                let mut out = vec![];
                SelfEncoded::encode(&url, &mut out).unwrap();
                prop_assert_eq!(Url::decode(&out).unwrap(), url);
            }
        }
    }
}
