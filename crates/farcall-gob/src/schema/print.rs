//! Types as text for people: on one line, as Go definitions, as Rust definitions.
//! Streams of strangers are printed too, so nothing here goes deep or runs long on a strange graph.

use std::collections::HashMap;
use std::fmt::{self, Write};

use super::parse::encoder;
use super::{Kind, Node, NodeId, Opaque, Schema};

/// Types without a name are written where they are used, down to this depth. Deeper ones, which may contain
/// themselves, are given a name.
const INLINE_DEPTH_MAX: usize = 8;

/// How much text the types without a name may take where they are used, all together. A type that is used in many
/// places, which has parts that are, could take more than any memory. Those that come after it are given names.
const INLINE_LEN_MAX: usize = 64 << 10;

/// Types stand in a column behind fields whose names are no longer than this: one long name would widen every line.
const ALIGNED_MAX: usize = 64;

/// A longer name is cut, since it stands wherever its type is used.
const NAME_LEN_MAX: usize = 128;

/// The type on one line: `Args{A int; B int}`, `[]string`, `map[string]int`. Types inside it are called by their names.
/// A line that would be very long ends in `...`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line {
            f,
            left: INLINE_LEN_MAX,
            cut: false,
        };
        match self.go_line(&mut line) {
            Err(_) if line.cut => f.write_str("..."),
            written => written,
        }
    }
}

/// A line of limited length: what goes beyond it is an error.
struct Line<'l, 'f> {
    f: &'l mut fmt::Formatter<'f>,
    left: usize,
    cut: bool,
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(left) = self.left.checked_sub(text.len()) else {
            self.cut = true;
            return Err(fmt::Error);
        };
        self.left = left;
        self.f.write_str(text)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({self})")
    }
}

impl Schema {
    /// The Go definitions of the type and of all that it is made of, as a Go program could hold them.
    ///
    /// The wire knows one width of integers and floats, so `int` may have been an `int8`, and pointers are not seen.
    /// It can be read again: `schema.to_go().parse::<Schema>()`.
    pub fn to_go(&self) -> String {
        self.go_definitions(&[self.root])
    }

    /// The Rust definitions of the type and of all that it is made of, ready to be received.
    ///
    /// The wire knows one width of integers and floats, so an `i64` may do as an `i8`.
    pub fn to_rust(&self) -> String {
        self.rust_definitions(&[self.root])
    }

    /// The Go definitions of some types of the graph and of all that they are made of, each once.
    pub fn go_definitions(&self, roots: &[NodeId]) -> String {
        Definitions::new(self, &Go).print(roots)
    }

    /// The Rust definitions of some types of the graph and of all that they are made of, each once.
    pub fn rust_definitions(&self, roots: &[NodeId]) -> String {
        Definitions::new(self, &Rust).print(roots)
    }

    fn go_line(&self, f: &mut impl Write) -> fmt::Result {
        let node = self.root_node();
        match &node.kind {
            Kind::Struct { .. } => {
                f.write_str(match own_name(node) {
                    "" => "struct",
                    name => name,
                })?;
                self.go_fields(f, node, 0)
            }
            _ => self.go_inline(f, self.root, 0),
        }
    }

    fn go_inline(&self, f: &mut impl Write, id: NodeId, depth: usize) -> fmt::Result {
        let node = self.node(id);
        if depth > INLINE_DEPTH_MAX {
            return f.write_str("...");
        }
        match &node.kind {
            Kind::Array { elem, len } => {
                write!(f, "[{len}]")?;
                self.go_part(f, *elem, depth + 1)
            }
            Kind::Slice { elem } => {
                f.write_str("[]")?;
                self.go_part(f, *elem, depth + 1)
            }
            Kind::Map { key, elem } => {
                f.write_str("map[")?;
                self.go_part(f, *key, depth + 1)?;
                f.write_str("]")?;
                self.go_part(f, *elem, depth + 1)
            }
            Kind::Struct { .. } => {
                f.write_str("struct")?;
                self.go_fields(f, node, depth)
            }
            Kind::Opaque(_) if node.name.is_empty() => f.write_str("opaque"),
            Kind::Opaque(_) => f.write_str(&node.name),
            basic => f.write_str(Go.basic(basic)),
        }
    }

    fn go_part(&self, f: &mut impl Write, id: NodeId, depth: usize) -> fmt::Result {
        match own_name(self.node(id)) {
            "" => self.go_inline(f, id, depth),
            name => f.write_str(name),
        }
    }

