//! Types of the standard library that have a counterpart in Go's: durations, times and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::describe::Describer;
use crate::error::{Error, ErrorKind};
use crate::gob::Gob;
use crate::impls::SelfEncoded;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::{NodeId, Opaque};
use crate::write::Writer;

/// Go's `time.Duration`: nanoseconds as an `int`. A negative one is out of range here.
impl Gob for Duration {
    fn describe(_: &mut Describer) -> NodeId {
        NodeId::INT
    }

    fn zero() -> Option<Self> {
        Some(Self::ZERO)
    }

    fn is_left_out(&self) -> bool {
        self.is_zero()
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        match i64::try_from(self.as_nanos()) {
            Ok(nanos) => {
                w.int(nanos);
                Ok(())
            }
            Err(_) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{self:?} is longer than the 292 years that a time.Duration can be"),
            )),
        }
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        let nanos = r.int()?;
        match u64::try_from(nanos) {
            Ok(nanos) => Ok(Self::from_nanos(nanos)),
            Err(_) => Err(r.out_of_range(format!("{nanos} ns is out of range for Duration"))),
        }
    }
}

/// The bytes of Go's `time.Time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoTime {
    /// Since January 1 of the year 1, UTC.
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
    /// Of the zone, east of UTC, in seconds. `None` is UTC itself.
    pub(crate) offset: Option<i32>,
}

/// From Go's zero time to 1970.
pub(crate) const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;

impl GoTime {
    pub(crate) fn encode(self, out: &mut Vec<u8>) -> Result<(), Error> {
        let offset = self.offset.unwrap_or(-60);
        let too_far = |_| {
            Error::new(
                ErrorKind::Unsupported,
                format!("a zone of {offset} seconds is no zone"),
            )
        };
        let minutes = i16::try_from(offset / 60).map_err(too_far)?;
        if minutes == -1 && self.offset.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a zone one minute west of UTC: in a time.Time, its bytes mean UTC itself",
            ));
        }
        let seconds = i8::try_from(offset % 60).map_err(too_far)?;
        out.push(if seconds == 0 { 1 } else { 2 });
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&self.nanos.to_be_bytes());
        out.extend_from_slice(&minutes.to_be_bytes());
        if seconds != 0 {
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        Ok(())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let unknown =
            || Error::refused("these are not the bytes of a time.Time that is known here");
        let (fixed, rest) = bytes.split_first_chunk::<15>().ok_or_else(unknown)?;
        let [
            version,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            n0,
            n1,
            n2,
            n3,
            m0,
            m1,
        ] = *fixed;
        let odd_seconds = match (version, rest) {
            (1, []) => 0,
            (2, &[seconds]) => i32::from(i8::from_be_bytes([seconds])),
            _ => return Err(unknown()),
        };
        let nanos = u32::from_be_bytes([n0, n1, n2, n3]);
        if nanos > i32::MAX as u32 {
            return Err(Error::refused("a time.Time with negative nanoseconds"));
        }
        let minutes = i16::from_be_bytes([m0, m1]);
        Ok(Self {
            seconds: i64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            nanos: nanos & 0x3FFF_FFFF, // As many bits as Go keeps.
            offset: Some(i32::from(minutes) * 60 + odd_seconds).filter(|offset| *offset != -60),
        })
    }
}

// What types of other crates are made of and into.
#[cfg(any(feature = "chrono", feature = "jiff", feature = "time", test))]
impl GoTime {
    pub(crate) const ZERO: Self = Self {
        seconds: 0,
        nanos: 0,
        offset: None,
    };

    /// A time that is so many seconds and nanoseconds after 1970 began, in a zone so many seconds east of UTC. An
    /// offset of 0 is UTC.
    pub(crate) fn from_unix(seconds: i64, nanos: u32, offset: i32) -> Result<Self, Error> {
        // A leap second is told as too many nanoseconds. Go has none: it is the first second of the next minute.
        let (carry, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let seconds = seconds
            .checked_add(UNIX_EPOCH_SECONDS)
            .and_then(|seconds| seconds.checked_add(carry.into()));
        let Some(seconds) = seconds else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the time is too far away for a time.Time",
            ));
        };
        Ok(Self {
            seconds,
            nanos,
            offset: (offset != 0).then_some(offset),
        })
    }

    /// The seconds since 1970 began and the nanoseconds within the second, if the seconds can be counted so.
    pub(crate) fn unix(self) -> Option<(i64, u32)> {
        // The bytes can hold a little more than a second.
        let (carry, nanos) = (self.nanos / 1_000_000_000, self.nanos % 1_000_000_000);
        let seconds = self.seconds.checked_sub(UNIX_EPOCH_SECONDS)?;
        Some((seconds.checked_add(carry.into())?, nanos))
    }

    /// How far east of UTC the zone is, in seconds.
    pub(crate) fn offset_seconds(self) -> i32 {
        self.offset.unwrap_or(0)
    }
}

