//! DNS messages, as far as service records need them (RFC 1035, 2782, 6891). No sockets, no clock: bytes from outside.

/// A question is answered with no more than this over UDP, which fits into one packet nearly everywhere.
pub(super) const UDP_LEN_MAX: u16 = 1232;

const HEADER_LEN: usize = 12;
const TYPE_CNAME: u16 = 5;
const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const NAME_LEN_MAX: usize = 255;
const LABEL_LEN_MAX: usize = 63;

/// One server, as a service record tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// Without a dot at its end; empty when the service is said not to exist.
    pub(super) target: String,
    pub(super) ttl_s: u32,
}

/// What a message means to whoever asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Records(Vec<Record>),
    /// There is more than fits: it is to be asked for over TCP.
    Truncated,
    /// The server refuses, or cannot; perhaps another one can. The name of its reason.
    Refused(&'static str),
    /// There is no such name, says who must know.
    NoSuchName,
    /// It is no answer to this question: the right one may still come.
    Stray,
}

/// The bytes that ask for the service records of a name.
pub(super) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 32);
    // One question, one additional record; the server is to ask others if it must.
    for word in [id, 0x0100, 1, 0, 0, 1] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        let label = label.as_bytes();
        let len = label.len().min(LABEL_LEN_MAX);
        bytes.push(len as u8);
        bytes.extend_from_slice(label.get(..len).unwrap_or_default());
    }
    bytes.push(0);
    for word in [TYPE_SRV, CLASS_IN] {
        bytes.extend(word.to_be_bytes());
    }
    // How long an answer may be: the root's name, the type, the length where others have a class, and nothing more.
    bytes.push(0);
    for word in [TYPE_OPT, UDP_LEN_MAX, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

/// Reads a message that came back for a question.
pub(super) fn read(bytes: &[u8], id: u16, name: &str) -> Meant {
    // What ends too early or contradicts itself is as good as lost.
    try_read(bytes, id, name).unwrap_or(Meant::Stray)
}

fn try_read(bytes: &[u8], id: u16, name: &str) -> Option<Meant> {
    let mut reader = Reader { bytes, at: 0 };
    let is_ours = reader.u16()? == id;
    let flags = reader.u16()?;
    let questions = reader.u16()?;
    let answers = reader.u16()?;
    reader.at = HEADER_LEN;
    // An answer, to a usual query.
    let is_answer = flags & 0x8000 != 0 && flags & 0x7800 == 0;
    if !is_ours || !is_answer || questions > 1 {
        return None;
    }
    // Some refuse without repeating the question.
    if questions == 1 {
        let asked = reader.name()?;
        if !asked.eq_ignore_ascii_case(name)
            || reader.u16()? != TYPE_SRV
            || reader.u16()? != CLASS_IN
        {
            return None;
        }
    }
    match flags & 0x000F {
        0 if questions == 0 => return None,
        0 => {}
        3 => return Some(Meant::NoSuchName),
        1 => return Some(Meant::Refused("FORMERR")),
        2 => return Some(Meant::Refused("SERVFAIL")),
        4 => return Some(Meant::Refused("NOTIMP")),
        5 => return Some(Meant::Refused("REFUSED")),
        _ => return Some(Meant::Refused("an unusual error")),
    }
    if flags & 0x0200 != 0 {
        return Some(Meant::Truncated);
    }
    let mut wanted = name.to_owned();
    let mut records = Vec::new();
    for _ in 0..answers {
        let owner = reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let ttl_s = reader.u32()?;
        let data_len = usize::from(reader.u16()?);
        let end = reader.at.checked_add(data_len)?;
        if end > bytes.len() {
            return None;
        }
        let is_wanted = class == CLASS_IN && owner.eq_ignore_ascii_case(&wanted);
        match kind {
            TYPE_CNAME if is_wanted => wanted = reader.name()?,
            TYPE_SRV if is_wanted => records.push(Record {
                priority: reader.u16()?,
                weight: reader.u16()?,
                port: reader.u16()?,
                target: reader.name()?,
                // Longer than 31 bits is a mistake, and means nothing at all.
                ttl_s: if ttl_s > i32::MAX as u32 { 0 } else { ttl_s },
            }),
            _ => {}
        }
        if reader.at > end {
            return None;
        }
        reader.at = end;
    }
    Some(Meant::Records(records))
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N)?;
        let taken = self.bytes.get(self.at..end)?.try_into().ok()?;
        self.at = end;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// A name, whose rest may stand earlier in the message. Bytes that no host name has are kept, for others to refuse.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        // Each jump goes back beyond the last one, so that there is no way around in a circle.
        let mut jump_max = self.at;
        let mut has_jumped = false;
        loop {
            let len = usize::from(*self.bytes.get(at)?);
            match len >> 6 {
                0 => {}
                3 => {
                    let low = usize::from(*self.bytes.get(at.checked_add(1)?)?);
                    if !std::mem::replace(&mut has_jumped, true) {
                        self.at = at.checked_add(2)?;
                    }
                    at = (len & 0x3F) << 8 | low;
                    if at >= jump_max {
                        return None;
                    }
                    jump_max = at;
                    continue;
                }
                _ => return None,
            }
            let start = at.checked_add(1)?;
            let end = start.checked_add(len)?;
            if len == 0 {
                if !has_jumped {
                    self.at = start;
                }
                return Some(name);
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(self.bytes.get(start..end)?.iter().copied().map(char::from));
            if name.len() > 2 * NAME_LEN_MAX {
                return None;
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "_a._tcp.h";

    /// An answer as a name server writes it: the question again, then a record whose owner points back to it.
    fn answer(flags: u16, answers: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [7, flags, 1, answers, 0, 0] {
            bytes.extend(u16::to_be_bytes(word));
        }
        bytes.extend_from_slice(b"\x02_a\x04_tcp\x01h\x00\x00\x21\x00\x01");
        bytes.extend_from_slice(rest);
        bytes
    }

    fn srv(owner: &[u8], data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, b"\x00\x21\x00\x01\x00\x00\x00\x1e", &len, data].concat()
    }

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        Record {
            priority,
            weight,
            port,
            target: target.into(),
            ttl_s: 30,
        }
    }

    #[test]
    fn a_question_is_written_as_name_servers_read_it() {
        let bytes = question(0x1234, "_a._tcp.h");
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
            \x02_a\x04_tcp\x01h\x00\x00\x21\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn records_are_read_also_behind_other_names_and_when_shortened() {
        let direct = srv(b"\xc0\x0c", b"\x00\x01\x00\x02\x00\x50\x01x\xc0\x14");
        let gone = srv(b"\x02_A\x04_TCP\x01H\x00", b"\x00\x00\x00\x00\x00\x00\x00");
        let stranger = srv(b"\x01z\x00", b"\x00\x01\x00\x02\x00\x50\x01y\x00");
        let bytes = answer(0x8180, 3, &[direct, gone, stranger].concat());
        let expected = vec![record(1, 2, 80, "x.h"), record(0, 0, 0, "")];
        assert_eq!(read(&bytes, 7, NAME), Meant::Records(expected));

        let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x03\x01z\x00".to_vec();
        let behind = srv(b"\x01z\x00", b"\x00\x01\x00\x02\x00\x50\x01y\x00");
        let bytes = answer(0x8180, 2, &[alias, behind].concat());
        assert_eq!(
            read(&bytes, 7, NAME),
            Meant::Records(vec![record(1, 2, 80, "y")])
        );
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_passed_over() {
        let good = answer(0x8180, 0, b"");
        assert_eq!(read(&good, 7, NAME), Meant::Records(vec![]));
        assert_eq!(read(&good, 8, NAME), Meant::Stray, "another id");
        assert_eq!(read(&good, 7, "_b._tcp.h"), Meant::Stray, "another name");
        assert_eq!(
            read(&answer(0x0100, 0, b""), 7, NAME),
            Meant::Stray,
            "a question"
        );
        assert_eq!(
            read(&answer(0x8180, 1, b""), 7, NAME),
            Meant::Stray,
            "half of it"
        );
        let around = srv(b"\xc0\x1b", b"\x00\x01\x00\x02\x00\x50\x01y\x00");
        assert_eq!(
            read(&answer(0x8180, 1, &around), 7, NAME),
            Meant::Stray,
            "a circle"
        );
        let beyond = srv(b"\xc0\x0c", b"\x00\x01\x00\x02\x00\x50\x3fy\x00");
        assert_eq!(
            read(&answer(0x8180, 1, &beyond), 7, NAME),
            Meant::Stray,
            "a long label"
        );
    }

    #[test]
    fn refusals_are_told_from_names_that_do_not_exist() {
        for (flags, meant) in [
            (0x8183, Meant::NoSuchName),
            (0x8182, Meant::Refused("SERVFAIL")),
            (0x8185, Meant::Refused("REFUSED")),
            (0x8380, Meant::Truncated),
        ] {
            assert_eq!(read(&answer(flags, 0, b""), 7, NAME), meant);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]
        #[test]
        fn whatever_comes_is_read_to_its_end_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            is_near in any::<bool>(),
        ) {
            if is_near {
                // Near enough to a right one to be read beyond its head.
                let rest = std::mem::take(&mut bytes);
                bytes = answer(0x8180, 5, &srv(b"\xc0\x0c", &rest));
                bytes.extend_from_slice(&rest);
            }
            if let Meant::Records(records) = read(&bytes, 7, NAME) {
                prop_assert!(records.len() <= bytes.len() / 10);
            }
        }
    }
}
