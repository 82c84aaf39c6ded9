//! The PROXY protocol, versions 1 and 2 (`proxy-protocol.txt` of `HAProxy`): a load balancer's word on whom it speaks for, in
//! front of everything else.
//!
//! Strict: what the text does not allow ends the connection. The reader never asks for a byte that may belong to what follows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest header of version 1, its line end included.
const MOST_V1: usize = 107;
/// Shortest header of either version.
const FEWEST: usize = 15;
/// Longest header of version 2, with all that its sender adds; the usual ones have some hundred bytes.
pub const MOST_V2: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2.
const V2_FIXED: usize = 16;
/// `PP2_TYPE_CRC32C`.
const CHECK_SUM: u8 = 0x03;

/// How far a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many bytes are missing.
    Needs(usize),
    /// It is whole.
    Whole(Source),
}

/// On whose behalf a connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's, from this address.
    Client(IpAddr),
    /// The sender's own, as for its health checks, or that of someone without an IP address.
    Sender,
}

/// Not a header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header")]
pub struct Fault;

/// Reads the header that `bytes` are, or begin.
///
/// # Errors
/// [`Fault`].
pub fn read(bytes: &[u8]) -> Result<Progress, Fault> {
    let begins = |whole: &[u8]| bytes.iter().zip(whole).all(|(byte, wanted)| byte == wanted);
    if !begins(V1) && !begins(V2) {
        return Err(Fault);
    }
    if bytes.len() < FEWEST {
        return Ok(Progress::Needs(FEWEST - bytes.len()));
    }
    if begins(V1) { version_1(bytes) } else { version_2(bytes) }
}

fn version_1(bytes: &[u8]) -> Result<Progress, Fault> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MOST_V1 { Ok(Progress::Needs(1)) } else { Err(Fault) };
    };
    if end + 1 != bytes.len() || bytes.len() > MOST_V1 {
        return Err(Fault);
    }
    let line = bytes.strip_prefix(V1).and_then(|line| line.strip_suffix(b"\r\n")).ok_or(Fault)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault)?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Progress::Whole(Source::Sender));
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Fault);
    let (family, from, to) = (word()?, word()?, word()?);
    let (from_port, to_port) = (word()?, word()?);
    if words.next().is_some() || !is_port(from_port) || !is_port(to_port) {
        return Err(Fault);
    }
    let address = |text: &str| -> Result<IpAddr, Fault> {
        match family {
            "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Fault),
            "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Fault),
            _ => Err(Fault),
        }
    };
    address(to)?;
    Ok(Progress::Whole(Source::Client(address(from)?.to_canonical())))
}

