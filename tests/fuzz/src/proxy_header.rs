//! PROXY protocol headers: what stands in front of a connection, cut anywhere, with whatever behind it.

use sidelock::proxy::proxy_protocol::{MOST_V2, Progress, Source, read};

/// One beginning of a connection.
pub fn run(data: &[u8]) {
    let _ = read(data);
    // As it is read from a connection: only what was asked for.
    let mut have = 0;
    let end = loop {
        let Some(header) = data.get(..have) else { return };
        match read(header) {
            Err(_) => return,
            Ok(Progress::Whole(source)) => break source,
            Ok(Progress::Needs(more)) => {
                assert!(more > 0, "or it would never end");
                have += more;
                assert!(have <= MOST_V2, "a header is bounded");
            }
        }
    };
    if let Source::Client(ip) = end {
        assert_eq!(ip, ip.to_canonical(), "one address has one form");
    }
    // It ends where it says, whatever follows: no byte more or less is one.
    let header = data.get(..have).unwrap_or_default();
    assert!(!matches!(read(header.get(..have - 1).unwrap_or_default()), Ok(Progress::Whole(_))));
    assert!(read(&[header, b"G"].concat()).is_err());
}
