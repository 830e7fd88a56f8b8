//! `farcall describe`: the services, methods and types of one server, as the server tells them.

use std::time::Duration;

use clap::Args;
use farcall::{Address, Code, MethodTypes, ServiceTypes};

use crate::out::{self, Exit, Failure, Tone};

/// Show the services and methods of a server, with the types of arguments and replies
#[derive(Args)]
pub(crate) struct Describe {
    /// The server. A Go server is described by its debug page, at http@host:port or netrpc+http@host:port.
    address: Address,

    /// Only this service, or this method: Arith, Arith.Multiply.
    name: Option<String>,
}

const DESCRIBED_WITHIN: Duration = Duration::from_secs(5);

impl Describe {
    pub(crate) async fn run(self, json: bool) -> Result<(), Failure> {
        let services = farcall::describe_types(&self.address, DESCRIBED_WITHIN).await;
        let mut services = services.map_err(|error| {
            let is_silent = error.code() == Code::Unimplemented;
            let failure = Failure::from(error);
            match is_silent {
                true => failure.advise(
                    "farcall servers describe themselves; a Go server does where it serves its debug page over HTTP",
                ),
                false => failure,
            }
        })?;
        if let Some(name) = &self.name {
            services = self.only(name, services)?;
        }
        match json {
            true => out::json(&services)?,
            false => {
                for line in self.lines(&services) {
                    out::line(line)?;
                }
            }
        }
        Ok(())
    }

    /// The service with this name, or the one with the method of this name and nothing else.
    fn only(&self, name: &str, services: Vec<ServiceTypes>) -> Result<Vec<ServiceTypes>, Failure> {
        let names: Vec<_> = services
            .iter()
            .map(|service| out::printable(&service.name))
            .collect();
        let found = services.into_iter().find_map(|mut service| {
            if service.name != name {
                service.methods.retain(|method| method.name == name);
            }
            (service.name == name || !service.methods.is_empty()).then_some(service)
        });
        match found {
            Some(service) => Ok(vec![service]),
            None => {
                let text = format!(
                    "{} has no service and no method {:?}; its services are {}",
                    self.address,
                    name,
                    names.join(", ")
                );
                Err(Failure::new(Exit::Failed, text)
                    .advise("name a service as Arith, or a method as Arith.Multiply"))
            }
        }
    }

    fn lines(&self, services: &[ServiceTypes]) -> Vec<String> {
        let mut lines = Vec::new();
        for service in services {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(out::paint(Tone::Strong, &out::printable(&service.name)));
            lines.extend(doc(&service.doc, "  "));
            for method in &service.methods {
                lines.push(out::printable(&format!(
                    "  {}{}",
                    method.name,
                    method.signature()
                )));
                lines.extend(doc(&method.doc, "      "));
                // Who asks for something by its name wants to call it.
                if self.name.is_some() {
                    lines.extend(self.at_length(method));
                }
            }
        }
        if lines.is_empty() {
            lines.push("no services are registered".to_owned());
        }
        lines
    }

    fn at_length(&self, method: &MethodTypes) -> Vec<String> {
        let mut lines = Vec::new();
        let definitions = [
            &method.args_go,
            &method.incoming_go,
            &method.outgoing_go,
            &method.reply_go,
        ];
        for definition in definitions.into_iter().flatten() {
            lines.push(String::new());
            // Tabs stand for themselves here, and line ends were taken off.
            let printable = |line: &str| out::printable(&line.replace('\t', "    "));
            lines.extend(
                definition
                    .lines()
                    .map(|line| format!("      {}", printable(line))),
            );
        }
        if let Some(example) = &method.example {
            // A single quote ends the shell's text, stands for itself, and begins it again.
            let example = example.to_string().replace('\'', r"'\''");
            let call = format!("farcall call {} {} '{example}'", self.address, method.name);
            lines.push(String::new());
            lines.push(out::printable(&format!("      {call}")));
        }
        lines
    }
}

fn doc(text: &str, indent: &str) -> Vec<String> {
    let line = |line: &str| out::paint(Tone::Quiet, &out::printable(&format!("{indent}{line}")));
    text.lines().map(line).collect()
}
