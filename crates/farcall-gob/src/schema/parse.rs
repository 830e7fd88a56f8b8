//! Types from text: a Go type expression, or Go's type declarations. The text may be anybody's, so nothing here goes
//! deep or panics on a strange one. How types become text is in `print`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use super::{Field, Kind, NodeId, Opaque, Schema, SchemaBuilder, well_known};

/// How deep type expressions may nest. Go programmers stop long before.
const DEPTH_MAX: usize = 100;

/// How long a text may be. Work and memory stay within bounds then, whatever it says.
const LEN_MAX: usize = 64 << 10;

/// Why a text is no Go type, and where.
///
/// ```
/// use farcall_gob::Schema;
///
/// let error = "map[strin]int".parse::<Schema>().unwrap_err();
/// assert_eq!(error.to_string(), "no Go type at byte 4: there is no type strin: write out what it is, or add `type strin …`");
/// assert_eq!(error.offset(), 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSyntaxError {
    at: usize,
    wrong: String,
}

impl TypeSyntaxError {
    /// How many bytes of the text stand before what is wrong.
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl fmt::Display for TypeSyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no Go type at byte {}: {}", self.at, self.wrong)
    }
}

impl std::error::Error for TypeSyntaxError {}

/// Reads a Go type, such as `map[string][]byte` or `struct{A int; B []uint8}`.
///
/// Types that refer to themselves are told by declarations, as [`Schema::to_go`] writes them: `type Node struct{Value
/// int; Next *Node}`. The type meant is the first one declared.
///
/// As gob sees types, all widths of integers are one, pointers are what they point to, and fields that begin with a
/// small letter are not there. `time.Time` and the like are known by name; other types that encode themselves are
/// written as the interface by which they do it: `gob.GobEncoder`, `encoding.BinaryMarshaler`,
/// `encoding.TextMarshaler`, or a struct that embeds it.
///
/// ```
/// use farcall_gob::{Schema, Kind};
///
/// let point: Schema = "struct{X, Y int; Label string}".parse()?;
/// assert_eq!(point.to_string(), "struct{X int; Y int; Label string}");
/// let bytes: Schema = "[]uint8".parse()?;
/// assert_eq!(bytes.root_node().kind, Kind::Bytes);
/// # Ok::<(), farcall_gob::TypeSyntaxError>(())
/// ```
impl FromStr for Schema {
    type Err = TypeSyntaxError;

    fn from_str(text: &str) -> Result<Self, TypeSyntaxError> {
        if text.len() > LEN_MAX {
            return wrong(LEN_MAX, format!("it is longer than {LEN_MAX} bytes"));
        }
        let mut parser = Parser {
            tokens: tokens(text)?,
            next: 0,
            end: text.len(),
            depth: 0,
        };
        let (declared, root) = parser.whole()?;
        Placing::new(declared).place(&root)
    }
}

/// A type as it is written.
#[derive(Debug)]
enum Written<'t> {
    /// One that needs no definition.
    Basic(NodeId),
    /// An unsigned number of one byte: a slice of it is Go's `[]byte`.
    Byte,
    Slice(Box<Written<'t>>),
    Array(usize, Box<Written<'t>>),
    Map(Box<Written<'t>>, Box<Written<'t>>),
    /// Fields whose names stand before one type share it.
    Struct(Vec<(&'t str, Rc<Written<'t>>)>),
    Opaque(Opaque, &'static str),
    /// A declared one, and where it is mentioned.
    Named(&'t str, usize),
}

struct Declared<'t> {
    name: &'t str,
    ty: Written<'t>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    Number(&'t str),
    Text,
    Mark(char),
    /// A semicolon, or a line's end that stands for one.
    End,
}

fn wrong<T>(at: usize, wrong: impl Into<String>) -> Result<T, TypeSyntaxError> {
    Err(TypeSyntaxError {
        at,
        wrong: wrong.into(),
    })
}

/// The words and marks of a text, each with its place.
fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, TypeSyntaxError> {
    let mut tokens = vec![];
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let rest = text.get(at..).unwrap_or_default();
        let (token, len) = match letter {
            // As in Go, a line's end after something that can be whole ends it.
            '\n' => match tokens.last() {
                Some((_, Token::Name(_) | Token::Number(_) | Token::Text))
                | Some((_, Token::Mark(')' | ']' | '}'))) => (Token::End, 1),
                _ => continue,
            },
            ';' => (Token::End, 1),
            _ if letter.is_whitespace() => continue,
            '/' if rest.starts_with("//") => {
                while letters.next_if(|(_, letter)| *letter != '\n').is_some() {}
                continue;
            }
            '*' | '[' | ']' | '{' | '}' | '(' | ')' | ',' | '.' | '=' => (Token::Mark(letter), 1),
            '0'..='9' => {
                let len = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                (Token::Number(rest.get(..len).unwrap_or_default()), len)
            }
            '"' | '`' => {
                let mut is_escaped = false;
                let end = rest.char_indices().skip(1).find(|&(_, c)| {
                    let ends = c == letter && !is_escaped;
                    is_escaped = letter == '"' && c == '\\' && !is_escaped;
                    ends
                });
                match end {
                    Some((end, _)) => (Token::Text, end + 1),
                    None => return wrong(at, "the text that begins here has no end"),
                }
            }
            _ if letter.is_alphabetic() || letter == '_' => {
                let len = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                (Token::Name(rest.get(..len).unwrap_or_default()), len)
            }
            _ => return wrong(at, format!("{letter:?} has no meaning in a type")),
        };
        while letters.next_if(|(next, _)| *next < at + len).is_some() {}
        tokens.push((at, token));
    }
    Ok(tokens)
}

