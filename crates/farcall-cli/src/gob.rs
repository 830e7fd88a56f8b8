//! `farcall gob`: what is in a gob stream, without knowing its types. Streams are read a value at a time; what gob is
//! stands in farcall-gob.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use farcall_gob::{Decoder, Kind, Limits, Next, NodeId, Opaque, Schema};
use serde_json::{Value, json};

use crate::out::{self, Exit, Failure};

/// Look into streams of Go's encoding/gob
#[derive(Args)]
pub(crate) struct Gob {
    #[command(subcommand)]
    look: Look,
}

#[derive(Subcommand)]
enum Look {
    /// Print each value of a gob stream as a line of JSON, without loss
    ///
    /// Numbers beyond 2^53 are {"$int": …} or {"$uint": …}, floats {"$f64": their bits}, bytes {"$bytes": hex}, maps
    /// {"$map": [[key, value], …]}; what an interface holds is {"$type": …, "value": …}. Fields that are zero are not in
    /// the stream, and so not in the JSON.
    Decode(Input),

    /// Print the types that are in a gob stream, as Go or Rust definitions
    Types {
        #[command(flatten)]
        input: Input,

        /// As Go definitions, which is the default.
        #[arg(long, conflicts_with = "rust")]
        go: bool,

        /// As Rust definitions.
        #[arg(long)]
        rust: bool,
    },
}

#[derive(Args)]
struct Input {
    /// The file with the stream, or - for standard input.
    #[arg(value_name = "FILE|-", default_value = "-")]
    file: PathBuf,
}

/// Values nest as deep as [`limits`] lets them, and so do the functions that print them.
const STACK_LEN: usize = 256 << 20;

/// A stream may hold values as large as Go's own decoder takes.
fn limits() -> Limits {
    Limits {
        message: 1 << 30,
        stack: 32 << 20,
        ..Limits::default()
    }
}

impl Gob {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let (done, end) = tokio::sync::oneshot::channel();
        let look = move || {
            let outcome = match self.look {
                Look::Decode(input) => decode(&input),
                Look::Types { input, rust, .. } => types(&input, rust, json),
            };
            // Nobody listens only if the program is ending.
            let _ = done.send(outcome);
        };
        std::thread::Builder::new()
            .stack_size(STACK_LEN)
            .spawn(look)?;
        end.await
            .unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "reading the stream broke off")))
    }
}

fn decode(input: &Input) -> Result<(), Failure> {
    let mut stream = input.open()?;
    let mut out = BufWriter::with_capacity(READ_LEN, io::stdout().lock());
    loop {
        let text = stream.next(|decoder, raw| {
            let value = decoder.decode_value(raw)?;
            Ok(value.to_canonical_json())
        });
        match text {
            Ok(Some(text)) => writeln!(out, "{text}")?,
            Ok(None) => return Ok(out.flush()?),
            // What came before the fault is worth seeing.
            Err(failure) => {
                out.flush()?;
                return Err(failure);
            }
        }
        // The next read may wait for long, and the reader should not.
        if stream.is_drained() {
            out.flush()?;
        }
    }
}

fn types(input: &Input, rust: bool, json: bool) -> Result<(), Failure> {
    let mut stream = input.open()?;
    let mut roots = Vec::new();
    let mut seen = HashSet::new();
    let end = loop {
        match stream.next(|decoder, raw| decoder.type_of_value(raw)) {
            Ok(Some(ty)) if seen.insert(ty) => roots.push(ty),
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    let graph = stream.decoder.graph();
    add_unused(&graph, &mut roots);
    match (json, rust) {
        (true, _) => out::json(&named(&graph, &roots))?,
        (false, false) => write!(io::stdout(), "{}", graph.go_definitions(&roots))?,
        (false, true) => write!(io::stdout(), "{}", graph.rust_definitions(&roots))?,
    }
    end
}

/// Adds the types that are used by none of these: those of what interfaces hold.
fn add_unused(graph: &Schema, roots: &mut Vec<NodeId>) {
    let mut used: HashSet<NodeId> = roots.iter().copied().collect();
    let mut todo = roots.clone();
    let mut all = graph.ids();
    loop {
        while let Some(id) = todo.pop() {
            todo.extend(
                graph
                    .node(id)
                    .kind
                    .parts()
                    .filter(|part| used.insert(*part)),
            );
        }
        // A type that was named and never defined is an interface in the graph.
        let is_unused = |id: &NodeId| !used.contains(id) && graph.node(*id).kind != Kind::Interface;
        let Some(unused) = all.find(is_unused) else {
            return;
        };
        used.insert(unused);
        roots.push(unused);
        todo.push(unused);
    }
}

/// The types for programs: each with its name, in the notation of farcall-gob's test vectors.
fn named(graph: &Schema, roots: &[NodeId]) -> Value {
    let mut names = Names {
        graph,
        of: HashMap::new(),
        taken: HashSet::new(),
        todo: roots.to_vec().into(),
    };
    let mut types = Vec::new();
    let mut written = HashSet::new();
    while let Some(id) = names.todo.pop_front() {
        if written.insert(id) {
            let ty = names.written(id);
            types.push(json!({ "name": names.name(id), "type": ty }));
        }
    }
    Value::Array(types)
}

/// Gives each type of a graph a name of its own.
struct Names<'g> {
    graph: &'g Schema,
    of: HashMap<NodeId, String>,
    taken: HashSet<String>,
    /// Types that are to be written.
    todo: VecDeque<NodeId>,
}

impl Names<'_> {
    fn name(&mut self, id: NodeId) -> String {
        if let Some(name) = self.of.get(&id) {
            return name.clone();
        }
        let own = match &*self.graph.node(id).name {
            "" => self.graph.seen_from(id).to_string(),
            name => name.to_owned(),
        };
        let numbered = |number: usize| match number {
            1 => own.clone(),
            number => format!("{own}#{number}"),
        };
        let mut names = (1..).map(numbered);
        let name = names
            .find(|name| !self.taken.contains(name))
            .unwrap_or_default();
        self.taken.insert(name.clone());
        self.of.insert(id, name.clone());
        name
    }

    /// A type where it is used: a basic one by its kind, others by their names.
    fn part(&mut self, id: NodeId) -> Value {
        match &self.graph.node(id).kind {
            Kind::Array { .. }
            | Kind::Slice { .. }
            | Kind::Map { .. }
            | Kind::Struct { .. }
            | Kind::Opaque(_) => {
                self.todo.push_back(id);
                json!({ "named": self.name(id) })
            }
            basic => basic_name(basic).into(),
        }
    }

    fn written(&mut self, id: NodeId) -> Value {
        let node = self.graph.node(id);
        match &node.kind {
            Kind::Array { elem, len } => json!({ "array": self.part(*elem), "len": len }),
            Kind::Slice { elem } => json!({ "slice": self.part(*elem) }),
            Kind::Map { key, elem } => json!({ "map": [self.part(*key), self.part(*elem)] }),
            Kind::Struct { fields } => {
                let fields = fields
                    .iter()
                    .map(|field| json!([&*field.name, self.part(field.ty)]));
                json!({ "struct": fields.collect::<Vec<_>>() })
            }
            Kind::Opaque(how) => json!({ "ext": &*node.name, "how": how_name(*how) }),
            basic => basic_name(basic).into(),
        }
    }
}

