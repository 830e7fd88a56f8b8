//! What typed clients call through: one server, or a cluster. Both take the same calls.

use std::task::Waker;

use farcall_wire::{Body, Dynamic, Message};

use crate::client::{CallOptions, InFlight, RawReply};
pub(crate) use crate::cluster::{Attempts, Begun as BegunByCluster};
use crate::{Call, Client, Cluster, Pending, Result, Target};

/// A client of one server or of a cluster: what a typed client is made of.
#[derive(Clone, Debug)]
pub enum Channel {
    /// One server.
    Client(Client),
    /// Whichever server of a cluster is chosen for a call.
    Cluster(Cluster),
}

/// A borrowed [`Channel`].
#[derive(Clone, Copy)]
pub(crate) enum Via<'a> {
    Client(&'a Client),
    Cluster(&'a Cluster),
}

/// A call that was begun at once.
pub(crate) enum Begun {
    ByClient(InFlight),
    ByCluster(BegunByCluster),
}

impl Channel {
    /// Connects to one server, or to the cluster that the target names.
    ///
    /// # Errors
    ///
    /// When the target is none, or a single server cannot be reached.
    pub async fn connect(target: &str) -> Result<Channel> {
        match target.parse()? {
            Target::Server(address) => Ok(Client::builder(address).connect().await?.into()),
            _ => Ok(Cluster::connect(target).await?.into()),
        }
    }

    /// Calls `Service.Method`. See [`Client::call`].
    pub fn call<'a, R: Message>(&'a self, method: &'a str, args: &'a impl Message) -> Call<'a, R> {
        Call::new(self.via(), method, Body::from(args))
    }

    /// Calls with an argument that has no Rust type. See [`Client::call_dynamic`].
    pub fn call_dynamic<'a, R: Message>(
        &'a self,
        method: &'a str,
        args: &'a Dynamic,
    ) -> Call<'a, R> {
        Call::new(self.via(), method, Body::Dynamic(args))
    }

    /// Begins a call now. See [`Client::go`].
    pub fn go<R: Message>(&self, method: &str, args: impl Message) -> Pending<R> {
        self.via().go(method, args)
    }

    fn via(&self) -> Via<'_> {
        match self {
            Channel::Client(client) => Via::Client(client),
            Channel::Cluster(cluster) => Via::Cluster(cluster),
        }
    }
}

impl From<Client> for Channel {
    fn from(client: Client) -> Channel {
        Channel::Client(client)
    }
}

impl From<Cluster> for Channel {
    fn from(cluster: Cluster) -> Channel {
        Channel::Cluster(cluster)
    }
}

impl Via<'_> {
    /// Begins a call if that takes no waiting. Otherwise [`Via::invoke`] is to make it, after what is given.
    pub(crate) fn begin_now(
        self,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
        waker: Option<&Waker>,
    ) -> Result<Result<Begun>, Option<Attempts>> {
        match self {
            Via::Client(client) => {
                let begun = client.begin_now(method, body, options, waker).ok_or(None)?;
                Ok(begun.map(Begun::ByClient))
            }
            Via::Cluster(cluster) => {
                let begun = cluster.begin_now(method, body, options, waker)?;
                Ok(begun.map(Begun::ByCluster))
            }
        }
    }

    /// Makes a call, after the attempts that a cluster made.
    pub(crate) async fn invoke(
        self,
        attempts: Option<Attempts>,
        method: &str,
        body: Body<'_>,
        options: &CallOptions,
    ) -> Result<RawReply> {
        match (self, attempts) {
            (Via::Client(client), _) => client.invoke(method, body, options).await,
            (Via::Cluster(cluster), None) => cluster.invoke(method, body, options).await,
            (Via::Cluster(cluster), Some(attempts)) => {
                let calling = cluster.invoke_after(attempts, method, body, options);
                calling.await
            }
        }
    }

    pub(crate) fn go<R: Message>(self, method: &str, args: impl Message) -> Pending<R> {
        let options = CallOptions::default();
        let begun = match self {
            Via::Client(client) => client.begin_now(method, Body::from(&args), &options, None),
            // It may have to be made again, which takes a task that holds the argument.
            Via::Cluster(_) => None,
        };
        match begun {
            Some(Ok(in_flight)) => Pending::new(in_flight),
            Some(Err(error)) => Pending::new(std::future::ready(Err(error))),
            None => {
                let channel = self.to_channel();
                let method = method.to_owned();
                Pending::spawn(async move {
                    channel
                        .via()
                        .invoke(None, &method, Body::from(&args), &options)
                        .await
                })
            }
        }
    }

    fn to_channel(self) -> Channel {
        match self {
            Via::Client(client) => Channel::Client(client.clone()),
            Via::Cluster(cluster) => Channel::Cluster(cluster.clone()),
        }
    }
}