struct Parser<'t> {
    tokens: Vec<(usize, Token<'t>)>,
    next: usize,
    /// The text's length.
    end: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn whole(&mut self) -> Result<(Vec<Declared<'t>>, Written<'t>), TypeSyntaxError> {
        let mut declared: Vec<Declared<'t>> = vec![];
        while self.eat(Token::End) {}
        while self.peek() == Some(Token::Name("type")) {
            self.next += 1;
            let at = self.at();
            let name = self.name("the name of the type that is declared")?;
            if declared.iter().any(|other| other.name == name) {
                return wrong(at, format!("{name} is declared twice"));
            }
            self.eat(Token::Mark('='));
            let ty = self.ty()?;
            declared.push(Declared { name, ty });
            if self.peek().is_some() && !self.eat(Token::End) {
                return wrong(self.at(), "the type before this has ended");
            }
            while self.eat(Token::End) {}
        }
        let root = match declared.first() {
            Some(first) => Written::Named(first.name, 0),
            None => self.ty()?,
        };
        while self.eat(Token::End) {}
        match self.peek() {
            None => Ok((declared, root)),
            Some(_) => wrong(self.at(), "the type before this has ended"),
        }
    }

    fn ty(&mut self) -> Result<Written<'t>, TypeSyntaxError> {
        if self.depth >= DEPTH_MAX {
            return wrong(
                self.at(),
                format!("types nest deeper than {DEPTH_MAX} here"),
            );
        }
        self.depth += 1;
        let ty = self.ty_here();
        self.depth -= 1;
        ty
    }

    fn ty_here(&mut self) -> Result<Written<'t>, TypeSyntaxError> {
        let at = self.at();
        match self.take() {
            Some(Token::Mark('*')) => self.ty(),
            Some(Token::Mark('(')) => {
                let ty = self.ty()?;
                self.mark(')')?;
                Ok(ty)
            }
            Some(Token::Mark('[')) => self.list(),
            Some(Token::Name("map")) => {
                self.mark('[')?;
                let key = self.ty()?;
                self.mark(']')?;
                let elem = self.ty()?;
                Ok(Written::Map(Box::new(key), Box::new(elem)))
            }
            Some(Token::Name("struct")) => self.structure(),
            Some(Token::Name("interface")) => self.interface(),
            Some(Token::Name(name @ ("chan" | "func"))) => {
                wrong(at, format!("gob cannot send a {name}"))
            }
            Some(Token::Name(name)) => self.named(name, at),
            Some(_) => wrong(at, "a type should stand here"),
            None => wrong(at, "a type should follow"),
        }
    }

    /// What follows a `[`.
    fn list(&mut self) -> Result<Written<'t>, TypeSyntaxError> {
        let at = self.at();
        match self.take() {
            Some(Token::Mark(']')) => Ok(Written::Slice(Box::new(self.ty()?))),
            Some(Token::Number(digits)) => {
                let Ok(len) = digits.parse() else {
                    return wrong(at, format!("{digits} is no length of an array"));
                };
                self.mark(']')?;
                Ok(Written::Array(len, Box::new(self.ty()?)))
            }
            _ => wrong(at, "here should be ] of a slice or the length of an array"),
        }
    }

    /// What follows `struct`.
    fn structure(&mut self) -> Result<Written<'t>, TypeSyntaxError> {
        self.mark('{')?;
        let mut fields: Vec<(&'t str, Rc<Written<'t>>)> = vec![];
        let mut taken = HashSet::new();
        loop {
            while self.eat(Token::End) {}
            if self.eat(Token::Mark('}')) {
                break;
            }
            let at = self.at();
            let (names, ty) = self.field()?;
            let ty = Rc::new(ty);
            for name in names {
                if !taken.insert(name) && name != "_" {
                    return wrong(at, format!("there are two fields {name}"));
                }
                // Go's rule: others are not sent.
                if name.chars().next().is_some_and(char::is_uppercase) {
                    fields.push((name, Rc::clone(&ty)));
                }
            }
            self.eat(Token::Text);
            if self.peek() != Some(Token::Mark('}')) && !self.eat(Token::End) {
                return wrong(self.at(), "here should be ; or } after a field");
            }
        }
        // A struct that embeds the means to encode itself does so.
        let encodes = |name: &str, ty: &Written<'_>| match ty {
            Written::Opaque(how, "") if name == encoder(*how).1 => Some(*how),
            _ => None,
        };
        let opaque = fields.iter().find_map(|(name, ty)| encodes(name, ty));
        Ok(match opaque {
            Some(how) => Written::Opaque(how, ""),
            None => Written::Struct(fields),
        })
    }

    /// One or more names and their type, or an embedded type, whose name is the field's.
    fn field(&mut self) -> Result<(Vec<&'t str>, Written<'t>), TypeSyntaxError> {
        let at = self.at();
        if self.eat(Token::Mark('*')) {
            let at = self.at();
            let name = self.name("the name of an embedded type")?;
            let (field, ty) = self.embedded(name, at)?;
            return Ok((vec![field], ty));
        }
        let first = self.name("a field's name")?;
        match self.peek() {
            Some(Token::End | Token::Text | Token::Mark('}' | '.')) | None => {
                let (field, ty) = self.embedded(first, at)?;
                Ok((vec![field], ty))
            }
            _ => {
                let mut names = vec![first];
                while self.eat(Token::Mark(',')) {
                    names.push(self.name("a field's name")?);
                }
                Ok((names, self.ty()?))
            }
        }
    }

    fn embedded(
        &mut self,
        name: &'t str,
        at: usize,
    ) -> Result<(&'t str, Written<'t>), TypeSyntaxError> {
        let start = self.next;
        let ty = self.named(name, at)?;
        // Of pkg.Name, the field is called Name.
        let last = self
            .tokens
            .get(start..self.next)
            .and_then(|tokens| tokens.last());
        match last {
            Some((_, Token::Name(name))) => Ok((name, ty)),
            _ => Ok((name, ty)),
        }
    }

    /// What follows `interface`: whatever its methods are, to gob it is an interface.
    fn interface(&mut self) -> Result<Written<'t>, TypeSyntaxError> {
        let open = self.at();
        self.mark('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.take() {
                Some(Token::Mark('{')) => depth += 1,
                Some(Token::Mark('}')) => depth -= 1,
                Some(_) => {}
                None => return wrong(open, "the { here is not closed"),
            }
        }
        Ok(Written::Basic(NodeId::INTERFACE))
    }

    /// A type by its name, which has been read, and which may be that of a package.
    fn named(&mut self, name: &'t str, at: usize) -> Result<Written<'t>, TypeSyntaxError> {
        if self.eat(Token::Mark('.')) {
            let of = self.name("the name of a package's type")?;
            return match qualified(name, of) {
                Some(ty) => Ok(ty),
                None => wrong(
                    at,
                    format!("what {name}.{of} is made of is not known here: write it out"),
                ),
            };
        }
        Ok(match name {
            "bool" => Written::Basic(NodeId::BOOL),
            "int" | "int8" | "int16" | "int32" | "int64" | "rune" => Written::Basic(NodeId::INT),
            "uint8" | "byte" => Written::Byte,
            "uint" | "uint16" | "uint32" | "uint64" | "uintptr" => Written::Basic(NodeId::UINT),
            "float32" | "float64" => Written::Basic(NodeId::FLOAT),
            "complex64" | "complex128" => Written::Basic(NodeId::COMPLEX),
            "string" => Written::Basic(NodeId::STRING),
            "any" | "error" => Written::Basic(NodeId::INTERFACE),
            _ => Written::Named(name, at),
        })
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).map(|(_, token)| *token)
    }

    fn take(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    fn eat(&mut self, token: Token<'_>) -> bool {
        let is_it = self.peek() == Some(token);
        if is_it {
            self.next += 1;
        }
        is_it
    }

    fn mark(&mut self, mark: char) -> Result<(), TypeSyntaxError> {
        match self.eat(Token::Mark(mark)) {
            true => Ok(()),
            false => wrong(self.at(), format!("here should be {mark}")),
        }
    }

    fn name(&mut self, what: &str) -> Result<&'t str, TypeSyntaxError> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.next += 1;
                Ok(name)
            }
            _ => wrong(self.at(), format!("here should be {what}")),
        }
    }
}

