//! Rust's names as Go writes them.

/// How the names of a type's fields are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Case {
    /// Each word with a capital letter, and initialisms all in capitals: `UserID`.
    #[default]
    Go,
    /// Each word with a capital letter: `UserId`.
    Pascal,
}

impl Case {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "Go" => Some(Self::Go),
            "PascalCase" => Some(Self::Pascal),
            _ => None,
        }
    }

    /// The Go name of a field, or why it can have none.
    pub(crate) fn name_of(self, field: &str) -> Result<String, String> {
        let field = field.strip_prefix("r#").unwrap_or(field);
        let name = field
            .split('_')
            .filter(|word| !word.is_empty())
            .map(|word| self.word(word))
            .collect::<String>();
        check(&name)?;
        Ok(name)
    }

    fn word(self, word: &str) -> String {
        let upper = word.to_uppercase();
        if self == Self::Go && INITIALISMS.contains(&&*upper) {
            return upper;
        }
        let mut letters = word.chars();
        letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(letters)
            .collect()
    }
}

/// Go drops fields silently whose names do not begin with a capital letter.
pub(crate) fn check(name: &str) -> Result<(), String> {
    match name.chars().next() {
        Some(first) if first.is_uppercase() => Ok(()),
        _ => Err(format!(
            "Go would drop a field named `{name}` without a word, since only names with a capital first letter are \
             sent: rename it, as in `rename = \"X{name}\"`"
        )),
    }
}

/// The words that golint writes in capitals.
const INITIALISMS: &[&str] = &[
    "ACL", "API", "ASCII", "CPU", "CSS", "DNS", "EOF", "GUID", "HTML", "HTTP", "HTTPS", "ID", "IP",
    "JSON", "LHS", "QPS", "RAM", "RHS", "RPC", "SLA", "SMTP", "SQL", "SSH", "TCP", "TLS", "TTL",
    "UDP", "UI", "UID", "UUID", "URI", "URL", "UTF8", "VM", "XML", "XMPP", "XSRF", "XSS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_go_programs_write_them() {
        for (rust, go) in [
            ("user_id", "UserID"),
            ("id", "ID"),
            ("http_port", "HTTPPort"),
            ("base_url", "BaseURL"),
            ("num1", "Num1"),
            ("r#type", "Type"),
            ("élan", "Élan"),
            ("_private", "Private"),
            ("idle", "Idle"),
        ] {
            assert_eq!(Case::Go.name_of(rust).as_deref(), Ok(go));
        }
        assert_eq!(Case::Pascal.name_of("user_id").as_deref(), Ok("UserId"));
    }

    #[test]
    fn a_name_that_go_drops_is_refused() {
        for rust in ["_1", "世界", "_"] {
            assert!(Case::Go.name_of(rust).is_err(), "{rust}");
        }
    }
}