fn is_port(text: &str) -> bool {
    let plain = text == "0" || !text.starts_with('0');
    plain && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn version_2(bytes: &[u8]) -> Result<Progress, Fault> {
    let Some((&[.., command, family, high, low], body)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return Ok(Progress::Needs(V2_FIXED - bytes.len()));
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > MOST_V2 {
        return Err(Fault);
    }
    match body.len().cmp(&length) {
        std::cmp::Ordering::Less => return Ok(Progress::Needs(length - body.len())),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => return Err(Fault),
    }
    if is_local {
        return Ok(Progress::Whole(Source::Sender));
    }
    // The low half is the transport: only streams get here.
    let (source, extras) = match family {
        0x00 => (Source::Sender, &[][..]),
        0x11 => {
            let (addresses, extras) = body.split_first_chunk::<12>().ok_or(Fault)?;
            let [a, b, c, d, ..] = *addresses;
            (Source::Client(IpAddr::V4(Ipv4Addr::new(a, b, c, d))), extras)
        }
        0x21 => {
            let (addresses, extras) = body.split_first_chunk::<36>().ok_or(Fault)?;
            let from = addresses.first_chunk::<16>().ok_or(Fault)?;
            (Source::Client(IpAddr::V6(Ipv6Addr::from(*from)).to_canonical()), extras)
        }
        0x31 => (Source::Sender, body.get(216..).ok_or(Fault)?),
        _ => return Err(Fault),
    };
    judge_extras(bytes, extras)?;
    Ok(Progress::Whole(source))
}

/// Extras are well-formed or refused; of all kinds only the check sum is looked at.
fn judge_extras(header: &[u8], mut extras: &[u8]) -> Result<(), Fault> {
    while let Some((&[kind, high, low], rest)) = extras.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = rest.split_at_checked(length).ok_or(Fault)?;
        if kind == CHECK_SUM {
            let wanted = <[u8; 4]>::try_from(value).map_err(|_| Fault)?;
            let at = header.len() - rest.len();
            let zeroed = header.iter().enumerate().map(
                |(place, byte)| {
                    if (at..at + 4).contains(&place) { 0 } else { *byte }
                },
            );
            if crc32c(zeroed) != u32::from_be_bytes(wanted) {
                return Err(Fault);
            }
        }
        extras = after;
    }
    if extras.is_empty() { Ok(()) } else { Err(Fault) }
}

/// CRC-32C (Castagnoli), bit by bit: a header is short.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Result<Progress, Fault> {
        Ok(Progress::Whole(Source::Client(text.parse().unwrap())))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, body].concat()
    }

    #[test]
    fn version_1_is_read_and_nothing_like_it() {
        assert_eq!(read(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), client("192.0.2.1"));
        assert_eq!(read(b"PROXY TCP6 2001:db8::1 ::1 0 443\r\n"), client("2001:db8::1"));
        assert_eq!(read(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 443\r\n"), client("192.0.2.1"));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(Progress::Whole(Source::Sender)));
        assert_eq!(read(b"PROXY UNKNOWN x y z\r\n"), Ok(Progress::Whole(Source::Sender)));
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nG",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWNX\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(Fault), "{bad}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MOST_V1));
        assert_eq!(read(long.as_bytes().get(..MOST_V1).unwrap()), Err(Fault));
    }

    #[test]
    fn version_2_is_read_and_nothing_like_it() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4];
        assert_eq!(read(&v2(0x21, 0x11, &v4)), client("192.0.2.1"));
        let mut v6 = [0; 36];
        v6[15] = 1;
        assert_eq!(read(&v2(0x21, 0x21, &v6)), client("::1"));
        assert_eq!(read(&v2(0x21, 0x31, &[0; 216])), Ok(Progress::Whole(Source::Sender)));
        assert_eq!(read(&v2(0x20, 0x00, &[])), Ok(Progress::Whole(Source::Sender)));
        let with = |extras: &[u8]| v2(0x21, 0x11, &[&v4, extras].concat());
        assert_eq!(read(&with(&[4, 0, 1, 0])), client("192.0.2.1"));
        for bad in [
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x11, &v4[..11]),
            with(&[4, 0, 2, 0]),
            with(&[4]),
            with(&[CHECK_SUM, 0, 4, 1, 2, 3, 4]),
            with(&[CHECK_SUM, 0, 1, 1]),
            v2(0x21, 0x11, &[0; MOST_V2]),
            [v2(0x21, 0x11, &v4), vec![b'G']].concat(),
        ] {
            assert_eq!(read(&bad), Err(Fault), "{bad:?}");
        }
    }

    #[test]
    fn a_check_sum_counts() {
        // RFC 3720 appendix B.4: 32 bytes of zeroes.
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
        let mut header =
            v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4, CHECK_SUM, 0, 4, 0, 0, 0, 0]);
        let sum = crc32c(header.iter().copied()).to_be_bytes();
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum);
        assert_eq!(read(&header), client("192.0.2.1"));
        header[20] ^= 1;
        assert_eq!(read(&header), Err(Fault));
    }

    #[test]
    fn no_byte_of_what_follows_is_asked_for() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4];
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            v2(0x21, 0x11, &v4),
        ] {
            let mut have = 0;
            while let Ok(Progress::Needs(more)) = read(&header[..have]) {
                have += more;
                assert!(have <= header.len(), "{header:?}");
            }
            assert_eq!(have, header.len());
        }
    }
}