/// The interface by which a Go type encodes itself: its package and its name.
pub(super) fn encoder(how: Opaque) -> (&'static str, &'static str) {
    match how {
        Opaque::Gob => ("gob", "GobEncoder"),
        Opaque::Binary => ("encoding", "BinaryMarshaler"),
        Opaque::Text => ("encoding", "TextMarshaler"),
    }
}

fn qualified(package: &str, name: &str) -> Option<Written<'static>> {
    match (package, name) {
        ("time", "Duration" | "Month" | "Weekday") => return Some(Written::Basic(NodeId::INT)),
        ("json", "RawMessage") => return Some(Written::Basic(NodeId::BYTES)),
        _ => {}
    }
    let all = [Opaque::Gob, Opaque::Binary, Opaque::Text];
    if let Some(how) = all.into_iter().find(|how| encoder(*how) == (package, name)) {
        return Some(Written::Opaque(how, ""));
    }
    let (how, wire, ..) = well_known()
        .iter()
        .find(|(_, _, go, _)| go.split_once('.') == Some((package, name)))?;
    Some(Written::Opaque(*how, wire))
}

/// Puts written types into a graph.
struct Placing<'t> {
    declared: HashMap<&'t str, Rc<Written<'t>>>,
    builder: SchemaBuilder,
    /// Where a declared type stands.
    placed: HashMap<&'t str, NodeId>,
    /// Declared types whose parts are still to be placed.
    waiting: Vec<(NodeId, &'t str, Rc<Written<'t>>)>,
}

