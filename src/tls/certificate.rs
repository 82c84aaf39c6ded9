//! What a certificate (RFC 5280) says of itself: its names, its end, its fingerprint.
//!
//! Only certificates that rustls has verified, or that the operator configured, get here; still, nothing is believed about
//! lengths.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ring::digest;

use crate::clock::WallTime;

/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Most names that are read of one certificate.
const MOST_NAMES: usize = 1_000;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When it ends.
    pub not_after: WallTime,
    /// The DNS names, mail addresses, URIs and IP addresses that it is for. DNS names are in lower case.
    pub names: Vec<Box<str>>,
    /// SHA-256 of all of it.
    pub fingerprint: [u8; 32],
}

/// The certificate that a key needs to be shown with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `sha256:<64 hexadecimal digits>`: this very one.
    Fingerprint([u8; 32]),
    /// `san:<name>`: one for this name, as it stands in it.
    Name(Box<str>),
}

/// Not a description of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 'sha256:' and 64 hexadecimal digits, or 'san:' and a name that stands in the certificate")]
pub struct WantedError;

impl Wanted {
    /// What a certificate says that will do, and nothing else.
    pub fn met(&self) -> Facts {
        let (fingerprint, names) = match self {
            Self::Fingerprint(wanted) => (*wanted, Vec::new()),
            Self::Name(wanted) => ([0; 32], vec![wanted.clone()]),
        };
        Facts { not_after: WallTime::default(), names, fingerprint }
    }

    /// True if `facts` are those of a certificate that will do.
    pub fn is(&self, facts: &Facts) -> bool {
        match self {
            Self::Fingerprint(wanted) => *wanted == facts.fingerprint,
            Self::Name(wanted) => facts.names.contains(wanted),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(bytes) => {
                f.write_str("sha256:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Name(name) => write!(f, "san:{name}"),
        }
    }
}

impl FromStr for Wanted {
    type Err = WantedError;

    fn from_str(text: &str) -> Result<Self, WantedError> {
        match text.split_once(':') {
            Some(("sha256", digits)) => {
                // As `openssl x509 -fingerprint -sha256` prints it, too.
                let digits = digits.replace(':', "");
                fingerprint(&digits).map(Self::Fingerprint).ok_or(WantedError)
            }
            Some(("san", name)) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let is_dns = !name.contains(['/', '@', ':']);
                Ok(Self::Name(if is_dns { name.to_ascii_lowercase().into() } else { name.into() }))
            }
            Some(_) | None => Err(WantedError),
        }
    }
}

fn fingerprint(digits: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}

impl Facts {
    /// Reads a certificate in DER; `None` for anything else.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut rest = der;
        let mut certificate = inside(&mut rest, SEQUENCE)?;
        let mut body = inside(&mut certificate, SEQUENCE)?;
        let mut ahead = body;
        if element(&mut ahead)?.0 == VERSION {
            body = ahead;
        }
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            element(&mut body)?;
        }
        let mut validity = inside(&mut body, SEQUENCE)?;
        element(&mut validity)?;
        let not_after = moment(element(&mut validity)?)?;
        let mut names = Vec::new();
        // Subject, key, unique ids: passed over.
        while let Some((tag, content)) = element(&mut body) {
            if tag == EXTENSIONS {
                names = alternative_names(content)?;
            }
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Some(Self { not_after, names, fingerprint })
    }
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// The next element's tag and content; what follows stays in `rest`.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, after) = rest.split_first()?;
    let (&first, after) = after.split_first()?;
    let (length, after) = match first {
        0..=0x7f => (usize::from(first), after),
        // Four bytes of length are more than any certificate has.
        0x81..=0x84 => {
            let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), after)
        }
        _ => return None,
    };
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((tag, content))
}

fn inside<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    element(rest).filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
}

/// `YYMMDDhhmmssZ`, or the same with four digits for the year (RFC 5280 section 4.1.2.5).
fn moment((tag, content): (u8, &[u8])) -> Option<WallTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = text.split_at_checked(if tag == GENERAL_TIME { 4 } else { 2 })?;
    let of = |at: usize| -> Option<i8> {
        let digits = rest.get(at..at + 2)?;
        digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let year: i16 = year.bytes().all(|it| it.is_ascii_digit()).then(|| year.parse().ok()).flatten()?;
    let year = match (tag, year) {
        (GENERAL_TIME, year) => year,
        (UTC_TIME, 0..50) => 2000 + year,
        (UTC_TIME, year) => 1900 + year,
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let date = jiff::civil::DateTime::new(year, of(0)?, of(2)?, of(4)?, of(6)?, of(8)?, 0).ok()?;
    let stamp = jiff::tz::TimeZone::UTC.to_timestamp(date).ok()?;
    Some(WallTime::from_unix_secs(stamp.as_second()))
}

/// The names in an extension `subjectAltName`, if there is one.
fn alternative_names(mut content: &[u8]) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    let mut extensions = inside(&mut content, SEQUENCE)?;
    while !extensions.is_empty() {
        let mut extension = inside(&mut extensions, SEQUENCE)?;
        let is_names = inside(&mut extension, OID)? == SUBJECT_ALT_NAME;
        let mut value = element(&mut extension)?;
        if value.0 == BOOLEAN {
            value = element(&mut extension)?;
        }
        if value.0 != OCTETS || !is_names {
            continue;
        }
        let mut value = value.1;
        let mut list = inside(&mut value, SEQUENCE)?;
        while let Some((tag, name)) = element(&mut list).filter(|_| names.len() < MOST_NAMES) {
            names.extend(name_of(tag, name));
        }
    }
    Some(names)
}

/// RFC 5280 section 4.2.1.6. Other kinds of names, and those that are not plain text, are passed over.
fn name_of(tag: u8, name: &[u8]) -> Option<Box<str>> {
    let text = || {
        let text = std::str::from_utf8(name).ok()?;
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
    };
    match tag {
        0x81 | 0x86 => text().map(Box::from),
        0x82 => text().map(|text| text.to_ascii_lowercase().into()),
        0x87 => {
            let v4 = <[u8; 4]>::try_from(name).map(|it| IpAddr::V4(Ipv4Addr::from(it)));
            let v6 = <[u8; 16]>::try_from(name).map(|it| IpAddr::V6(Ipv6Addr::from(it)));
            v4.or(v6).ok().map(|ip| ip.to_string().into())
        }
        _ => None,
    }
}
