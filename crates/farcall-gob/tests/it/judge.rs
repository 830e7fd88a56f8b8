//! A Go process that reads streams and says what it makes of them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::value::RawValue;

/// The running judge. It ends with its input.
pub(crate) struct Judge {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What Go makes of a stream.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    values: Vec<Box<RawValue>>,
    #[serde(default)]
    wire: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(crate) error: String,
}

impl Verdict {
    /// What a Go program holds.
    pub(crate) fn values(&self) -> Vec<String> {
        self.values
            .iter()
            .map(|value| crate::vectors::plain(value.get()))
            .collect()
    }

    /// What is on the wire.
    pub(crate) fn wire(&self) -> Vec<String> {
        self.wire
            .iter()
            .map(|value| crate::vectors::plain(value.get()))
            .collect()
    }
}

impl Judge {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(build())
            .arg("judge")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the judge was just built");
        Self {
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        }
    }

    /// Lets Go read a stream. `schema` is JSON: the types as the vectors' README has them.
    pub(crate) fn judge(&mut self, schema: &str, value_types: &[usize], stream: &[u8]) -> Verdict {
        let hex: String = stream.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!(
            "{{\"schema\":{schema},\"value_schema\":{value_types:?},\"stream_hex\":\"{hex}\"}}\n"
        );
        let input = self
            .input
            .as_mut()
            .expect("the judge runs until it is dropped");
        input
            .write_all(line.as_bytes())
            .and_then(|()| input.flush())
            .expect("the judge reads");
        let mut answer = String::new();
        self.output
            .read_line(&mut answer)
            .expect("the judge answers");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.input = None;
        // It ends by itself now; there is nothing to do if it does not.
        let _ = self.process.wait();
    }
}

/// Builds the judge with Go, once.
fn build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let go = std::env::var_os("FARCALL_GO").unwrap_or_else(|| "go".into());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/gob-judge");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gob-judge");
        let built = Command::new(&go).current_dir(source).args(["build", "-o"]).arg(&target).arg(".").status();
        match built {
            Ok(status) if status.success() => target,
            other => panic!(
                "these tests need Go 1.27: put `go` into the PATH, or name it in FARCALL_GO ({go:?} gave {other:?})"
            ),
        }
    })
}
