//! A stub CRM that can be switched off and on again at one address: off, connections are refused and the open ones are reset.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};

use super::crm::Seen;

/// What to do with a connection.
type Behaviour = dyn Fn(TcpStream, &Seen) + Send + Sync;

/// The stub.
pub struct Switch {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    behaviour: Arc<Behaviour>,
    running: Option<Running>,
}

struct Running {
    ends: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

/// An address of this machine's that nobody else uses: the port is free again whenever it is wanted again.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Switch {
    /// Off, until it is switched on.
    pub fn with(behaviour: impl Fn(TcpStream, &Seen) + Send + Sync + 'static) -> Self {
        let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
        Self { address, seen: Arc::default(), behaviour: Arc::new(behaviour), running: None }
    }

    /// On; answers with this text.
    pub fn saying(text: &'static str) -> Self {
        let mut switch = Self::off_saying(text);
        switch.on();
        switch
    }

    /// Off; answers with this text once it is on.
    pub fn off_saying(text: &'static str) -> Self {
        Self::with(
            move |mut stream, seen| {
                while seen.read(&mut stream).is_some() && say(&mut stream, text) {}
            },
        )
    }

    pub fn on(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        let (ends, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (behaviour, seen) = (Arc::clone(&self.behaviour), Arc::clone(&self.seen));
        let (told, list) = (Arc::clone(&ends), Arc::clone(&open));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                seen.connected();
                let end = stream.try_clone().unwrap();
                list.lock().push(stream.try_clone().unwrap());
                let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
                std::thread::spawn(move || {
                    behaviour(stream, &seen);
                    drop(end.shutdown(Shutdown::Both));
                });
            }
        });
        self.running = Some(Running { ends, open, accepting });
    }

    pub fn off(&mut self) {
        let Some(Running { ends, open, accepting }) = self.running.take() else { return };
        ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        accepting.join().unwrap();
        for stream in open.lock().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// As an item of `urls`.
    pub fn url(&self) -> String {
        format!("\"http://{}\"", self.address)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.off();
    }
}

/// Answers 200 with this text; false if nobody is there.
pub fn say(stream: &mut TcpStream, text: &str) -> bool {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).is_ok()
}

/// An address that takes no connection and refuses none.
pub struct Swallower {
    pub address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl Swallower {
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((own_address(), 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address: SockAddr = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            drop(socket.connect(&address));
            socket
        };
        let waiting = (0..4).map(fill).collect();
        Self { address: address.as_socket().unwrap(), _listener: listener, _waiting: waiting }
    }
}