    fn go_fields(&self, f: &mut impl Write, node: &Node, depth: usize) -> fmt::Result {
        let Kind::Struct { fields } = &node.kind else {
            return Ok(());
        };
        f.write_str("{")?;
        for (ix, field) in fields.iter().enumerate() {
            f.write_str(if ix == 0 { "" } else { "; " })?;
            write!(f, "{} ", field.name)?;
            self.go_part(f, field.ty, depth + 1)?;
        }
        f.write_str("}")
    }
}

/// What differs between the two languages.
trait Language {
    /// The names that a type cannot be given, or that mean something else where they are used here.
    fn reserved(&self) -> Vec<&'static str>;
    fn basic(&self, kind: &Kind) -> &'static str;
    fn array(&self, elem: &str, len: usize) -> String;
    fn slice(&self, elem: &str) -> String;
    fn map(&self, key: &str, elem: &str) -> String;
    fn opaque(&self, how: Opaque, name: &str) -> Option<String>;
    /// An unnamed struct where it is used, if the language has that.
    fn inline_struct(&self, fields: &[(String, String)]) -> Option<String>;
    fn field_type(&self, ty: String, contains_owner: bool) -> String;
    fn structure(&self, name: &str, fields: &[(String, String)]) -> String;
    fn definition(&self, name: &str, ty: &str) -> String;
    fn opaque_definition(&self, how: Opaque, name: &str) -> String;
}

/// Prints a type and then those that it has named on the way, until all are printed.
struct Definitions<'s> {
    schema: &'s Schema,
    language: &'s dyn Language,
    names: HashMap<NodeId, String>,
    taken: Taken,
    todo: Vec<NodeId>,
    /// How many of them are printed.
    done: usize,
    circles: Vec<usize>,
    /// How much more text types without a name may take where they are used.
    inline_left: usize,
}

impl<'s> Definitions<'s> {
    fn new(schema: &'s Schema, language: &'s dyn Language) -> Self {
        Self {
            schema,
            language,
            names: HashMap::new(),
            taken: Taken::new(&language.reserved()),
            todo: vec![],
            done: 0,
            circles: circles(schema),
            inline_left: INLINE_LEN_MAX,
        }
    }

    fn print(mut self, roots: &[NodeId]) -> String {
        let mut out = String::new();
        for &root in roots {
            let node = self.schema.node(root);
            match &node.kind {
                Kind::Struct { .. } => drop(self.name(root)),
                Kind::Array { .. } | Kind::Slice { .. } | Kind::Map { .. } | Kind::Opaque(_)
                    if !own_name(node).is_empty() =>
                {
                    drop(self.name(root));
                }
                // A type without a name still needs one to be defined under.
                _ => {
                    let ty = self.inline(root, 0);
                    let name = self.taken.fresh("Value", "");
                    append(&mut out, &self.language.definition(&name, &ty));
                }
            }
            self.definitions(&mut out);
        }
        out
    }

    fn definitions(&mut self, out: &mut String) {
        while let Some(&id) = self.todo.get(self.done) {
            self.done += 1;
            let name = self.names.get(&id).cloned().unwrap_or_default();
            let text = match &self.schema.node(id).kind {
                Kind::Struct { .. } => {
                    let fields = self.fields(id, 0);
                    self.language.structure(&name, &fields)
                }
                Kind::Opaque(how) => self.language.opaque_definition(*how, &name),
                _ => {
                    let ty = self.inline(id, 0);
                    self.language.definition(&name, &ty)
                }
            };
            append(out, &text);
        }
    }

    fn fields(&mut self, id: NodeId, depth: usize) -> Vec<(String, String)> {
        let schema = self.schema;
        let Kind::Struct { fields } = &schema.node(id).kind else {
            return vec![];
        };
        fields
            .iter()
            .map(|field| {
                let ty = self.part(field.ty, depth);
                let contains_owner = self.circles[field.ty.ix()] == self.circles[id.ix()];
                (
                    field.name.to_string(),
                    self.language.field_type(ty, contains_owner),
                )
            })
            .collect()
    }

