//! Upstreams that do what one test says, and addresses where nobody answers.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

/// An upstream that runs until the process ends. Each connection is served on a thread of its own.
#[derive(Debug)]
pub struct Script {
    pub address: SocketAddr,
}

impl Script {
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }
}

/// Reads a head, from its first byte to its blank line. What came before an end is returned as it is.
pub fn head_of(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An address where connections are refused, for as long as this lives: it is bound, and nobody listens.
#[derive(Debug)]
pub struct DeadPort {
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl DeadPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

/// An address where connections are neither taken nor refused, for as long as this lives: its backlog is full.
#[derive(Debug)]
pub struct SilentPort {
    pub address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _runtime: Runtime,
    _waiting: Vec<TcpStream>,
}

impl SilentPort {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = runtime.block_on(async { socket.listen(1) }).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
        // A backlog holds one or two more than it says. Those that find no room time out here, as they shall.
        let waiting = (0..4).filter_map(connect).collect();
        Self { address, _listener: listener, _runtime: runtime, _waiting: waiting }
    }
}
