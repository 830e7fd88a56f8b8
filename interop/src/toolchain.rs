//! From Go's sources to a program: which Go, and when to build. Not here: running the program.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::Error;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go");
const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");

/// The path of `gopeer`, which is built if its sources have changed since it last was.
///
/// The program's name holds a hash of its sources, and it appears under that name complete. So tests in many processes
/// need no lock: at worst two of them build the same file.
///
/// # Errors
///
/// [`Error::NoGo`] if no Go is found, in `FARCALL_GO`, in `PATH` or where `./test` puts it; [`Error::Build`] if it fails.
pub fn gopeer() -> Result<PathBuf, Error> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());

    let hash = hash_of_sources().map_err(cannot("read interop/go"))?;
    let directory = Path::new(TARGET).join("gopeer");
    let program = directory.join(format!("gopeer-{hash:016x}"));
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&directory).map_err(cannot("create target/gopeer"))?;
    let unfinished = directory.join(format!("unfinished-{}", std::process::id()));
    let built = go_command(&find_go()?)
        .arg("build")
        .arg("-o")
        .arg(&unfinished)
        .arg(".")
        .output()
        .map_err(cannot("run go build"))?;
    if !built.status.success() {
        return Err(Error::Build {
            said: String::from_utf8_lossy(&built.stderr).into_owned(),
        });
    }
    fs::rename(&unfinished, &program).map_err(cannot("name the program just built"))?;
    Ok(program)
}

fn hash_of_sources() -> io::Result<u64> {
    let mut paths = fs::read_dir(SOURCES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut hasher = DefaultHasher::new();
    for path in paths {
        path.file_name().hash(&mut hasher);
        fs::read(path)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// A Go that is new enough.
fn find_go() -> Result<PathBuf, Error> {
    let mut tried = Vec::new();
    let named = env::var_os("FARCALL_GO").map(PathBuf::from);
    let installed = Path::new(TARGET).join("tools/go/bin/go");
    for go in named.into_iter().chain([PathBuf::from("go"), installed]) {
        let verdict = match go_command(&go).args(["env", "GOVERSION"]).output() {
            Ok(output) => {
                let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if is_new_enough(&version) {
                    return Ok(go);
                }
                version
            }
            Err(error) => error.to_string(),
        };
        tried.push(format!("{}: {verdict}", go.display()));
    }
    Err(Error::NoGo {
        tried: tried.join("; "),
    })
}

/// Is this what Go 1.27 or newer answers for its version? Such as `go1.27.3`, or `devel go1.28-0123abcd`.
fn is_new_enough(version: &str) -> bool {
    let minor = version
        .split_once("go1.")
        .map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
    minor
        .flatten()
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|minor| minor >= 27)
}

/// Go, in the directory of the sources, with no need of a network, a C compiler or another toolchain.
fn go_command(go: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(SOURCES)
        .env_remove("GOROOT")
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod -buildvcs=false")
        .env("GOCACHE", Path::new(TARGET).join("go-cache"))
        .env("CGO_ENABLED", "0");
    command
}

pub(crate) fn cannot(attempt: &str) -> impl FnOnce(io::Error) -> Error {
    let attempt = attempt.to_owned();
    move |source| Error::Io { attempt, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_go_1_27_and_later_will_do() {
        for version in [
            "go1.27",
            "go1.27.3",
            "go1.28rc1",
            "go1.100.1",
            "devel go1.28-0123abcd Mon Nov 2",
        ] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["", "go1.26.9", "go1.9", "go1.", "go2", "1.27", "gopher"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
