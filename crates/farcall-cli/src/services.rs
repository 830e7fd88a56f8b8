//! The services that the demo and the demo server offer, under the names that Go programs call them by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farcall::{Context, Incoming, Outgoing, Result, Service};

/// The arguments of `Arith`.
#[farcall::message]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Args {
    pub(crate) a: i64,
    pub(crate) b: i64,
}

/// What a division gives.
#[farcall::message]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotient {
    pub(crate) quo: i64,
    pub(crate) rem: i64,
}

/// Integer arithmetic, as in the documentation of Go's net/rpc.
#[farcall::service]
pub(crate) trait Arith {
    /// Multiplies A by B.
    #[rpc(idempotent)]
    async fn multiply(&self, cx: &Context, args: Args) -> Result<i64>;

    /// Divides A by B. Dividing by zero is an error.
    #[rpc(idempotent)]
    async fn divide(&self, cx: &Context, args: Args) -> Result<Quotient>;
}

/// The arguments of `Foo`, which Go programs call `Args` too.
#[farcall::message(rename = "Args")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) num1: i64,
    pub(crate) num2: i64,
}

/// Sums: at once, late, or never.
#[farcall::service]
pub(crate) trait Foo {
    /// Adds Num1 and Num2.
    #[rpc(idempotent)]
    async fn sum(&self, cx: &Context, args: Pair) -> Result<i64>;

    /// Sleeps Num1 seconds, then answers as Sum.
    async fn sleep(&self, cx: &Context, args: Pair) -> Result<i64>;

    /// Panics, which is an error of this one call.
    async fn panic(&self, cx: &Context, number: i64) -> Result<i64>;
}

/// Gives back what it gets.
#[farcall::service]
pub(crate) trait Echo {
    /// Bytes for bytes.
    #[rpc(idempotent)]
    async fn echo(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// A string for a string.
    #[rpc(idempotent)]
    async fn string(&self, text: String) -> Result<String>;
}

/// Streams of items, which farcall's own clients can call.
#[farcall::service]
pub(crate) trait Numbers {
    /// Gives the numbers from 1 to this one.
    async fn count(&self, to: i64, out: Outgoing<i64>) -> Result<()>;

    /// Adds up what comes.
    async fn sum(&self, numbers: Incoming<i64>) -> Result<i64>;

    /// Gives each number back, doubled, and says in the end how many there were.
    async fn double(&self, numbers: Incoming<i64>, out: Outgoing<i64>) -> Result<u64>;
}

/// How many calls of `Arith` and `Foo` began, by the name of the codec that they came in.
#[derive(Clone, Default)]
pub(crate) struct Began(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Began {
    pub(crate) fn by_codec(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn count(&self, cx: &Context) {
        *self.lock().entry(cx.codec().as_str()).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of these services, ready for a server.
pub(crate) fn all(began: Began) -> [Service; 3] {
    let calculator = Calculator {
        began: began.clone(),
    };
    [
        calculator.into_service(),
        Sums { began }.into_service(),
        Mirror.into_service(),
    ]
}

/// The service with streams.
pub(crate) fn numbers() -> Service {
    Plain.into_service()
}

struct Calculator {
    began: Began,
}

impl Arith for Calculator {
    async fn multiply(&self, cx: &Context, Args { a, b }: Args) -> Result<i64> {
        self.began.count(cx);
        // Go's integers wrap.
        Ok(a.wrapping_mul(b))
    }

    async fn divide(&self, cx: &Context, Args { a, b }: Args) -> Result<Quotient> {
        self.began.count(cx);
        if b == 0 {
            return Err("divide by zero".into());
        }
        Ok(Quotient {
            quo: a.wrapping_div(b),
            rem: a.wrapping_rem(b),
        })
    }
}

struct Sums {
    began: Began,
}

/// How the message of a panic that was asked for begins.
pub(crate) const PANIC: &str = "asked to panic with";

impl Foo for Sums {
    async fn sum(&self, cx: &Context, Pair { num1, num2 }: Pair) -> Result<i64> {
        self.began.count(cx);
        Ok(num1.wrapping_add(num2))
    }

    async fn sleep(&self, cx: &Context, Pair { num1, num2 }: Pair) -> Result<i64> {
        self.began.count(cx);
        let seconds = u64::try_from(num1).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(num1.wrapping_add(num2))
    }

    async fn panic(&self, cx: &Context, number: i64) -> Result<i64> {
        self.began.count(cx);
        panic!("{PANIC} {number}")
    }
}

struct Plain;

impl Numbers for Plain {
    async fn count(&self, to: i64, mut out: Outgoing<i64>) -> Result<()> {
        for number in 1..=to {
            out.send(&number).await?;
        }
        Ok(())
    }

    async fn sum(&self, mut numbers: Incoming<i64>) -> Result<i64> {
        let mut sum = 0_i64;
        while let Some(number) = numbers.next().await {
            sum = sum.wrapping_add(number?);
        }
        Ok(sum)
    }

    async fn double(&self, mut numbers: Incoming<i64>, mut out: Outgoing<i64>) -> Result<u64> {
        let mut count = 0;
        while let Some(number) = numbers.next().await {
            out.send(&number?.wrapping_mul(2)).await?;
            count += 1;
        }
        Ok(count)
    }
}

struct Mirror;

impl Echo for Mirror {
    async fn echo(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    async fn string(&self, text: String) -> Result<String> {
        Ok(text)
    }
}
