//! The `farcall` program: the command line, and which command it means. Each command is a file of its own, and uses
//! nothing of farcall that other programs could not use.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod argument;
mod bench;
mod call;
mod demo;
mod demo_server;
mod describe;
mod gob;
mod ls;
mod out;
mod registry;
mod services;
mod signals;
mod streams;

use out::Failure;

/// Remote procedure calls for Rust and Go, from the command line.
///
/// ADDR names one server: host:port, tcp@host:port, unix@/path, http@host:port; netrpc+tcp@, netrpc+http@ or netrpc+unix@
/// for Go's net/rpc, jsonrpc+tcp@ for its JSON-RPC.
/// TARGET is an ADDR or a cluster: static:ADDR,ADDR or a registry's http://host:port/_tinyrpc_/registry.
///
/// Exit codes: 0 as expected, 1 the call or a check failed, 2 the command line is wrong, 3 nobody could be reached,
/// 4 the time was over.
#[derive(Parser)]
#[command(name = "farcall", version)]
struct Line {
    #[command(subcommand)]
    command: Command,

    /// Answer in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    DemoServer(demo_server::DemoServer),
    Registry(registry::Registry),
    Ls(ls::Ls),
    Describe(describe::Describe),
    Call(call::Call),
    Bench(bench::Bench),
    Gob(gob::Gob),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Line { command, json } = Line::parse();
    match run(command, json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command, json: bool) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => demo.run(json).await,
        Command::DemoServer(server) => server.run(json).await,
        Command::Registry(registry) => registry.run(json).await,
        Command::Ls(ls) => ls.run(json).await,
        Command::Describe(describe) => describe.run(json).await,
        Command::Call(call) => call.run(json).await,
        Command::Bench(bench) => bench.run(json).await,
        Command::Gob(gob) => gob.run(json).await,
    }
}