impl<'t> Placing<'t> {
    fn new(declared: Vec<Declared<'t>>) -> Self {
        Self {
            declared: declared
                .into_iter()
                .map(|Declared { name, ty }| (name, Rc::new(ty)))
                .collect(),
            builder: SchemaBuilder::new(),
            placed: HashMap::new(),
            waiting: vec![],
        }
    }

    fn place(mut self, root: &Written<'t>) -> Result<Schema, TypeSyntaxError> {
        let root = self.id(root)?;
        // Each declared type is entered from here, so that a chain of declarations takes no stack.
        while let Some((id, name, ty)) = self.waiting.pop() {
            let kind = self.kind(&ty)?;
            self.builder.define(id, name, kind);
        }
        Ok(self.builder.finish(root))
    }

    fn id(&mut self, ty: &Written<'t>) -> Result<NodeId, TypeSyntaxError> {
        match ty {
            Written::Basic(id) => Ok(*id),
            Written::Byte => Ok(NodeId::UINT),
            Written::Slice(elem) if self.is_byte(elem)? => Ok(NodeId::BYTES),
            Written::Opaque(how, name) => Ok(self.builder.add(name, Kind::Opaque(*how))),
            Written::Named(name, at) => self.declared_id(name, *at),
            _ => {
                let kind = self.kind(ty)?;
                Ok(self.builder.add("", kind))
            }
        }
    }

    fn declared_id(&mut self, name: &'t str, at: usize) -> Result<NodeId, TypeSyntaxError> {
        let (name, ty) = self.meant(name, at)?;
        if let Some(id) = self.placed.get(name) {
            return Ok(*id);
        }
        let id = match &*ty {
            Written::Opaque(how, "") => self.builder.add(name, Kind::Opaque(*how)),
            Written::Basic(_) | Written::Byte | Written::Opaque(..) => self.id(&ty)?,
            Written::Slice(elem) if self.is_byte(elem)? => NodeId::BYTES,
            _ => {
                // It stands before its parts are looked at, so that it may contain itself.
                let id = self.builder.declare();
                self.waiting.push((id, name, ty));
                id
            }
        };
        self.placed.insert(name, id);
        Ok(id)
    }