    /// A type where it is used: its name if it has one.
    fn part(&mut self, id: NodeId, depth: usize) -> String {
        let node = self.schema.node(id);
        if id.is_basic() {
            return self.language.basic(&node.kind).to_owned();
        }
        if let Kind::Opaque(how) = node.kind {
            if let Some(ty) = self.language.opaque(how, &node.name) {
                return ty;
            }
        }
        if !own_name(node).is_empty() || depth > INLINE_DEPTH_MAX {
            return self.name(id);
        }
        // Roughly what it takes without its parts.
        let len = match &node.kind {
            Kind::Struct { fields } => fields.iter().map(|field| 8 + field.name.len()).sum(),
            _ => 8,
        };
        match self.inline_left.checked_sub(len) {
            Some(left) => {
                self.inline_left = left;
                self.inline(id, depth)
            }
            None => self.name(id),
        }
    }

    fn inline(&mut self, id: NodeId, depth: usize) -> String {
        match &self.schema.node(id).kind {
            &Kind::Array { elem, len } => {
                let elem = self.part(elem, depth + 1);
                self.language.array(&elem, len)
            }
            &Kind::Slice { elem } => {
                let elem = self.part(elem, depth + 1);
                self.language.slice(&elem)
            }
            &Kind::Map { key, elem } => {
                let key = self.part(key, depth + 1);
                let elem = self.part(elem, depth + 1);
                self.language.map(&key, &elem)
            }
            Kind::Struct { .. } => {
                if self.language.inline_struct(&[]).is_none() {
                    return self.name(id);
                }
                let fields = self.fields(id, depth + 1);
                self.language.inline_struct(&fields).unwrap_or_default()
            }
            Kind::Opaque(_) => self.name(id),
            basic => self.language.basic(basic).to_owned(),
        }
    }

    fn name(&mut self, id: NodeId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let name = identifier(own_name(self.schema.node(id)));
        let name = match &*name {
            "" => self.taken.fresh("Type", ""),
            name => self.taken.fresh(name, ""),
        };
        self.names.insert(id, name.clone());
        self.todo.push(id);
        name
    }
}

/// The names that are in use, each with how often it was asked for.
struct Taken(HashMap<String, usize>);

impl Taken {
    fn new(reserved: &[&str]) -> Self {
        Self(reserved.iter().map(|&name| (name.to_owned(), 1)).collect())
    }

    /// The name, or the name with a number if it is in use.
    fn fresh(&mut self, name: &str, before_number: &str) -> String {
        let mut fresh = name.to_owned();
        loop {
            let times = self.0.entry(name.to_owned()).or_default();
            *times += 1;
            if *times > 1 {
                fresh = format!("{name}{before_number}{times}");
                if self.0.contains_key(&fresh) {
                    continue;
                }
                self.0.insert(fresh.clone(), 1);
            }
            return fresh;
        }
    }
}

/// Which types hold each other with nothing between that may be empty: those that do have the same number.
///
/// Each type is looked at once (R. E. Tarjan's strongly connected components), and nothing goes deep: strangers draw the
/// graph.
fn circles(schema: &Schema) -> Vec<usize> {
    let held = |id: NodeId| {
        let node = schema.node(id);
        let holds = matches!(node.kind, Kind::Struct { .. } | Kind::Array { .. });
        node.kind.parts().filter(move |_| holds)
    };
    const NEW: usize = usize::MAX;
    let mut circle = vec![NEW; schema.nodes.len()];
    // When each was found, and the first of those that it leads to whose circle is still open.
    let mut found = vec![NEW; schema.nodes.len()];
    let mut first = vec![NEW; schema.nodes.len()];
    let (mut path, mut open, mut times) = (vec![], vec![], 0);
    for root in (0..schema.nodes.len() as u32).map(NodeId) {
        let mut next = (found[root.ix()] == NEW).then_some(root);
        loop {
            if let Some(id) = next.take() {
                (found[id.ix()], first[id.ix()]) = (times, times);
                times += 1;
                open.push(id);
                path.push((id, held(id)));
            }
            let Some((id, parts)) = path.last_mut() else {
                break;
            };
            let id = id.ix();
            match parts.next() {
                Some(part) if found[part.ix()] == NEW => next = Some(part),
                Some(part) if circle[part.ix()] == NEW => {
                    first[id] = first[id].min(found[part.ix()]);
                }
                Some(_) => {}
                None => {
                    path.pop();
                    if first[id] == found[id] {
                        while let Some(member) = open.pop() {
                            circle[member.ix()] = id;
                            if member.ix() == id {
                                break;
                            }
                        }
                    }
                    if let Some((outer, _)) = path.last() {
                        first[outer.ix()] = first[outer.ix()].min(first[id]);
                    }
                }
            }
        }
    }
    circle
}