/// Go's `time.Time`. It is sent in UTC; the zone that a Go program sends is lost.
impl SelfEncoded for SystemTime {
    const HOW: Opaque = Opaque::Gob;
    const NAME: &'static str = "Time";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        // Towards the past, the seconds are counted down and the nanoseconds still up.
        let (seconds, nanos) = match self.duration_since(Self::UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).ok(), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let up = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
                let seconds = before.as_secs() + u64::from(up > 0);
                (i64::try_from(seconds).ok().map(i64::wrapping_neg), up)
            }
        };
        let Some(seconds) = seconds.and_then(|seconds| seconds.checked_add(UNIX_EPOCH_SECONDS))
        else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the time is too far away for a time.Time",
            ));
        };
        GoTime {
            seconds,
            nanos,
            offset: None,
        }
        .encode(out)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let time = GoTime::decode(bytes)?;
        let unix = time.seconds.checked_sub(UNIX_EPOCH_SECONDS);
        let whole = unix.and_then(|unix| {
            let distance = Duration::from_secs(unix.unsigned_abs());
            if unix < 0 {
                Self::UNIX_EPOCH.checked_sub(distance)
            } else {
                Self::UNIX_EPOCH.checked_add(distance)
            }
        });
        whole
            .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into())))
            .ok_or_else(|| Error::refused("the time is too far away for a SystemTime"))
    }

    /// January 1 of the year 1, as in Go, where the system can say that.
    fn zero() -> Option<Self> {
        Self::UNIX_EPOCH.checked_sub(Duration::from_secs(UNIX_EPOCH_SECONDS.unsigned_abs()))
    }

    fn is_left_out(&self) -> bool {
        <Self as SelfEncoded>::zero() == Some(*self)
    }
}

/// Go's `netip.Addr`. Its zero is no address, so fields are an `Option`.
impl SelfEncoded for IpAddr {
    const HOW: Opaque = Opaque::Binary;
    const NAME: &'static str = "Addr";
    const HAS_ZERO: bool = false;

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::V4(v4) => out.extend_from_slice(&v4.octets()),
            Self::V6(v6) => out.extend_from_slice(&v6.octets()),
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(Self::V4(Ipv4Addr::from(v4)));
        }
        match bytes.split_first_chunk::<16>() {
            Some((v6, [])) => Ok(Self::V6(Ipv6Addr::from(*v6))),
            Some(_) => Err(Error::refused(
                "an address with a zone, which IpAddr does not have",
            )),
            None if bytes.is_empty() => Err(Error::refused("no address came for an IpAddr")),
            None => Err(Error::refused(format!(
                "an address of {} bytes",
                bytes.len()
            ))),
        }
    }

    fn zero() -> Option<Self> {
        None
    }
}

/// Go's `netip.AddrPort`. Its zero is no address, so fields are an `Option`.
impl SelfEncoded for SocketAddr {
    const HOW: Opaque = Opaque::Binary;
    const NAME: &'static str = "AddrPort";
    const HAS_ZERO: bool = false;

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        SelfEncoded::encode(&self.ip(), out)?;
        out.extend_from_slice(&self.port().to_le_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let Some((addr, port)) = bytes.split_last_chunk::<2>() else {
            return Err(Error::refused(format!(
                "an address and port of {} bytes",
                bytes.len()
            )));
        };
        Ok(Self::new(
            SelfEncoded::decode(addr)?,
            u16::from_le_bytes(*port),
        ))
    }

    fn zero() -> Option<Self> {
        None
    }
}

crate::self_encoded!(SystemTime, IpAddr, SocketAddr);

/// Go's `net.IP`, the older of its two kinds of addresses: plain bytes on the wire.
///
/// A v4 address is sent as the 16 bytes that `net.ParseIP` makes of it, and an address that comes so is a v4 address
/// here: to Go, too, `1.2.3.4` and `::ffff:1.2.3.4` are the same in a `net.IP`. Bytes that are no address are refused.
/// A nil `net.IP` has no counterpart, so fields are an `Option`.
///
/// ```
/// use farcall_gob::{Encoder, NetIp};
///
/// let mut out = vec![];
/// Encoder::new().encode(&NetIp([127, 0, 0, 1].into()), &mut out)?;
/// assert!(out.ends_with(&[0xff, 0xff, 127, 0, 0, 1]));
/// # Ok::<(), farcall_gob::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetIp(pub IpAddr);