fn basic_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Uint => "uint",
        Kind::Float => "float64",
        Kind::Complex => "complex128",
        Kind::Bytes => "bytes",
        Kind::String => "string",
        _ => "any",
    }
}

fn how_name(how: Opaque) -> &'static str {
    match how {
        Opaque::Gob => "gob",
        Opaque::Binary => "bin",
        Opaque::Text => "text",
    }
}

impl Input {
    fn open(&self) -> Result<Stream, Failure> {
        let input: Box<dyn Read> = match self.file.as_os_str() == "-" {
            true => Box::new(io::stdin().lock()),
            false => {
                let file = File::open(&self.file);
                Box::new(file.map_err(|error| {
                    Failure::usage(format_args!("cannot open {}: {error}", self.file.display()))
                })?)
            }
        };
        Ok(Stream {
            input,
            decoder: Decoder::new(limits()),
            buffer: Vec::new(),
            used: 0,
            before: 0,
        })
    }
}

/// How much is read at a time.
const READ_LEN: usize = 64 << 10;

/// A gob stream that is read as far as the next value needs.
struct Stream {
    input: Box<dyn Read>,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// How much of the buffer is done with.
    used: usize,
    /// How many bytes stood before the buffer.
    before: usize,
}

impl Stream {
    /// Looks at the next value; `None` at the stream's end.
    fn next<T>(
        &mut self,
        look: impl FnOnce(&mut Decoder, &[u8]) -> Result<T, farcall_gob::Error>,
    ) -> Result<Option<T>, Failure> {
        loop {
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            let at = self.before.saturating_add(self.used);
            let missing = match self.decoder.next(rest).map_err(|error| fault(error, at))? {
                Next::Value { consumed, raw } => {
                    let at = at.saturating_add(consumed.saturating_sub(raw.len()));
                    let looked = look(&mut self.decoder, raw).map_err(|error| fault(error, at));
                    self.used += consumed;
                    return looked.map(Some);
                }
                Next::More { consumed, at_least } => {
                    self.used += consumed;
                    at_least
                }
            };
            let missing = self.fill(missing)?;
            if missing > 0 {
                return match self.is_drained() {
                    true => Ok(None),
                    false => Err(self.cut_off(missing)),
                };
            }
        }
    }

    /// True if the next value must be read first.
    fn is_drained(&self) -> bool {
        self.used >= self.buffer.len()
    }

    /// Reads at least so many bytes. What it gives is how many are still missing at the stream's end.
    fn fill(&mut self, missing: usize) -> Result<usize, Failure> {
        self.buffer.drain(..self.used);
        self.before = self.before.saturating_add(self.used);
        self.used = 0;
        let mut missing = missing.max(1);
        let mut chunk = [0; READ_LEN];
        while missing > 0 {
            let len = match self.input.read(&mut chunk) {
                Ok(0) => return Ok(missing),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("cannot read the stream: {error}");
                    return Err(Failure::new(Exit::Failed, text));
                }
            };
            self.buffer
                .extend_from_slice(chunk.get(..len).unwrap_or_default());
            missing = missing.saturating_sub(len);
        }
        Ok(0)
    }

    fn cut_off(&self, missing: usize) -> Failure {
        let end = self.before.saturating_add(self.buffer.len());
        let text = format!(
            "gob: the stream ends inside a value that begins at byte {}: at least {missing} more bytes should follow (at \
             byte {end})",
            self.before
        );
        Failure::new(Exit::Failed, text)
    }
}

/// A fault in what stands at this place of the stream.
fn fault(error: farcall_gob::Error, at: usize) -> Failure {
    let text = match error.offset() {
        Some(_) => error.beyond(at).to_string(),
        None => format!("{error} (in the value at byte {at})"),
    };
    Failure::new(Exit::Failed, out::printable(&text))
}