/// Adds a definition, after an empty line.
fn append(out: &mut String, definition: &str) {
    if !out.is_empty() && !definition.is_empty() {
        out.push('\n');
    }
    out.push_str(definition);
}

/// The type's own name. Go also calls the types of fields by what they are made of: `[]string`, `map[string]int`.
fn own_name(node: &Node) -> &str {
    let spelled = match &node.kind {
        Kind::Array { .. } | Kind::Slice { .. } => "[",
        Kind::Map { .. } => "map[",
        Kind::Struct { .. } => "struct {",
        _ => return &node.name,
    };
    match node.name.starts_with(spelled) {
        true => "",
        false => &node.name,
    }
}

/// A name of the wire as one that both languages take.
fn identifier(name: &str) -> String {
    let name: String = name
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .take(NAME_LEN_MAX)
        .collect();
    match name.chars().next() {
        Some(first) if first.is_numeric() => format!("T{name}"),
        _ => name,
    }
}

struct Go;

impl Language for Go {
    fn reserved(&self) -> Vec<&'static str> {
        let used = [
            "_",
            "any",
            "bool",
            "byte",
            "complex128",
            "float64",
            "int",
            "string",
            "uint",
        ];
        [&used, GO_KEYWORDS].concat()
    }

    fn basic(&self, kind: &Kind) -> &'static str {
        match kind {
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Float => "float64",
            Kind::Complex => "complex128",
            Kind::Bytes => "[]byte",
            Kind::String => "string",
            _ => "any",
        }
    }

    fn array(&self, elem: &str, len: usize) -> String {
        format!("[{len}]{elem}")
    }

    fn slice(&self, elem: &str) -> String {
        format!("[]{elem}")
    }

    fn map(&self, key: &str, elem: &str) -> String {
        format!("map[{key}]{elem}")
    }

    fn opaque(&self, how: Opaque, name: &str) -> Option<String> {
        known_as(how, name).map(|(go, _)| go.to_owned())
    }

    fn inline_struct(&self, fields: &[(String, String)]) -> Option<String> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, ty)| format!("{name} {ty}"))
            .collect();
        Some(format!("struct{{{}}}", fields.join("; ")))
    }

    fn field_type(&self, ty: String, contains_owner: bool) -> String {
        if contains_owner { format!("*{ty}") } else { ty }
    }

    fn structure(&self, name: &str, fields: &[(String, String)]) -> String {
        let widths = fields.iter().map(|(name, _)| name.chars().count());
        let width = widths.filter(|&w| w <= ALIGNED_MAX).max().unwrap_or(0);
        let mut out = format!("type {name} struct {{");
        for (name, ty) in fields {
            let pad = width.saturating_sub(name.chars().count());
            out.push_str(&format!("\n\t{name}{:pad$} {ty}", ""));
        }
        out.push_str(if fields.is_empty() { "}\n" } else { "\n}\n" });
        out
    }

    fn definition(&self, name: &str, ty: &str) -> String {
        format!("type {name} {ty}\n")
    }

    fn opaque_definition(&self, how: Opaque, name: &str) -> String {
        if let Some((go, _)) = known_as(how, name) {
            return format!("type {name} = {go}\n");
        }
        let methods = match how {
            Opaque::Gob => "GobEncode and GobDecode",
            Opaque::Binary => "MarshalBinary and UnmarshalBinary",
            Opaque::Text => "MarshalText and UnmarshalText",
        };
        let (package, encoder) = encoder(how);
        format!(
            "// {name} has {methods}, which alone know its bytes.\ntype {name} struct{{ {package}.{encoder} }}\n"
        )
    }
}

struct Rust;