impl Gob for NetIp {
    const HAS_ZERO: bool = false;

    fn describe(_: &mut Describer) -> NodeId {
        NodeId::BYTES
    }

    fn zero() -> Option<Self> {
        None
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        let v6 = match self.0 {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        w.bytes(&v6.octets());
        Ok(())
    }

    fn get(r: &mut Reader<'_>, _: At<'_>) -> Result<Self, Error> {
        let bytes = r.bytes()?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(Self(Ipv4Addr::from(v4).into()));
        }
        match <[u8; 16]>::try_from(bytes) {
            Ok(v6) => Ok(Self(Ipv6Addr::from(v6).to_canonical())),
            Err(_) => Err(r.out_of_range(format!(
                "a net.IP of {} bytes; an address has 4 or 16",
                bytes.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impls::sent_as;

    fn bytes(value: &impl SelfEncoded) -> Vec<u8> {
        let mut out = vec![];
        value.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn times_are_the_bytes_that_go_writes() {
        let zero = <SystemTime as SelfEncoded>::zero().unwrap();
        assert_eq!(
            bytes(&zero),
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
        );
        for nanos in [0, 1, 999_999_999, 1_500_000_000] {
            for time in [
                SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
                zero + Duration::from_nanos(nanos),
            ] {
                assert_eq!(
                    <SystemTime as SelfEncoded>::decode(&bytes(&time)).unwrap(),
                    time
                );
            }
        }
        let go = GoTime {
            seconds: 5,
            nanos: 6,
            offset: Some(-3601),
        };
        let mut out = vec![];
        go.encode(&mut out).unwrap();
        assert_eq!(out, [2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 255, 196, 255]);
        assert_eq!(GoTime::decode(&out).unwrap(), go);
        // One minute west is UTC to Go, in whatever bytes it comes.
        let west = [2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 196];
        assert_eq!(GoTime::decode(&west).unwrap().offset, None);
        for wrong in [&out[..15], &[1; 14], &[3; 15], &[]] {
            assert!(GoTime::decode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn seconds_are_carried_and_times_too_far_away_are_told() {
        let leap = GoTime::from_unix(59, 1_500_000_000, 0).unwrap();
        assert_eq!(leap.unix(), Some((60, 500_000_000)));
        let long = GoTime {
            nanos: 0x3FFF_FFFF,
            ..GoTime::ZERO
        };
        assert_eq!(
            long.unix(),
            Some((1 - UNIX_EPOCH_SECONDS, 0x3FFF_FFFF - 1_000_000_000))
        );
        assert!(GoTime::from_unix(i64::MAX, 0, 0).is_err());
        let first = GoTime {
            seconds: i64::MIN,
            ..GoTime::ZERO
        };
        assert_eq!(first.unix(), None);
    }

    #[test]
    fn zones_that_go_takes_for_utc_are_not_sent() {
        for offset in [-60, -61, -119] {
            let time = GoTime::from_unix(0, 0, offset).unwrap();
            let error = time.encode(&mut vec![]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{offset}");
        }
        for offset in [-59, -120, 0, 60] {
            let time = GoTime::from_unix(0, 0, offset).unwrap();
            let mut out = vec![];
            time.encode(&mut out).unwrap();
            let again = GoTime::decode(&out).unwrap();
            assert_eq!((again, again.offset_seconds()), (time, offset));
        }
    }

    #[test]
    fn old_addresses_are_plain_bytes() {
        let v6 = [0x20, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for (address, bytes) in [
            (IpAddr::from([1, 2, 3, 4]), vec![1, 2, 3, 4]),
            (IpAddr::from(v6), v6.to_vec()),
        ] {
            let address = NetIp(address);
            assert_eq!(sent_as::<NetIp>(&bytes).unwrap(), address);
            assert_eq!(sent_as::<NetIp>(&address).unwrap(), address);
        }
        for wrong in [vec![], vec![1_u8; 5], vec![1; 17]] {
            let error = sent_as::<NetIp>(&wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange, "{wrong:?}");
        }
    }

    #[test]
    fn addresses_are_the_bytes_that_go_writes() {
        let socket: SocketAddr = "127.0.0.1:258".parse().unwrap();
        assert_eq!(bytes(&socket), [127, 0, 0, 1, 2, 1]);
        assert_eq!(
            <SocketAddr as SelfEncoded>::decode(&[127, 0, 0, 1, 2, 1]).unwrap(),
            socket
        );
        assert!(
            <IpAddr as SelfEncoded>::decode(&[1; 17])
                .unwrap_err()
                .to_string()
                .contains("zone")
        );
        assert!(<SocketAddr as SelfEncoded>::decode(&[1]).is_err());
    }
}