    fn kind(&mut self, ty: &Written<'t>) -> Result<Kind, TypeSyntaxError> {
        Ok(match ty {
            Written::Slice(elem) => Kind::Slice {
                elem: self.id(elem)?,
            },
            Written::Array(len, elem) => Kind::Array {
                elem: self.id(elem)?,
                len: *len,
            },
            Written::Map(key, elem) => Kind::Map {
                key: self.id(key)?,
                elem: self.id(elem)?,
            },
            Written::Struct(fields) => {
                let mut last: Option<(&Rc<Written<'t>>, NodeId)> = None;
                let mut placed = Vec::with_capacity(fields.len());
                for (name, ty) in fields {
                    let id = match last {
                        Some((same, id)) if Rc::ptr_eq(same, ty) => id,
                        _ => self.id(ty)?,
                    };
                    last = Some((ty, id));
                    placed.push(Field {
                        name: (*name).into(),
                        ty: id,
                    });
                }
                Kind::Struct { fields: placed }
            }
            // The others are nodes already.
            _ => Kind::Interface,
        })
    }

    fn is_byte(&self, ty: &Written<'t>) -> Result<bool, TypeSyntaxError> {
        Ok(match ty {
            Written::Byte => true,
            Written::Named(name, at) => matches!(*self.meant(name, *at)?.1, Written::Byte),
            _ => false,
        })
    }

    /// A declared type and its name, once names that stand for other names are followed.
    fn meant(
        &self,
        name: &'t str,
        at: usize,
    ) -> Result<(&'t str, Rc<Written<'t>>), TypeSyntaxError> {
        let (mut name, mut at) = (name, at);
        for _ in 0..=self.declared.len() {
            match self.declared.get(name) {
                Some(ty) => match &**ty {
                    Written::Named(other, there) => (name, at) = (other, *there),
                    _ => return Ok((name, Rc::clone(ty))),
                },
                None => {
                    return wrong(
                        at,
                        format!(
                            "there is no type {name}: write out what it is, or add `type {name} …`"
                        ),
                    );
                }
            }
        }
        wrong(at, format!("{name} is declared as itself"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Schema, TypeSyntaxError> {
        text.parse()
    }

    #[test]
    fn types_are_read_as_gob_sees_them() {
        for (text, seen) in [
            ("int8", "int"),
            (" uint16\n", "uint"),
            ("[]byte", "[]byte"),
            ("[]uint8", "[]byte"),
            ("[4]byte", "[4]uint"),
            ("[][]uint8", "[][]byte"),
            ("map[string]*float32", "map[string]float64"),
            ("*(*complex64)", "complex128"),
            ("interface{ Area() float64 }", "any"),
            ("error", "any"),
            ("time.Duration", "int"),
            ("time.Time", "Time"),
            ("[]netip.Addr", "[]Addr"),
            ("gob.GobEncoder", "opaque"),
            ("struct{}", "struct{}"),
            (
                "struct {\n\tA, B int // two\n\tc int\n\tD []struct{ E any } `json:\"d\"`\n}\n",
                "struct{A int; B int; D []struct{E any}}",
            ),
            (
                "struct{ time.Time; *big.Int }",
                "struct{Time Time; Int Int}",
            ),
            ("type B byte; type Bs []B", "uint"),
            ("type Bs []B\ntype B = byte", "[]byte"),
            ("type A = B\ntype B struct{ C *A }", "B{C B}"),
            ("type M map[string]M", "map[string]M"),
            ("type Money struct{ gob.GobEncoder }", "Money"),
            ("type Time = time.Time", "Time"),
        ] {
            let schema = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(schema.to_string(), seen, "{text}");
        }
    }

    #[test]
    fn what_is_no_type_is_told_with_its_place() {
        for (text, at, says) in [
            ("", 0, "a type should follow"),
            ("[", 1, "here should be ]"),
            ("[]", 2, "a type should follow"),
            ("[-1]int", 1, "'-'"),
            ("[0x]int", 1, "0x is no length"),
            ("map[string", 10, "here should be ]"),
            ("map[strin]int", 4, "no type strin"),
            ("int int", 4, "has ended"),
            ("struct{A int", 12, "here should be ; or }"),
            ("struct{A int; A string}", 14, "two fields A"),
            ("struct{A int \"x}", 13, "has no end"),
            ("chan int", 0, "gob cannot send a chan"),
            ("[]func()", 2, "gob cannot send a func"),
            ("http.Header", 0, "http.Header is made of is not known"),
            ("interface{", 9, "not closed"),
            ("type T T", 7, "T is declared as itself"),
            ("type T *U; type U T", 8, "declared as itself"),
            ("type T int; type T int", 17, "declared twice"),
            ("{", 0, "a type should stand here"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(says), "{text}: {error}");
            assert_eq!(error.offset(), at, "{text}: {error}");
        }
    }

    #[test]
    fn texts_that_are_made_to_cost_much_are_refused_or_cheap() {
        for (begin, end) in [
            ("[]", "int"),
            ("map[int]", "int"),
            ("(", "int"),
            ("*", "int"),
        ] {
            let error = parse(&(begin.repeat(20_000 / begin.len()) + end)).unwrap_err();
            assert!(error.to_string().contains("nest deeper"), "{error}");
        }
        assert!(parse(&" ".repeat(LEN_MAX + 1)).is_err());
        // Each of two fields holds two fields, and so on: as many nodes as there are structs.
        let pairs = "struct{A, B ".repeat(90) + "int" + &"}".repeat(90);
        assert_eq!(parse(&pairs).unwrap().nodes().len(), 8 + 90);
        let chain: String = (0..3_000)
            .map(|n| format!("type T{n} T{}\n", n + 1))
            .collect();
        assert!(parse(&(chain + "type T3000 struct{ A T0 }")).is_ok());
    }

    /// A type as Go code, and what gob sees in it.
    fn a_type() -> impl Strategy<Value = (String, String)> {
        let basic = [
            ("bool", "bool"),
            ("int32", "int"),
            ("uint", "uint"),
            ("float64", "float64"),
            ("complex64", "complex128"),
            ("string", "string"),
            ("interface{}", "any"),
            ("[]byte", "[]byte"),
            ("*time.Time", "Time"),
        ];
        let basic = proptest::sample::select(basic.to_vec());
        let basic = basic.prop_map(|(text, seen)| (text.to_owned(), seen.to_owned()));
        basic.prop_recursive(6, 40, 5, |part| {
            let space = proptest::sample::select(vec!["", " ", "/* */", "\t"]);
            let space = space.prop_map(|space| space.replace("/* */", " "));
            prop_oneof![
                (part.clone(), space)
                    .prop_map(|((t, s), space)| { (format!("[]{space}{t}"), format!("[]{s}")) }),
                (part.clone(), 0..9u32)
                    .prop_map(|((t, s), len)| { (format!("[{len}]{t}"), format!("[{len}]{s}")) }),
                (part.clone(), part.clone()).prop_map(|((k, ks), (v, vs))| {
                    (format!("map[{k}] {v}"), format!("map[{ks}]{vs}"))
                }),
                proptest::collection::vec(part, 0..4).prop_map(|fields| {
                    let write = |of: &dyn Fn(&(String, String)) -> String, between: &str| {
                        let fields = fields.iter().enumerate();
                        let fields: Vec<_> =
                            fields.map(|(n, f)| format!("F{n} {}", of(f))).collect();
                        fields.join(between)
                    };
                    (
                        format!("struct {{\n{}\n}}", write(&|f| f.0.clone(), " `a:\"}\"`\n")),
                        format!("struct{{{}}}", write(&|f| f.1.clone(), "; ")),
                    )
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_type_is_read_and_prints_as_it_is((text, seen) in a_type()) {
            let schema = parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(schema.to_string(), seen);
        }

        #[test]
        fn definitions_that_were_printed_are_read_again((text, seen) in a_type()) {
            let text = format!("type T struct {{ Value {text}; Next *T; Money M }}\ntype M struct{{ gob.GobEncoder }}");
            let schema = parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            let go = schema.to_go();
            let again = parse(&go).map_err(|e| TestCaseError::fail(format!("{go}: {e}")))?;
            prop_assert_eq!(again.to_go(), go);
            prop_assert_eq!(again.to_string(), format!("T{{Value {seen}; Next T; Money M}}"));
        }

        #[test]
        fn no_text_is_too_strange(
            text in prop_oneof![
                any::<String>(),
                proptest::collection::vec(
                    proptest::sample::select(vec![
                        "type", "T", "struct", "{", "}", "[", "]", "map", "int", "3", ";", "\n", "*", "(", ")",
                        ".", ",", "=", "`", "\"", "\\", "//", "é", " ", "byte", "time",
                    ]),
                    0..40,
                ).prop_map(|words| words.concat()),
            ]
        ) {
            if let Err(error) = parse(&text) {
                prop_assert!(error.offset() <= text.len());
            }
        }
    }
}