impl Language for Rust {
    fn reserved(&self) -> Vec<&'static str> {
        let used = [
            "Box", "Option", "String", "Vec", "bool", "f64", "i64", "u64",
        ];
        [&used, KEYWORDS, NEVER_RAW].concat()
    }

    fn basic(&self, kind: &Kind) -> &'static str {
        match kind {
            Kind::Bool => "bool",
            Kind::Int => "i64",
            Kind::Uint => "u64",
            Kind::Float => "f64",
            Kind::Complex => "farcall_gob::Complex",
            Kind::Bytes => "Vec<u8>",
            Kind::String => "String",
            _ => "farcall_gob::Value",
        }
    }

    fn array(&self, elem: &str, len: usize) -> String {
        format!("[{elem}; {len}]")
    }

    fn slice(&self, elem: &str) -> String {
        format!("Vec<{elem}>")
    }

    fn map(&self, key: &str, elem: &str) -> String {
        format!("std::collections::HashMap<{key}, {elem}>")
    }

    fn opaque(&self, how: Opaque, name: &str) -> Option<String> {
        if let Some((_, rust)) = known_as(how, name).filter(|(_, rust)| !rust.is_empty()) {
            return Some(rust.to_owned());
        }
        Some(
            match how {
                Opaque::Gob => "farcall_gob::GobEncoded",
                Opaque::Binary => "farcall_gob::BinaryEncoded",
                Opaque::Text => "farcall_gob::TextEncoded",
            }
            .to_owned(),
        )
    }

    fn inline_struct(&self, _: &[(String, String)]) -> Option<String> {
        None
    }

    fn field_type(&self, ty: String, contains_owner: bool) -> String {
        if contains_owner {
            format!("Option<Box<{ty}>>")
        } else {
            ty
        }
    }

    fn structure(&self, name: &str, fields: &[(String, String)]) -> String {
        let mut out = format!("#[derive(farcall_gob::Gob)]\nstruct {name} {{");
        let mut taken = Taken::new(NEVER_RAW);
        for (name, ty) in fields {
            let usual = snake(name);
            let mut ident = taken.fresh(&usual, "_");
            let same = ident == usual && go_name(&ident) == *name;
            if KEYWORDS.contains(&&*ident) {
                ident.insert_str(0, "r#");
            }
            if !same {
                out.push_str(&format!("\n    #[gob(rename = {name:?})]"));
            }
            out.push_str(&format!("\n    {ident}: {ty},"));
        }
        out.push_str(if fields.is_empty() { "}\n" } else { "\n}\n" });
        out
    }

    fn definition(&self, name: &str, ty: &str) -> String {
        format!("#[derive(farcall_gob::Gob)]\nstruct {name}({ty});\n")
    }

    fn opaque_definition(&self, how: Opaque, name: &str) -> String {
        self.definition(name, &self.opaque(how, name).unwrap_or_default())
    }
}

/// What is known of a type that encodes itself, by the name it has on the wire: as Go and as Rust call it.
fn known_as(how: Opaque, name: &str) -> Option<(&'static str, &'static str)> {
    let known = super::well_known()
        .iter()
        .find(|known| (known.0, known.1) == (how, name));
    known.map(|known| (known.2, known.3))
}

