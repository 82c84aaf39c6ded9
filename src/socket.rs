//! Sockets of streams, TCP or UNIX: those that listen, what they accept, and connections as a thread that serves reads and
//! writes them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Most bytes that are put together so that they go out with one plain `send`, which the kernel does a twentieth faster
/// than a `writev` of the same bytes.
const MOST_GATHERED: usize = 4 * 1024;

/// A connection, known to the runtime of one thread.
#[derive(Debug)]
pub enum Socket {
    /// Over IP.
    Tcp(TcpStream),
    /// Over a socket file.
    Unix(UnixStream),
}

/// A socket that listens, before anybody accepts.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(std::net::TcpListener),
    /// At a socket file.
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub enum Listening {
    /// At an address.
    Tcp(TcpListener),
    /// At a socket file.
    Unix(UnixListener),
}

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Arrival {
    socket: Socket,
    /// Whose runtime knows it.
    thread: ThreadId,
    /// The address at the other end. Whoever comes by a socket file is on this machine, and counts as 127.0.0.1.
    pub from: IpAddr,
    /// The position of its listener among all that were opened together.
    pub listener: usize,
}

impl Listener {
    /// A TCP socket, which does not block.
    pub fn tcp(socket: OwnedFd) -> Self {
        Self::Tcp(socket.into())
    }

    /// A UNIX socket, which does not block.
    pub fn unix(socket: OwnedFd) -> Self {
        Self::Unix(socket.into())
    }

    /// Makes it known to the runtime of this thread, which accepts from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(self) -> io::Result<Listening> {
        Ok(match self {
            Self::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
        })
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

impl Listening {
    /// Waits for the next connection; `listener` goes into it.
    ///
    /// # Errors
    /// Those of `accept(2)`.
    pub async fn accept(&self, listener: usize) -> io::Result<Arrival> {
        let thread = thread::current().id();
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, from) = socket.accept().await?;
                Arrival { socket: Socket::Tcp(stream), thread, from: from.ip().to_canonical(), listener }
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
                Arrival { socket: Socket::Unix(stream), thread, from, listener }
            }
        })
    }
}

impl Arrival {
    /// The connection, known to the runtime of this thread, which serves it from now on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(self) -> io::Result<Socket> {
        let is_here = self.thread == thread::current().id();
        Ok(match self.socket {
            Socket::Tcp(stream) => {
                // Each write is a whole message or a part that should not wait for the next.
                stream.set_nodelay(true)?;
                Socket::Tcp(if is_here { stream } else { TcpStream::from_std(stream.into_std()?)? })
            }
            Socket::Unix(stream) if is_here => Socket::Unix(stream),
            Socket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream.into_std()?)?),
        })
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= MOST_GATHERED {
            let mut room = [MaybeUninit::uninit(); MOST_GATHERED];
            let mut gathered = ReadBuf::uninit(&mut room);
            bufs.iter().for_each(|buf| gathered.put_slice(buf));
            return self.poll_write(cx, gathered.filled());
        }
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both ends of a connection by an address of this machine.
    async fn pair() -> (Socket, Socket) {
        let (near, arrival) = arrived().await;
        (near, arrival.open().unwrap())
    }

    async fn arrived() -> (Socket, Arrival) {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let near = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let listening = Listener::tcp(socket.into()).open().unwrap();
        let arrival = listening.accept(3).await.unwrap();
        assert_eq!((arrival.from, arrival.listener), (IpAddr::V4(Ipv4Addr::LOCALHOST), 3));
        (Socket::Tcp(near), arrival)
    }

    async fn told_by(mut far: Socket) -> String {
        if let Socket::Tcp(stream) = &far {
            assert!(stream.nodelay().unwrap());
        }
        let mut got = String::new();
        far.read_to_string(&mut got).await.unwrap();
        got
    }

    #[tokio::test]
    async fn the_thread_that_accepted_may_serve_it_and_so_may_another() {
        for elsewhere in [false, true] {
            let (mut near, arrival) = arrived().await;
            near.write_all(b"hello").await.unwrap();
            near.shutdown().await.unwrap();
            let told = if elsewhere {
                let serve = move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async { told_by(arrival.open().unwrap()).await })
                };
                thread::spawn(serve).join().unwrap()
            } else {
                told_by(arrival.open().unwrap()).await
            };
            assert_eq!(told, "hello");
        }
    }

    #[tokio::test]
    async fn parts_arrive_in_their_order_however_large_they_are() {
        let (mut near, mut far) = pair().await;
        for sizes in
            [&[][..], &[7], &[3, 0, 5], &[MOST_GATHERED, 1], &[MOST_GATHERED - 1, 1], &[100, 20_000, 3]]
        {
            let parts: Vec<Vec<u8>> =
                sizes.iter().zip(b'a'..).map(|(size, byte)| vec![byte; *size]).collect();
            let bufs: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let wrote =
                std::future::poll_fn(|cx| Pin::new(&mut near).poll_write_vectored(cx, &bufs)).await.unwrap();
            let all = parts.concat();
            near.write_all(&all[wrote..]).await.unwrap();
            let mut got = vec![0; all.len()];
            far.read_exact(&mut got).await.unwrap();
            assert!(got == all, "{sizes:?}");
        }
    }
}