/// `UserID` as `user_id`.
fn snake(name: &str) -> String {
    let letters: Vec<char> = identifier(name).chars().collect();
    let mut out = String::new();
    for (ix, letter) in letters.iter().enumerate() {
        let before = ix.checked_sub(1).and_then(|ix| letters.get(ix));
        let after = letters.get(ix + 1);
        // A word begins at a capital letter after a small one, or before a small one after capitals.
        let begins = letter.is_uppercase()
            && before.is_some_and(|b| {
                *b != '_' && (!b.is_uppercase() || after.is_some_and(|a| a.is_lowercase()))
            });
        if begins {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    if out.is_empty() {
        "field".to_owned()
    } else {
        out
    }
}

/// The name that the derive gives to a field.
pub(crate) fn go_name(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| {
            let upper = word.to_uppercase();
            if INITIALISMS.contains(&&*upper) {
                return upper;
            }
            let mut letters = word.chars();
            letters
                .next()
                .into_iter()
                .flat_map(char::to_uppercase)
                .chain(letters)
                .collect()
        })
        .collect()
}

/// The words that the derive writes in capitals.
const INITIALISMS: &[&str] = &[
    "ACL", "API", "ASCII", "CPU", "CSS", "DNS", "EOF", "GUID", "HTML", "HTTP", "HTTPS", "ID", "IP",
    "JSON", "LHS", "QPS", "RAM", "RHS", "RPC", "SLA", "SMTP", "SQL", "SSH", "TCP", "TLS", "TTL",
    "UDP", "UI", "UID", "UUID", "URI", "URL", "UTF8", "VM", "XML", "XMPP", "XSRF", "XSS",
];

/// Go's keywords.
const GO_KEYWORDS: &[&str] = &[
    "break",
    "case",
    "chan",
    "const",
    "continue",
    "default",
    "defer",
    "else",
    "fallthrough",
    "for",
    "func",
    "go",
    "goto",
    "if",
    "import",
    "interface",
    "map",
    "package",
    "range",
    "return",
    "select",
    "struct",
    "switch",
    "type",
    "var",
];

/// What cannot be a name in Rust, not even after `r#`.
const NEVER_RAW: &[&str] = &["_", "Self", "crate", "self", "super"];

/// Rust's other keywords.
const KEYWORDS: &[&str] = &[
    "as", "async", "await", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where",
    "while", "yield", "abstract", "become",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gob;

    #[derive(Gob)]
    struct Line {
        #[allow(dead_code)]
        price: f64,
    }

    #[derive(Gob)]
    #[allow(dead_code)]
    struct Order {
        user_id: u64,
        r#type: String,
        #[gob(rename = "Url")]
        url: String,
        lines: Vec<Line>,
        #[allow(clippy::type_complexity)]
        by_key: std::collections::HashMap<(), [u8; 2]>,
        next: Option<Box<Order>>,
    }

    #[test]
    fn a_type_fits_on_a_line() {
        for (schema, text) in [
            (
                Schema::of::<Order>(),
                "Order{UserID uint; Type string; Url string; Lines []Line; ByKey map[struct{}][2]uint; Next Order}",
            ),
            (Schema::of::<Vec<String>>(), "[]string"),
            (Schema::of::<Vec<Vec<Order>>>(), "[][]Order"),
            (Schema::of::<u8>(), "uint"),
            (Schema::of::<()>(), "struct{}"),
        ] {
            assert_eq!(schema.to_string(), text);
        }
    }

    #[test]
    fn definitions_are_printed_as_go() {
        assert_eq!(
            Schema::of::<Order>().to_go(),
            "type Order struct {\n\tUserID uint\n\tType   string\n\tUrl    string\n\tLines  []Line\n\
             \tByKey  map[struct{}][2]uint\n\tNext   *Order\n}\n\ntype Line struct {\n\tPrice float64\n}\n"
        );
        assert_eq!(Schema::of::<Vec<u8>>().to_go(), "type Value []byte\n");
    }

    #[test]
    fn definitions_are_printed_as_rust() {
        assert_eq!(
            Schema::of::<Order>().to_rust(),
            "#[derive(farcall_gob::Gob)]\nstruct Order {\n    user_id: u64,\n    r#type: String,\n    \
             #[gob(rename = \"Url\")]\n    url: String,\n    lines: Vec<Line>,\n    \
             by_key: std::collections::HashMap<Type, [u64; 2]>,\n    next: Option<Box<Order>>,\n}\n\n\
             #[derive(farcall_gob::Gob)]\nstruct Line {\n    price: f64,\n}\n\n\
             #[derive(farcall_gob::Gob)]\nstruct Type {}\n"
        );
    }

    #[test]
    fn a_type_that_contains_itself_without_a_name_is_given_one() {
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Slices(Vec<Slices>);
        let schema = Schema::of::<Slices>();
        assert!(schema.to_string().ends_with("..."), "{schema}");
        assert!(
            schema.to_go().contains("type Type [][]"),
            "{}",
            schema.to_go()
        );
    }

    /// Structs without a name, of which each has `width` fields of the next one.
    fn ladder(height: u32, width: usize) -> Schema {
        let mut nodes = crate::schema::basic_nodes();
        for step in 1..=height {
            let ty = match step {
                step if step == height => NodeId::INT,
                _ => NodeId(nodes.len() as u32 + 1),
            };
            let fields = (0..width).map(|number| crate::schema::Field {
                name: format!("F{number}").into(),
                ty,
            });
            nodes.push(Node {
                name: "".into(),
                kind: Kind::Struct {
                    fields: fields.collect(),
                },
            });
        }
        Schema::new(nodes, NodeId(crate::schema::BASIC_NODES as u32))
    }

    #[test]
    fn types_that_are_used_in_many_places_do_not_fill_the_memory() {
        // Written out, 20 fields of 20 fields, eight times over, are 25,600,000,000 fields.
        let schema = ladder(9, 20);
        assert!(schema.to_string().len() <= INLINE_LEN_MAX + 3);
        assert!(schema.to_string().ends_with("..."));
        assert!(schema.to_go().len() < 4 * INLINE_LEN_MAX);
        assert!(schema.to_go().contains("\ntype Type2 struct {\n\tF0"));
        assert!(schema.to_rust().len() < 4 * INLINE_LEN_MAX);
    }

    #[test]
    fn only_what_leads_back_to_its_owner_is_a_pointer() {
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Outer {
            outer: Option<Box<Outer>>,
            even: Even,
        }
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Even {
            odd: Option<Box<Odd>>,
        }
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Odd {
            evens: Vec<Even>,
            even: [Option2; 1],
            plain: Plain,
        }
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Option2 {
            even: Option<Box<Even>>,
        }
        #[derive(Gob)]
        #[allow(dead_code)]
        struct Plain {
            x: i64,
        }
        assert_eq!(
            Schema::of::<Outer>().to_go(),
            "type Outer struct {\n\tOuter *Outer\n\tEven  Even\n}\n\n\
             type Even struct {\n\tOdd *Odd\n}\n\n\
             type Odd struct {\n\tEvens []Even\n\tEven  *[1]Option2\n\tPlain Plain\n}\n\n\
             type Option2 struct {\n\tEven *Even\n}\n\n\
             type Plain struct {\n\tX int\n}\n"
        );
    }

    #[test]
    fn types_without_a_name_are_written_where_they_are_used() {
        assert_eq!(
            ladder(2, 2).to_go(),
            "type Type struct {\n\tF0 struct{F0 int; F1 int}\n\tF1 struct{F0 int; F1 int}\n}\n"
        );
    }

    #[test]
    fn names_stay_apart_from_each_other_and_from_the_languages() {
        let mut builder = crate::SchemaBuilder::new();
        let field = |name: &str, ty| crate::Field {
            name: name.into(),
            ty,
        };
        let mut fields = vec![field("Self", NodeId::STRING), field("A_2", NodeId::INT)];
        for (ix, name) in ["A", "A", "A2", "String", "type"].into_iter().enumerate() {
            let inner = vec![field(&format!("F{ix}"), NodeId::STRING)];
            let ty = builder.add(name, Kind::Struct { fields: inner });
            fields.push(field(if ix < 2 { "A" } else { name }, ty));
        }
        let root = builder.add("Root", Kind::Struct { fields });
        let schema = builder.finish(root);
        let rust = schema.to_rust();
        for line in [
            "    #[gob(rename = \"Self\")]\n    self_2: String,",
            "    a_2: i64,",
            "    a: A,",
            "    #[gob(rename = \"A\")]\n    a_3: A2,",
            "    a2: A22,",
            "    string: String2,",
            "struct String2 {",
        ] {
            assert!(rust.contains(line), "{line}: {rust}");
        }
        let go = schema.to_go();
        assert!(go.contains("\ttype   type2\n"), "{go}");
        assert!(go.contains("\ntype type2 struct {"), "{go}");
    }

    /// The derive has the same list, in a crate that cannot be asked for it.
    #[test]
    fn the_derive_knows_the_same_initialisms() {
        #[derive(Gob)]
        #[allow(dead_code)]
        struct All {
            acl: (),
            api: (),
            ascii: (),
            cpu: (),
            css: (),
            dns: (),
            eof: (),
            guid: (),
            html: (),
            http: (),
            https: (),
            id: (),
            ip: (),
            json: (),
            lhs: (),
            qps: (),
            ram: (),
            rhs: (),
            rpc: (),
            sla: (),
            smtp: (),
            sql: (),
            ssh: (),
            tcp: (),
            tls: (),
            ttl: (),
            udp: (),
            ui: (),
            uid: (),
            uuid: (),
            uri: (),
            url: (),
            utf8: (),
            vm: (),
            xml: (),
            xmpp: (),
            xsrf: (),
            xss: (),
        }
        let schema = Schema::of::<All>();
        let Kind::Struct { fields } = &schema.root_node().kind else {
            panic!("it is a struct")
        };
        let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, INITIALISMS);
    }

    #[test]
    fn names_in_small_letters_and_words_are_found_again() {
        for (go, rust) in [
            ("UserID", "user_id"),
            ("HTTPPort", "http_port"),
            ("ID", "id"),
            ("Num1", "num1"),
            ("Élan", "élan"),
        ] {
            assert_eq!(snake(go), rust);
            assert_eq!(go_name(rust), go);
        }
    }
}
